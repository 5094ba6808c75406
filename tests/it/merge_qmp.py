#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guests behind QMP sockets with real memory that can be merged, and whose merging can be switched.

usage: merge_qmp.py --dir DIR NAME:bare:MIB[:USED]...
       merge_qmp.py --send DIR/control COMMAND...

As fake_qmp.py, but behind each socket is a process with USED MIB (default: all) of mergeable memory
whose two halves are equal, page for page, and equal to no other guest's. `qom-set merge` switches it
by madvise(2), as QEMU does. More commands:
  order NAME rewrite SECONDS PERCENT   give so many pages new content every so often, two by two
                                       equal as before; 0 0: no more
  order NAME grow MIB                  have so much more, in equal halves too
  order NAME common MIB                have so much more, equal to all guests' of this kind
  order NAME touch                     read all it has
  order NAME pageout                   and have all of it swapped
"""
import ctypes
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import time

import fake_qmp

PAGE = 4096
MIB = 1 << 20
ROOM = 4 << 30  # address space: what a guest may grow into
MERGEABLE, UNMERGEABLE, PAGEOUT = 12, 13, 21  # madvise(2)
MAP_NORESERVE = 0x4000  # mmap(2); Python has it from 3.13 on


class Memory:
    """Of one guest, in the process that holds it."""
    def __init__(self, size):
        self.map = mmap.mmap(-1, ROOM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        self.map.madvise(MERGEABLE)
        half = os.urandom(size // 2)
        self.map[: size // 2] = half
        self.map[size // 2 : size] = half
        self.size = self.end = size
        self.every = self.percent = self.turn = 0
        self.due = None

    def order(self, words):
        if words[0] == "merge":
            self.map.madvise(MERGEABLE if words[1] == "True" else UNMERGEABLE)
        elif words[0] == "rewrite":
            self.every, self.percent = float(words[1]), int(words[2])
            self.due = time.monotonic() if self.every else None
        elif words[0] == "grow":
            half = os.urandom(int(words[1]) * MIB // 2)
            for _ in range(2):
                self.add(half)
        elif words[0] == "touch":
            sum(self.map[at] for at in range(0, self.end, PAGE))
        elif words[0] == "pageout":
            self.map.madvise(PAGEOUT, 0, self.end)
        elif words[0] == "common":
            content = random.Random(1)
            for _ in range(int(words[1])):
                self.add(content.randbytes(MIB))

    def add(self, content):
        self.map[self.end : self.end + len(content)] = content
        self.end += len(content)

    def rewrite(self):
        self.turn += 1
        half = self.size // 2
        for at in range(0, half * self.percent // 100 // PAGE * PAGE, PAGE):
            struct.pack_into("<Q", self.map, at, self.turn)
            struct.pack_into("<Q", self.map, at + half, self.turn)
        self.due = time.monotonic() + self.every

    def serve(self, pipe):
        while True:
            wait = None if self.due is None else max(self.due - time.monotonic(), 0)
            if select.select([pipe], [], [], wait)[0]:
                words = pipe.recv(256).decode().split()
                if not words:
                    return
                self.order(words)
                pipe.send(b"ok")
            elif self.due is not None:
                self.rewrite()


class Guest(fake_qmp.Guest):
    def __init__(self, world, text):
        self.merge = True
        size = int(text.split(":")[-1]) * MIB

        def listen_and_hold(sock):
            self.pipe, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                self.pipe.close()
                ctypes.CDLL(None).prctl(fake_qmp.PR_SET_PDEATHSIG, signal.SIGKILL)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                memory = Memory(size)
                sock.listen(4)
                theirs.send(b"ok")
                memory.serve(theirs)
                os._exit(0)
            theirs.close()
            self.await_done()
            return pid

        fake_qmp.listen_in_child = listen_and_hold
        super().__init__(world, text)

    def order(self, words):
        self.pipe.send(" ".join(words).encode())
        self.await_done()

    def await_done(self):
        if self.pipe.recv(8) != b"ok":
            sys.exit(f"guest {self.name}: its process has ended")

    def run(self, command, args):
        if command == "query-memdev":
            return [dict(super().run(command, args)[0], merge=self.merge)]
        if command == "qom-set" and args == {"path": "/objects/ram0", "property": "merge", "value": args["value"]}:
            self.order(["merge", str(args["value"])])
            self.merge = args["value"]
            return {}
        return super().run(command, args)


class World(fake_qmp.World):
    def execute(self, words):
        if words[0] == "order":
            self.guests[words[1]].order(words[2:])
            return {}
        return super().execute(words)


fake_qmp.Guest, fake_qmp.World = Guest, World
sys.exit(fake_qmp.main())

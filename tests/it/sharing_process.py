#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process with memory of known content for KSM.

usage: sharing_process.py SEGMENT...     SEGMENT is NAME:PAGES, a mapping of its own each

A page's content is a function of NAME and its number, so that the same NAME has the same pages in
every process. "zero..." is zeroes, "own..." is nobody else's, "off..." is as its name without the
"off", but not mergeable. NAME:PAGESxTIMES has each page that many times. Commands on stdin, answered
by "ok" on stdout:
  write NAME N    write to the first N pages
  drop NAME N     give the last N pages back
  fork            make a child that maps all the same, and stays
  churn MS        write to a page of the first segment every MS milliseconds, until the next command
"""
import ctypes
import hashlib
import mmap
import os
import select
import signal
import sys

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None)


def content(name, number):
    if name.startswith("zero"):
        return bytes(PAGE)
    if name.startswith("own") or name.startswith("mix") and number % 2:
        name += str(os.getpid())
    return hashlib.shake_128(("%s %d" % (name, number)).encode()).digest(PAGE)


def build(segment):
    name, pages = segment.split(":")
    pages, times = map(int, (pages + "x1").split("x")[:2])
    memory = mmap.mmap(-1, pages * times * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(15)  # MADV_NOHUGEPAGE
    for i in range(pages * times):
        memory[i * PAGE:(i + 1) * PAGE] = content(name.removeprefix("off"), i % pages)
    if not name.startswith("off"):
        memory.madvise(mmap.MADV_MERGEABLE)
    return name, memory


def write(memory, number, value):
    at = number * PAGE
    memory[at:at + 8] = value.to_bytes(8, "little")


def main():
    segments = dict(build(s) for s in sys.argv[1:])
    first = next(iter(segments.values()))
    churn, count = None, 1 << 40
    print("ready", flush=True)
    while True:
        if churn is not None and not select.select([0], [], [], churn)[0]:
            write(first, count % (len(first) // PAGE), count)
            count += 1
            continue
        words = os.read(0, 4096).decode().split()
        if not words:
            return
        churn = None
        if words[0] == "write":
            for i in range(int(words[2])):
                write(segments[words[1]], i, (1 << 50) + os.getpid() * (1 << 20) + i)
        elif words[0] == "drop":
            memory, n = segments[words[1]], int(words[2])
            memory.madvise(mmap.MADV_DONTNEED, len(memory) - n * PAGE, n * PAGE)
        elif words[0] == "fork":
            if os.fork() == 0:
                libc.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
                signal.pause()
        elif words[0] == "churn":
            churn = int(words[1]) / 1000
        print("ok", flush=True)


main()

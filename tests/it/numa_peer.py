#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process that looks like a QEMU guest to memd: its memory prefers one NUMA node when it is first
touched, and a thread of it, its "vCPU", counts without end.

usage: numa_peer.py NAME SOCKET MIB NODE [CPU [DUTY]]
NODE -: wherever its policy says.
CPU: where the counting thread begins; it may run anywhere afterwards. DUTY: per cent of a processor
that it takes, reading all of its memory again and again; with a minus, or without DUTY, when it takes
all it gets, it reads nothing, so that the kernel's balancing sees no reason to move anything. Beside
QEMU's commands it answers x-spin (no DUTY from now on), x-count ({"count", "gap_ms"}: the longest the
count stood still since the last question), x-check (true while every page has the content that it was
given), x-break (one page of each 2 MiB goes and comes back, as by a balloon), x-equal (every 8th page
of all equal, and all mergeable) and x-unmerge.
"""
import ctypes
import json
import mmap
import os
import socket
import sys
import threading
import time

MIB = 1 << 20
PAGE = 4096
# Pages that are read at a time.
STEP = 64
SYS_SET_MEMPOLICY, MPOL_DEFAULT, MPOL_PREFERRED = 238, 0, 1
libc = ctypes.CDLL(None, use_errno=True)

name, path, size, node = sys.argv[1], sys.argv[2], int(sys.argv[3]) * MIB, sys.argv[4]
cpu = int(sys.argv[5]) if len(sys.argv) > 5 else None
duty = int(sys.argv[6]) if len(sys.argv) > 6 else None
vcpu, count, gap = {}, 0, 0.0
equal = merge = False


def prefer(mode, nodes):
    mask = ctypes.c_ulong(nodes)
    if libc.syscall(SYS_SET_MEMPOLICY, mode, ctypes.byref(mask) if nodes else None, 64 if nodes else 0):
        sys.exit("set_mempolicy: " + os.strerror(ctypes.get_errno()))


def contents():
    """The first three bytes of each page, of all pages: no two pages with the same within 56 GiB,
    but for those that are to be equal."""
    for at, period in enumerate((251, 241, 239)):
        values = bytearray((bytes(range(period)) * (size // PAGE // period + 1))[:size // PAGE])
        if equal:
            values[::8] = b"\xff" * len(values[::8])
        yield at, values


def count_on():
    global count, gap
    vcpu["tid"] = threading.get_native_id()
    if cpu is not None:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        os.sched_setaffinity(0, everywhere)
    begin = last = time.monotonic()
    at = 0
    while True:
        takes = duty
        if takes and takes > 0:
            memory[at:at + STEP * PAGE:PAGE]
            at = (at + STEP * PAGE) % size
        now = time.monotonic()
        gap = max(gap, now - last)
        last = now
        count += 1
        if takes and time.thread_time() > (now - begin) * abs(takes) / 100:
            time.sleep(0.02)


def fill(first, step):
    """Every so many pages, from one on."""
    for at, values in contents():
        memory[first * PAGE + at:size:step * PAGE] = values[first::step]


def disturb(command):
    global equal, merge
    if command == "x-break":
        for at in range(9 * PAGE, size, 2 * MIB):
            memory.madvise(mmap.MADV_DONTNEED, at, PAGE)
        fill(9, 2 * MIB // PAGE)
    elif command == "x-equal":
        equal = merge = True
        fill(0, 8)
        memory.madvise(mmap.MADV_MERGEABLE)
    else:
        merge = False
        memory.madvise(mmap.MADV_UNMERGEABLE)
    return {}


def run(command, args):
    global gap, duty
    if command == "query-name":
        return {"name": name}
    if command == "query-status":
        return {"status": "running", "singlestep": False, "running": True}
    if command == "query-memory-size-summary":
        return {"base-memory": size, "plugged-memory": 0}
    if command == "query-cpus-fast":
        return [{"thread-id": vcpu["tid"], "cpu-index": 0, "qom-path": "/x", "target": "x86_64",
                 "props": {"core-id": 0, "thread-id": 0, "socket-id": 0}}]
    if command == "query-memdev":
        return [{"id": "pc.ram", "size": size, "merge": merge, "dump": True, "prealloc": False,
                 "share": False, "host-nodes": [], "policy": "default"}]
    if command == "qom-list":
        return []
    if command == "x-count":
        longest, gap = gap, 0.0
        return {"count": count, "gap_ms": int(longest * 1000)}
    if command == "x-spin":
        duty = None
        return {}
    if command in ("x-break", "x-equal", "x-unmerge"):
        return disturb(command)
    if command == "x-check":
        return all(memory[at:size:PAGE] == wanted for at, wanted in contents())
    raise KeyError(command)


def serve(conn):
    # Apart: a text file that is written to forgets what it has read ahead (before Python 3.12).
    stream, answers = conn.makefile("r"), conn.makefile("w")

    def say(message):
        answers.write(json.dumps(message) + "\r\n")
        answers.flush()

    version = {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7"}
    say({"QMP": {"version": version, "capabilities": []}})
    try:
        for line in stream:
            request = json.loads(line)
            answer = {"id": request["id"]} if "id" in request else {}
            try:
                done = request["execute"] == "qmp_capabilities"
                answer["return"] = {} if done else run(request["execute"], request.get("arguments", {}))
            except KeyError as error:
                answer["error"] = {"class": "CommandNotFound", "desc": f"no {error}"}
            say(answer)
    except (OSError, ValueError):
        pass
    conn.close()


if node != "-":
    prefer(MPOL_PREFERRED, 1 << int(node))
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
fill(0, 1)
if node != "-":
    prefer(MPOL_DEFAULT, 0)
threading.Thread(target=count_on, daemon=True).start()
while "tid" not in vcpu:
    time.sleep(0.01)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(4)
print("READY", flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()

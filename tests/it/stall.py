#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stall for memory in a cgroup (v1 or v2) that is too small for what is used, again and again.

usage: stall.py CGROUP TIMES MIB
Touches MIB of memory page by page for 0.7 s, TIMES times with 2.3 s in between; CGROUP must allow less
than half of it, and there must be swap. Prints "STALL MICROSECONDS" (CLOCK_MONOTONIC) each time.
"""
import mmap
import os
import sys
import time

PAGE = 4096
group, times, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) << 20


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def touch(begin, end):
    for at in range(begin, end, PAGE):
        memory[at] = (memory[at] + 1) & 255


with open(os.path.join(group, "cgroup.procs"), "w") as file:
    file.write(str(os.getpid()))
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
touch(0, size)
half = 0
for _ in range(times):
    # Off the grid of whole seconds, on which the loop ticks anyway.
    time.sleep(2.3 - now() % 10**9 / 1e9 % 0.1)
    start = now()
    print("STALL %d" % (start // 1000), flush=True)
    while now() - start < 0.7e9:
        # What was not touched last is in swap.
        half = size // 2 - half
        for at in range(half, half + size // 2, 1 << 20):
            touch(at, at + (1 << 20))
            if now() - start >= 0.7e9:
                break

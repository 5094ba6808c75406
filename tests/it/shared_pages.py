#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many pages of memory do processes share by KSM? The slow and plain way, to check memd by.

usage: shared_pages.py PID[,PID]... PID[,PID]...   pages that processes of at least two of these groups map
"""
import struct
import sys

PRESENT = 1 << 63
FILE = 1 << 61
PFN = (1 << 55) - 1
KPF_KSM = 1 << 21


def frames(pid):
    """The frames of all anonymous pages that the process has in memory."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if last > 1 << 47:
                continue
            pagemap.seek(first // 4096 * 8)
            data = pagemap.read((last - first) // 4096 * 8)
            for (entry,) in struct.iter_unpack("<Q", data):
                if entry & PRESENT and not entry & FILE:
                    found.add(entry & PFN)
    return found


def is_merged(frame):
    with open("/proc/kpageflags", "rb") as flags:
        flags.seek(frame * 8)
        return bool(struct.unpack("<Q", flags.read(8))[0] & KPF_KSM)


def shared(groups):
    seen, twice = set(), set()
    for group in groups:
        mine = set().union(*(frames(pid) for pid in group.split(",")))
        twice |= seen & mine
        seen |= mine
    return {frame for frame in twice if is_merged(frame)}


def main():
    found = shared(sys.argv[1:])
    if found:
        # A frame may go from one process to the other between two looks: not twice the same.
        found &= shared(sys.argv[1:])
    print(len(found))


main()

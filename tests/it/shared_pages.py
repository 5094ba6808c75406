#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many pages of memory do processes share by KSM? The slow and plain way, to check memd by.

usage: shared_pages.py PID[,PID]... PID[,PID]...   pages that processes of at least two of these groups map
"""
import array
import os
import sys

PRESENT_NOT_FILE = 4  # of the three uppermost bits: present, swapped, of a file
PFN = (1 << 55) - 1
KPF_KSM = 1 << 21
BLOCK = 4096  # entries read at once


def frames(pid):
    """The frames of all anonymous pages that the process has in memory."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in maps:
            first, last = (int(x, 16) // 4096 for x in line.split()[0].split("-"))
            if last > 1 << 35:
                continue
            for at in range(first, last, BLOCK):
                data = os.pread(pagemap.fileno(), min(BLOCK, last - at) * 8, at * 8)
                # Untouched memory: all alike, and nothing there.
                if not data[7] >> 7 and data == data[:8] * (len(data) // 8):
                    continue
                found.update([e & PFN for e in array.array("Q", data) if e >> 61 & 5 == PRESENT_NOT_FILE])
    return found


def merged(found):
    with open("/proc/kpageflags", "rb", buffering=0) as flags:
        return {f for f in found if int.from_bytes(os.pread(flags.fileno(), 8, f * 8), "little") & KPF_KSM}


def shared(groups):
    seen, twice = set(), set()
    for group in groups:
        mine = set().union(*(frames(pid) for pid in group.split(",")))
        twice |= seen & mine
        seen |= mine
    return merged(twice)


def main():
    found = shared(sys.argv[1:])
    if found:
        # A frame may go from one process to the other between two looks: not twice the same.
        found &= shared(sys.argv[1:])
    print(len(found))


main()

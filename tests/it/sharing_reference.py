#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who shares what, worked out slowly and without memctl's code; then hold memctl's answer to it.

usage: sharing_reference.py [--all] ANSWER.json PID... [+PID...]

Every page of every writable mapping of the given processes is looked at one by one; those with a +
are not guests. --all: also of all other processes that merge; then the sum is compared too. A merged
page's mappers are the mappings seen; kpagecount must agree. Fractions are exact. Prints what differs
and exits with 1 when something does.
"""
import json
import os
import struct
import sys
from collections import Counter, defaultdict
from fractions import Fraction

PAGE = os.sysconf("SC_PAGESIZE")
KSM, ZERO = 1 << 21, 1 << 24
flags_file = os.open("/proc/kpageflags", os.O_RDONLY)
count_file = os.open("/proc/kpagecount", os.O_RDONLY)
flags_of = {}


def word(fd, index):
    data = os.pread(fd, 8, index * 8)
    return struct.unpack("Q", data)[0] if len(data) == 8 else 0


def flags(frame):
    if frame not in flags_of:
        flags_of[frame] = word(flags_file, frame)
    return flags_of[frame]


def frames(pid):
    """The frame of each present page of the writable mappings of a process; is it mergeable?"""
    mappings = []  # start, end, writable, mergeable
    for line in open("/proc/%d/smaps" % pid):
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(x, 16) // PAGE for x in words[0].split("-"))
            mappings.append([start, end, "w" in words[1], False])
        elif words[0] == "VmFlags:":
            mappings[-1][3] = "mg" in words
    pagemap = os.open("/proc/%d/pagemap" % pid, os.O_RDONLY)
    for start, end, writable, mergeable in mappings:
        data = os.pread(pagemap, (end - start) * 8, start * 8) if writable else b""
        for (entry,) in struct.iter_unpack("Q", data):
            if entry >> 63 and not entry >> 61 & 1:
                yield entry & (1 << 55) - 1, mergeable
    os.close(pagemap)


def merging(pid):
    try:
        for line in open("/proc/%d/ksm_stat" % pid):
            if line.split()[0] in ("ksm_merging_pages", "ksm_zero_pages") and int(line.split()[1]):
                return True
        return int(open("/proc/%d/ksm_merging_pages" % pid).read() or 0) > 0  # a kernel thread has none
    except OSError:
        return False


def main():
    words = sys.argv[1:]
    whole = words[0] == "--all"
    words = words[whole:]
    answer = json.load(open(words[0]))
    asked = [int(word) for word in words[1:] if word[0] != "+"]
    everybody = {int(word) for word in words[1:]}
    if whole:
        everybody |= {int(p) for p in os.listdir("/proc") if p.isdigit() and merging(int(p))}
    mapped = defaultdict(Counter)  # frame -> pid -> mappings
    zero = Counter()
    for pid in everybody:
        for frame, mergeable in frames(pid):
            if flags(frame) & KSM:
                mapped[frame][pid] += 1
            elif flags(frame) & ZERO and mergeable:
                zero[pid] += 1

    bad = []
    saved, own, pairs, total = Counter(), Counter(), Counter(), 0
    for frame, pids in mapped.items():
        m = sum(pids.values())
        count = word(count_file, frame)
        if count != m:
            bad.append("frame %#x: %d mappings seen, kpagecount says %d" % (frame, m, count))
        total += m - 1
        sides = Counter()
        for pid, k in pids.items():
            saved[pid] += Fraction(k * (m - 1) * PAGE, m)
            own[pid] += (k - 1) * PAGE
            sides[pid if pid in asked else None] += k
        for a in sides:
            if sides[a] > 1:
                pairs[(a, a)] += (sides[a] - 1) * PAGE
            for b in sides:
                if a is not None and (b is None or a < b):
                    pairs[(a, b)] += PAGE

    told_sum = answer["others"]["saved_bytes"] + answer["unknown"]["saved_bytes"]
    for guest in answer["guests"]:
        pid = guest["pid"]
        told_sum += guest["saved_bytes"]
        if abs(guest["saved_bytes"] - saved[pid]) >= 1:
            bad.append("%s: saved %d, exactly %s" % (guest["name"], guest["saved_bytes"], saved[pid]))
        if guest["within_bytes"] != own[pid]:
            bad.append("%s: within %d, %d" % (guest["name"], guest["within_bytes"], own[pid]))
        for key in "zero_bytes", "zero_mapped_bytes":
            if guest[key] is not None and guest[key] != zero[pid] * PAGE:
                bad.append("%s: %s %d, %d" % (guest["name"], key, guest[key], zero[pid] * PAGE))
    if {g["pid"] for g in answer["guests"]} != set(asked):
        bad.append("not the guests that were asked for")
    if told_sum != answer["sum"]["saved_bytes"]:
        bad.append("parts add up to %d, not %d" % (told_sum, answer["sum"]["saved_bytes"]))
    if whole and answer["sum"]["saved_bytes"] != total * PAGE:
        bad.append("sum %d, %d" % (answer["sum"]["saved_bytes"], total * PAGE))
    told_pairs = Counter()
    for pair in answer.get("pairs", []):
        # others come last, else the smaller pid first
        a, b = sorted((pair["a_pid"], pair["b_pid"]), key=lambda p: (p is None, p))
        told_pairs[(a, b)] += pair["bytes"]
    if not whole:  # what others have among themselves was not looked at
        pairs.pop((None, None), None)
        told_pairs.pop((None, None), None)
    if told_pairs != pairs:
        bad.append("pairs %s, %s" % (dict(told_pairs), dict(pairs)))
    print("# reference: %d merged pages in %d processes save %d pages, %d zero pages" %
          (len(mapped), len(everybody), total, sum(zero.values())))
    for line in bad[:10]:
        print("# " + line)
    sys.exit(1 if bad else 0)


main()

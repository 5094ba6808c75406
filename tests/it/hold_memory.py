#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process that holds memory with given content, mergeable, until its standard input ends.

usage: hold_memory.py [--unmarked] PART...
  FILE                  an image, whole pages of it
  files:DIR:SIZE[:SKIP] files below DIR one after the other, each from a page's start as in a page
                        cache, SIZE MiB of them after SKIP MiB
  zero:SIZE random:SIZE busy:SIZE
                        MiB; busy: all pages equal, and all rewritten four times a second
Prints "READY ADDRESS PAGES" when all is there.
"""
import ctypes
import mmap
import os
import select
import sys

PAGE = 4096
MIB = 1 << 20


def from_files(top, size, skip):
    """The content of regular files in a fixed order."""
    pieces, have = [], 0
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            length = -(-os.path.getsize(path) // PAGE) * PAGE
            have += length
            if have <= skip or length == 0:
                continue
            with open(path, "rb") as file:
                pieces.append(file.read().ljust(length, b"\0")[:length])
            if have >= skip + size:
                return b"".join(pieces)[:size]
    return b"".join(pieces).ljust(size, b"\0")[:size]


def content(part):
    """(bytes, busy) of one part."""
    kind, _, rest = part.partition(":")
    if kind == "files":
        top, size, *skip = rest.split(":")
        return from_files(top, int(size) * MIB, int(skip[0]) * MIB if skip else 0), False
    if kind == "random":
        return os.urandom(int(rest) * MIB), False
    if kind in ("zero", "busy"):
        return bytes(int(rest) * MIB), kind == "busy"
    with open(part, "rb") as file:
        data = file.read()
    return data[: len(data) // PAGE * PAGE], False


def main():
    args = sys.argv[1:]
    marked = "--unmarked" not in args
    parts = [content(part) for part in args if part != "--unmarked"]
    size = sum(len(data) for data, _ in parts)
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if marked:
        memory.madvise(mmap.MADV_MERGEABLE)
    busy, at = [], 0
    for data, is_busy in parts:
        memory[at : at + len(data)] = data
        if is_busy:
            busy.append((at, at + len(data)))
        at += len(data)
    del parts, data
    where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    print("READY %d %d" % (where, size // PAGE), flush=True)
    turn = 0
    while not select.select([sys.stdin], [], [], 0.25 if busy else None)[0]:
        turn += 1
        for begin, end in busy:
            memory[begin:end] = turn.to_bytes(4, "little") * ((end - begin) // 4)


main()

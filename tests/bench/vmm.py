#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start, size and return of memory of vmm beside QEMU's microvm and q35: in turn (A B A B), medians.

usage: vmm.py [--runs N] [--cases boot,balloon,report,unplug,hugetlb,remap] OUT.json
Runs inside a host with /dev/kvm and the lab's images, as root.
"""
import json
import os
import statistics
import sys
import tempfile
import time

from guest import MIB, Guest

MEMORY = 512  # MiB of each guest
TOUCH = 400   # of which its memhog touches, frees
TAKE = 256    # and the balloon takes
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"
IDLE_S = 60

got = {}  # (kind, metric): samples
failed = []


def keep(kind, **figures):
    for metric, value in figures.items():
        got.setdefault((kind, metric), []).append(value)
    print(f"  {kind}: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items()), flush=True)


def measure(kind, work, **options):
    """One guest of KIND; what fails is named and leaves a gap, the other guests go on."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with Guest(kind, directory, **options) as guest:
                guest.init = guest.until("GUEST INIT", 240)
                guest.until("GUEST READY", 240)
                guest.connect()
                work(guest)
        except (RuntimeError, OSError, KeyError, IndexError) as error:
            failed.append(f"{kind}: {error}")
            print(f"  {kind}: FAILED: {error}", flush=True)


# ---- what is done with a guest ----

def boot(guest):
    keep(guest.kind, boot=guest.init, overhead=guest.overhead() / MIB)


def balloon(guest):
    """Boot's figures too: this guest has started just as well."""
    boot(guest)
    guest.run(f"memhog {TOUCH}M")
    high = guest.resident()
    inflate = TAKE / guest.balloon(MEMORY - TAKE)
    time.sleep(0.5)  # parts of huge pages may wait for the rest a moment
    freed = (high - guest.resident()) / (TAKE * MIB)
    keep(guest.kind, inflate=inflate, freed=freed, deflate=TAKE / guest.balloon(MEMORY))


def remap(guest):
    """Used again after all that, then idle: how much is mapped by 2 MiB pages again, and when?"""
    guest.run(f"memhog {TOUCH}M")
    begin, share = time.monotonic(), guest.huge_share()
    while share < 0.9 and time.monotonic() - begin < IDLE_S:
        time.sleep(2)
        share = guest.huge_share()
    keep(guest.kind, huge_after=share, huge_after_s=time.monotonic() - begin)


def report(guest):
    """Memory that a program has used and freed: MiB/s until the host has nearly all of it. The
    driver works once in 2 s (mm/page_reporting.c): how soon its first step comes is chance, so the
    figure tells of a device only when one loses steps."""
    guest.run(f"memhog {TOUCH}M")
    high = guest.resident()
    seconds = guest.wait_for("reporting", lambda: guest.resident() < high - 0.9 * TOUCH * MIB, 60, 0.2)
    keep(guest.kind, report=0.9 * TOUCH / seconds)


def unplug(guest):
    """Plugged memory that a program has used and freed: it is movable, and so is used first."""
    guest.hotplug(TAKE)
    guest.run(f"memhog {TAKE}M")
    high = guest.resident()
    seconds = guest.hotplug(0)
    keep(guest.kind, unplug=TAKE / seconds, unplug_freed=(high - guest.resident()) / (TAKE * MIB))


def pool_free():
    with open(POOL + "/free_hugepages") as f:
        return int(f.read())


def hugetlb(guest):
    """The guest's pages are used and free, the pool has none left: what does the balloon bring?"""
    guest.run(f"memhog {TOUCH // 2}M")
    before = pool_free()
    seconds = guest.balloon(MEMORY - TAKE // 2)
    keep(guest.kind, hugetlb=(pool_free() - before) * 2 / (TAKE // 2), hugetlb_inflate=TAKE / 2 / seconds)


def in_turn(*works):
    return lambda guest: [work(guest) for work in works]


def turn(cases):
    if "boot" in cases:
        measure("vmm-bzimage", boot)
    if "balloon" in cases:
        measure("vmm", in_turn(balloon, remap) if "remap" in cases else balloon)
        measure("qemu-microvm", balloon)
        measure("vmm-idle", balloon)
    elif "boot" in cases:
        measure("vmm", boot)
        measure("qemu-microvm", boot)
    for kind, pool in (("vmm", "2M"), ("qemu-microvm", "hugetlb")):
        if "report" in cases:
            measure(kind, report, reporting=True)
        if "hugetlb" in cases:
            measure(kind, hugetlb, pages=pool)
    if "unplug" in cases:
        measure("vmm", unplug, hotplug=TAKE)
        measure("qemu-q35", in_turn(boot, unplug), hotplug=TAKE)
    elif "boot" in cases:
        measure("qemu-q35", boot)


# ---- the table ----

DOWN, UP = "lower is better", "higher is better"
# Case, metric, unit, ours, its figure, peer, its figure, note.
ROWS = (
    ("boot vmlinux", "to init", "s", "vmm", "boot", "qemu-microvm", "boot", f"peer boots vmlinuz; {DOWN}, goal 0.5"),
    ("boot vmlinux", "to init", "s", "vmm", "boot", "qemu-q35", "boot", f"both boot vmlinux; {DOWN}"),
    ("boot vmlinuz", "to init", "s", "vmm-bzimage", "boot", "qemu-microvm", "boot", f"both boot vmlinuz; {DOWN}"),
    ("size", "private beside RAM", "MiB", "vmm", "overhead", "qemu-microvm", "overhead", f"{DOWN}, goal 0.1 and 2 MiB"),
    ("size", "private beside RAM", "MiB", "vmm", "overhead", "qemu-q35", "overhead", DOWN),
    ("balloon", "inflate, touched", "MiB/s", "vmm", "inflate", "qemu-microvm", "inflate", f"{UP}, goal 3"),
    ("balloon", "inflate, touched", "MiB/s", "vmm", "inflate", "device-does-nothing", "inflate", "of the driver's own limit, goal 0.77"),
    ("balloon", "resident falls", "of inflated", "vmm", "freed", "qemu-microvm", "freed", UP),
    ("balloon", "deflate", "MiB/s", "vmm", "deflate", "qemu-microvm", "deflate", UP),
    ("reporting", "given back", "MiB/s", "vmm", "report", "qemu-microvm", "report", f"from free to 90 %, in the driver's steps of 2 s; {UP}"),
    ("virtio-mem", "unplug", "MiB/s", "vmm", "unplug", "qemu-microvm", "inflate", f"peer's balloon; {UP}, goal 20"),
    ("virtio-mem", "unplug", "MiB/s", "vmm", "unplug", "qemu-q35", "unplug", f"peer's virtio-mem-pci; {UP}"),
    ("virtio-mem", "resident falls", "of unplugged", "vmm", "unplug_freed", "qemu-q35", "unplug_freed", UP),
    ("hugetlb 2M", "inflate to pool", "of inflated", "vmm", "hugetlb", "qemu-microvm", "hugetlb", f"{UP}, goal 0.9 for ours"),
    ("hugetlb 2M", "inflate", "MiB/s", "vmm", "hugetlb_inflate", "qemu-microvm", "hugetlb_inflate", UP),
    ("thp, half and back", "2 MiB-mapped", "of mapped", "vmm", "huge_after", "goal", 0.9, f"{UP}; then used, {IDLE_S} s idle at most"),
    ("thp, half and back", "time to that", "s", "vmm", "huge_after_s", "goal", IDLE_S, DOWN),
)


def table():
    rows = []
    for case, metric, unit, kind, figure, peer, peer_figure, note in ROWS:
        ours = got.get((kind, figure))
        name = {"device-does-nothing": "vmm-idle"}.get(peer, peer)
        theirs = [float(peer_figure)] * len(ours or ()) if peer == "goal" else got.get((name, peer_figure))
        if not ours or not theirs:
            continue
        middle, other = statistics.median(ours), statistics.median(theirs)
        rows.append({"case": case, "metric": metric, "unit": unit, "ours": middle, "peer_name": peer, "peer": other,
                     "ratio": middle / other if other else None, "runs": min(len(ours), len(theirs)), "note": note})
    return rows


def main():
    args, runs = sys.argv[1:], 5
    cases = "boot,balloon,report,unplug,hugetlb,remap".split(",")
    while args[:1] and args[0] in ("--runs", "--cases") and len(args) > 1:
        if args[0] == "--runs":
            runs = int(args[1])
        else:
            cases = args[1].split(",")
        args = args[2:]
    if len(args) != 1:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if "hugetlb" in cases:
        with open(POOL + "/nr_hugepages", "w") as f:
            f.write(str(MEMORY // 2 + 16))
    host = f"{os.uname().release}, {os.cpu_count()} cpu, " + next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    begin = time.monotonic()
    for run in range(runs):
        print(f"run {run + 1} of {runs}, {time.monotonic() - begin:.0f} s", flush=True)
        turn(cases)
        # Each time, so that a run that is cut short leaves what it has.
        with open(args[0], "w") as f:
            json.dump({"schema": 1, "part": "vmm", "host": host, "rows": table()}, f, indent=1)
    if failed:
        print(f"{len(failed)} guests failed: " + "; ".join(failed), flush=True)
    sys.exit(1 if failed else 0)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many guests fit on this machine when memory is scarce, managed by memd and by others.

usage: density.py --out DIR --build DIR --ksmtuned FILE [--cases plain,advisor,pve,mom,memd] [--vmm DIR]

Guests (density_guest.py) are added a few at a time. Each step has time to settle, and is then measured:
the level of service holds when every guest does its operations at its rate, its 99th percentile of
lateness is no worse than LIMIT_TIMES that of guests of its kind, as many of them, with memory to spare,
or LIMIT_S more, and no guest's kernel nor the host's has killed anything for want of memory. A step
that fails is measured again; failing twice ends the case, an OOM kill at once.
The same guests with memory to spare come first ("spare"); where their own rate breaks, the processor
is what runs out, and nothing is measured beyond. With --vmm guests run under vmm, from images made in
DIR, on the emulated host.

Environment: BENCH_FREE memory left for guests (3G), BENCH_SWAP swap on zram (4G), BENCH_STEP guests a
step (4: one of each kind), BENCH_FIRST guests in the first step (12), BENCH_GUESTS_MAX (64),
BENCH_STEPS the numbers of guests themselves instead (12,24,36,40,44: fine where a case breaks),
BENCH_SETTLE and BENCH_WINDOW seconds (20, 20 for each time slower: a cycle of the compiler's),
BENCH_SLOWER how much slower guests work (2: that the processor is not what runs out), BENCH_LIMIT_S (0.2),
BENCH_RUNS how often all cases run in turn (1), with memory to spare measured once; medians are told,
BENCH_SPARE a series file of this machine and these settings: memory to spare is not measured again.
"""
import argparse
import copy
import ctypes
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time

import ksm
from density_drive import CASES
from density_guest import KINDS, MEMORY_MIB, RATES, SLOWER, Images, has_kvm
from density_plot import plot
from density_result import middle_run, rising, rows, tried
from density_vmm import VmmImages
from guest import MIB
from scarce import Guard, add_swap, available, meminfo, reserve


def size(text):
    return int(float(text[:-1]) * {"M": MIB, "G": MIB << 10}[text[-1]])


FREE = size(os.environ.get("BENCH_FREE", "3G"))
SWAP = size(os.environ.get("BENCH_SWAP", "4G"))
STEP = int(os.environ.get("BENCH_STEP", "4"))
FIRST = int(os.environ.get("BENCH_FIRST", "12"))
MOST = int(os.environ.get("BENCH_GUESTS_MAX", "64"))
STEPS = [int(n) for n in os.environ.get("BENCH_STEPS", "").split(",") if n] or list(range(FIRST, MOST + 1, STEP))
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
SPARE = os.environ.get("BENCH_SPARE")
SETTLE = int(os.environ.get("BENCH_SETTLE", "20"))
WINDOW = int(os.environ.get("BENCH_WINDOW", 20 * SLOWER))
RATE_LEAST = 0.9
LIMIT_TIMES, LIMIT_S = 3, float(os.environ.get("BENCH_LIMIT_S", "0.2"))


# ---- one step ----

def p99(values):
    """Of latencies; who did nothing is at least as late as the window is long."""
    values = sorted(values)
    return values[math.ceil(0.99 * len(values)) - 1] if values else float(WINDOW)


def spend(seconds, guests, driver, took=None):
    """Lets guests run; what they tell goes to took, {guest: [latency]}, or is dropped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for guest in guests:
            got = guest.read()
            if took is not None:
                took[guest] += got
        driver.tick(guests)
        time.sleep(max(0, min(1, end - time.monotonic())))


def killed(guests):
    """What has been killed for want of memory, in words; None: nothing."""
    for guest in guests:
        if not guest.alive():
            return f"{guest.name} ended: {guest.last_words()}"
        if guest.ooms:
            return f"{guest.name} had an OOM kill"
    return None


def host_now(guests, ksmd):
    info = meminfo()
    with open("/proc/pressure/memory") as f:
        stalled = {line.split()[0]: int(line.split("total=")[1]) / 1e6 for line in f}
    with open("/proc/vmstat") as f:
        vm = dict(map(str.split, f))
    memory = [g.memory() for g in guests]
    balloons = [g.call("query-balloon")["actual"] for g in guests if g.alive()]
    return {"available_bytes": available(), "swap_used_bytes": info["SwapTotal"] - info["SwapFree"],
            "swap_in_bytes": int(vm["pswpin"]) * 4096, "ksm_saved_bytes": sum(m[1] for m in memory), "ksmd_cpu_s": ksmd.seconds(),
            "balloon_bytes": sum(MEMORY_MIB * MIB - b for b in balloons), "guests_cpu_s": sum(g.cpu_seconds() for g in guests),
            "guests_resident_bytes": sum(m[0] for m in memory),
            "stalled_some_s": stalled["some"], "stalled_full_s": stalled["full"]}


def measure(guests, driver, ksmd):
    """One window: {"kinds": {kind: {"p99_s", "rate"}}, "each": {guest: {...}}, "host"}"""
    took = {g: [] for g in guests}
    begin, before = time.monotonic(), host_now(guests, ksmd)
    spend(WINDOW, guests, driver, took)
    passed, host = time.monotonic() - begin, host_now(guests, ksmd)
    for key in ("guests_cpu_s", "ksmd_cpu_s"):
        host[key.replace("_s", "_cores")] = (host[key] - before[key]) / passed
    out = {"kinds": {}, "each": {}, "host": host}
    for guest, values in took.items():
        rate = RATES[guest.kind]
        # They tell once a second: what is under way at both ends is not missing.
        slack = max(2, 1.5 * rate)
        out["each"][guest.name] = {"kind": guest.kind, "done": len(values), "p99_s": p99(values),
                                     "slow": len(values) + slack < RATE_LEAST * rate * passed}
    for kind in KINDS:
        mine = [g for g in guests if g.kind == kind]
        if mine:
            out["kinds"][kind] = {"p99_s": p99([v for g in mine for v in took[g]]),
                                  "rate": statistics.median(len(took[g]) / passed for g in mine)}
    return out


def judge(found, spare):
    """(the worst guest's lateness by its limit, what fails in words or None)"""
    worst, why = 0.0, []
    for name, guest in found["each"].items():
        normal = spare["kinds"][guest["kind"]]["p99_s"] if spare else math.inf
        limit = max(LIMIT_TIMES * normal, normal + LIMIT_S)
        if spare:
            worst = max(worst, guest["p99_s"] / limit)
        if guest["slow"]:
            why.append(f"{name} did {guest['done']} operations")
        elif guest["p99_s"] > limit:
            why.append(f"{name} p99 {guest['p99_s']:.2f} s, limit {limit:.2f} s")
    return worst, "; ".join(why[:3]) + (f"; {len(why) - 3} more" if len(why) > 3 else "") if why else None


# ---- one case ----

def run_step(guests, n, directory, images, driver, ksmd, spare):
    """Brings the guests to n and measures: (what was found or None, why it fails or None)"""
    found = None
    try:
        while len(guests) < n:
            new = images.worker(len(guests), directory, images, driver.balloon)
            guests.append(new)
            new.begin(lambda: spend(0.1, guests[:-1], driver))
            driver.tick(guests)
        spend(SETTLE, guests, driver)
        for attempt in (1, 2):
            why = killed(guests)
            if not why:
                found = measure(guests, driver, ksmd)
                found["worst"], found["fails"] = judge(found, spare)
                why = killed(guests)
            if why or not found["fails"]:
                return found, why
            print(f"    {n} guests, measured {attempt} of 2: {found['fails']}", flush=True)
        return found, found["fails"]
    except (RuntimeError, OSError) as error:
        return None, killed(guests) or str(error)


def run_case(name, args, images, guard, ksmd, spare, steps):
    """Adds {"guests": n, ...} to steps for each; the last has "broke" when the level did not hold."""
    guests = []
    with tempfile.TemporaryDirectory() as directory:
        driver = CASES.get(name, CASES["plain"])(args, directory, guard)
        try:
            for n in STEPS:
                if name != "spare" and n not in spare:
                    break
                found, why = run_step(guests, n, directory, images, driver, ksmd, spare.get(n))
                step = {"guests": n, **(found or {}), **({"broke": why} if why else {})}
                step["oom_kills"] = sum(g.ooms for g in guests) + sum(g.process.poll() == -signal.SIGKILL for g in guests)
                steps.append(step)
                tell(name, step)
                if why:
                    break
        finally:
            driver.stop()
            for guest in guests:
                guest.kill()


def tell(name, step):
    host = step.get("host")
    text = f"  {name}: {step['guests']} guests"
    if host:
        text += (f", available {host['available_bytes'] / MIB:.0f} MiB, swapped {host['swap_used_bytes'] / MIB:.0f}, "
                 f"KSM {host['ksm_saved_bytes'] / MIB:.0f}, balloons {host['balloon_bytes'] / MIB:.0f}, "
                 f"processors {host['guests_cpu_cores'] + host['ksmd_cpu_cores']:.2f}, p99 " +
                 " ".join(f"{k} {1000 * v['p99_s']:.0f}" for k, v in step["kinds"].items()) +
                 f" ms, worst {step['worst']:.2f} of its limit")
    print(text + (f": BROKE: {step['broke']}" if "broke" in step else ""), flush=True)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name in ("--out", "--build", "--ksmtuned"):
        p.add_argument(name, required=True)
    p.add_argument("--cases", default=",".join(CASES))
    p.add_argument("--vmm")
    args = p.parse_args()
    args.part = "density-lab" if args.vmm else "density"
    cases = args.cases.split(",")
    for name in cases:
        if name not in CASES:
            sys.exit(f"density: there is no case '{name}'; there is: {' '.join(CASES)}")
    if ksm.read("run") == "1":
        raise RuntimeError("KSM is on: somebody uses it, and what would be measured is theirs too")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    # What measures is not swapped out (MCL_CURRENT | MCL_FUTURE).
    ctypes.CDLL(None).mlockall(3)
    images = VmmImages(args.vmm, args.build) if args.vmm else Images(args.build)
    for number in range(max(STEPS)):
        if KINDS[number % len(KINDS)] == "reader":
            images.data(number)
    ksmd, guard, series = ksm.Ksmd(), Guard(), {}
    try:
        keep_ksm(guard)
        run_all(cases, args, images, guard, ksmd, series)
    finally:
        guard.end()
        save(args, series)


def keep_ksm(guard):
    """The guard puts KSM's settings back: the advisor off first, for it refuses others' values."""
    for name in ["advisor_mode", "run"] + [n for n in ksm.KNOBS if n not in ("advisor_mode", "run")]:
        if os.path.exists(ksm.KSM + name):
            guard.tell(f"write {ksm.KSM}{name} {ksm.read(name)}")
    if os.path.exists(ksm.KSM + "advisor_mode"):
        guard.tell(f"write {ksm.KSM}advisor_mode none")


def run_all(cases, args, images, guard, ksmd, series):
    series["spare"] = [[]]
    if SPARE:
        with open(SPARE) as f:
            series["spare"] = json.load(f)["spare"]
        missing = set(STEPS) - {step["guests"] for step in series["spare"][0]}
        if missing:
            sys.exit(f"density: {SPARE} has nothing of {', '.join(map(str, sorted(missing)))} guests")
    else:
        run_case("spare", args, images, guard, ksmd, {}, series["spare"][0])
    spare = {s["guests"]: s for s in settled(series["spare"][0])}
    add_swap(guard, SWAP)
    left, args.locked = reserve(guard, FREE)
    print(f"  {left / MIB:.0f} MiB are left available, {SWAP / MIB:.0f} MiB of swap on zram; of the rest "
          f"{args.locked / MIB:.0f} MiB are in too small pieces for huge pages, and locked", flush=True)
    for run in range(RUNS):
        for name in cases:
            if RUNS > 1:
                print(f"  {name}: run {run + 1} of {RUNS}", flush=True)
            steps = []
            if RUNS == 1:
                series[name] = [steps]
            run_case(name, args, images, guard, ksmd, spare, steps)
            # One of several that was interrupted would be taken for one that held less.
            if RUNS > 1:
                series.setdefault(name, []).append(steps)


def settled(steps):
    """The steps at which the level held, with lateness that never falls as guests are added: that it
    does is the machine's own unrest, and one restless step must not ease the limit of all after it."""
    steps = copy.deepcopy([s for s in steps if "broke" not in s])
    for kind in KINDS:
        found = [s["kinds"][kind] for s in steps if kind in s["kinds"]]
        for at, p99_s in zip(found, rising([at["p99_s"] for at in found])):
            at["p99_s"] = p99_s
    return steps


def save(args, series):
    series = tried(series)
    if "spare" not in series:
        return
    kind = "vmm" if args.vmm else "KVM" if has_kvm() else "TCG"
    doc = {"schema": 1, "part": args.part,
           "host": f"Linux {os.uname().release}, {os.cpu_count()} processors, {kind}, {FREE / MIB:.0f} MiB for guests "
                   f"of {MEMORY_MIB} MiB, {SWAP / MIB:.0f} MiB of swap on zram",
           "rows": rows(series)}
    begin = f"{args.out}/{args.part}"
    with open(begin + ".json", "w") as f:
        json.dump(doc, f, indent=1)
    with open(begin + "-series.json", "w") as f:
        json.dump(series, f, indent=1)
    with open(begin + ".svg", "w") as f:
        f.write(plot({name: middle_run(runs) for name, runs in series.items()}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guests brought to their memory on four nodes by memd, numad and the kernel's automatic balancing, in
turn, each in a lab of the same shape, started anew (numa_lab.py in it).

usage: numa.py --out DIR --numad FILE [--cases memd,numad,kernel]

Local is the part of all guests' memory that lies on the node where the guest's vCPU runs at that
moment; settled is the mean over the last WINDOW_S of a case. Moved is what the kernel counts as
migrated pages (pgmigrate_success of /proc/vmstat), whoever asked for it.
Environment: BENCH_RUNS how often (1), BENCH_SECONDS how long a case has from its start (240).
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

from panel import page, panel

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
MIB = 1 << 20
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "240"))
# Two processors a node: three guests that take 55 % of one each fit on it.
LAB = ["--nodes", "4", "--cpus", "8", "--memory", "7G"]
WINDOW_S = 60
GOAL = 0.95
# So many samples in a row have to reach the goal.
HOLD = 3
CASES = ("memd", "numad", "kernel")
COLOURS = {"memd": "#c33", "numad": "#36c", "kernel": "#393"}


def make_share(out, numad):
    """What the lab gets at /share."""
    share = out + "/numa-share"
    shutil.rmtree(share, ignore_errors=True)
    os.makedirs(share)
    for path in (numad, HERE + "/numa_lab.py", TOP + "/tests/it/numa_peer.py"):
        shutil.copy(path, share)
    return share


def run_case(case, share, out):
    """What numa_lab.py has written."""
    directory = f"{out}/numa-{case}"
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([TOP + "/tests/lab/lab", "run", *LAB, "--share", share, "--out", directory, "--timeout", str(SECONDS + 600), "--",
                    "python3", "/share/numa_lab.py", case, str(SECONDS)], check=True)
    with open(f"{directory}/{case}.json") as f:
        return json.load(f)


def reached(samples):
    """Seconds until the goal was reached to stay for HOLD samples; None: never."""
    for i in range(len(samples) - HOLD + 1):
        if all(s["local"] >= GOAL for s in samples[i:i + HOLD]):
            return samples[i]["seconds"]
    return None


def figures(doc):
    samples, reserve = doc["samples"], doc["reserve"]
    end = samples[-1]["seconds"]
    settled = [s for s in samples if s["seconds"] >= end - WINDOW_S]
    first, last = settled[0], settled[-1]

    def below(node):
        """In more than half of the samples, so that a page cache that comes and goes is none."""
        return sum(s["nodes"][node][1] < reserve * s["nodes"][node][0] for s in settled) > len(settled) / 2

    return {"local_percent": 100 * statistics.fmean(s["local"] for s in settled),
            "start_percent": 100 * samples[0]["local"],
            "below": sum(map(below, range(len(last["nodes"])))),
            "free_percent": 100 * min(f / t for s in settled for t, f in s["nodes"]),
            "moved_mib": last["moved_bytes"] / MIB, "time_s": reached(samples),
            "cores": (last["cpu_seconds"] - first["cpu_seconds"]) / (last["seconds"] - first["seconds"])}


METRICS = [("local share, settled", "%", "local_percent"), ("nodes below their reserve, settled", "nodes", "below"),
           ("least free of a node, settled", "%", "free_percent"), ("moved", "MiB", "moved_mib"),
           ("time to a local share of 95 %", "s", "time_s"), ("processors the guests get, settled", "cores", "cores")]


def rows(results):
    out = []

    def row(case, metric, unit, ours, peer_name, peer, note=""):
        out.append({"case": case, "metric": metric, "unit": unit, "ours": ours, "peer_name": peer_name, "peer": peer,
                    "ratio": ours / peer if ours is not None and peer else None, "runs": RUNS, "note": note})

    def median(case, key):
        values = [r[key] for r in results.get(case, []) if r[key] is not None]
        # What most runs never reached has no median.
        return statistics.median(values) if 2 * len(values) > len(results.get(case, [])) else None

    for peer in [c for c in results if c != "memd"] or [""]:
        for metric, unit, key in METRICS:
            never = key == "time_s" and [c for c in ("memd", peer) if c and median(c, key) is None]
            row(f"memd/{peer}".rstrip("/"), metric, unit, median("memd", key), peer, median(peer, key) if peer else None,
                f"never by {' nor '.join(never)}, in {SECONDS} s" if never else "")
        if peer:
            row("goal", "local share, of the peer's", "%", median("memd", "local_percent"), peer, median(peer, "local_percent"),
                "goal: ratio at least 1")
            row("goal", "moved, of the peer's", "MiB", median("memd", "moved_mib"), peer, median(peer, "moved_mib"),
                "goal: ratio at most 0.5")
    row("goal", "local share, settled", "%", median("memd", "local_percent"), "", None,
        f"goal: at least 95; {median('memd', 'start_percent') or 0:.0f} at the start")
    row("goal", "nodes below their reserve, settled", "nodes", median("memd", "below"), "", None, "goal: 0")
    return out


def plot(drawn):
    end = SECONDS + 10

    def lines(value):
        return [(case, COLOURS[case], [(s["seconds"], value(s)) for s in samples], []) for case, samples in drawn.items()]

    marks = [(s, f"{s} s") for s in range(0, SECONDS + 1, 60)]
    most = max(s["moved_bytes"] for samples in drawn.values() for s in samples) / MIB
    return page([panel("local share of all guests' memory, %", lines(lambda s: 100 * s["local"]), lambda x: x / end, marks, 100, 95),
                 panel("moved, MiB", lines(lambda s: s["moved_bytes"] / MIB), lambda x: x / end, marks, max(most, 1))])


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name in ("--out", "--numad"):
        p.add_argument(name, required=True)
    p.add_argument("--cases", default=",".join(CASES))
    args = p.parse_args()
    cases = args.cases.split(",")
    for name in cases:
        if name not in CASES:
            sys.exit(f"numa: there is no case '{name}'; there is: {' '.join(CASES)}")
    share, results, drawn, status = make_share(args.out, args.numad), {}, {}, 0
    for run in range(RUNS):
        print(f"run {run + 1} of {RUNS}", flush=True)
        for case in cases:
            try:
                doc = run_case(case, share, args.out)
            except (subprocess.CalledProcessError, OSError) as error:
                print(f"numa: {case}: {error}", file=sys.stderr)
                status = 1
                continue
            drawn.setdefault(case, doc["samples"])
            results.setdefault(case, []).append(figures(doc))
    if results:
        save(args.out, results, drawn)
    sys.exit(status)


def save(out, results, drawn):
    doc = {"schema": 1, "part": "numa", "host": f"a lab of 4 nodes ({' '.join(LAB)}) under Linux {os.uname().release}, "
           f"{os.cpu_count()} processors, {SECONDS} s a case", "rows": rows(results)}
    with open(out + "/numa.json", "w") as f:
        json.dump(doc, f, indent=1)
    with open(out + "/numa-series.json", "w") as f:
        json.dump(drawn, f)
    with open(out + "/numa.svg", "w") as f:
        f.write(plot(drawn))


if __name__ == "__main__":
    main()

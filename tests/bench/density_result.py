# SPDX-License-Identifier: Apache-2.0
"""What the part density has found: rows of the table, from {case: [steps of each run]}."""
import statistics


def rising(values):
    """The series nearest to values (least squares) that never falls, by pooling adjacent violators: Ayer
    and others, "An Empirical Distribution Function for Sampling with Incomplete Information", 1955."""
    pools = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(-2), pools.pop()
            pools.append(((a * m + b * n) / (m + n), m + n))
    return [value for value, n in pools for _ in range(n)]


def held(steps):
    """The most guests at which the level held."""
    return max([s["guests"] for s in steps if "broke" not in s], default=0)


def middle_run(runs):
    """The one that held the median of guests; of an even number the lower one of the two in the middle."""
    return sorted(runs, key=held)[(len(runs) - 1) // 2]


def end_of(name, runs):
    """How the runs ended, in words."""
    last = middle_run(runs)[-1]
    all_held = f" ({', '.join(str(held(steps)) for steps in runs)})" if len(runs) > 1 else ""
    if "broke" in last:
        return f"{name}{all_held} at {last['guests']}: {last['broke']}"
    return f"{name}{all_held} held at {last['guests']}, and no more were tried"


def tried(series):
    """Without runs, and cases, that have not come to an end of their first step."""
    series = {name: [steps for steps in runs if steps] for name, runs in series.items()}
    return {name: runs for name, runs in series.items() if runs}


def rows(series):
    """Of what tried() returns."""
    out = []
    median = {name: statistics.median(map(held, runs)) for name, runs in series.items()}
    ours = median.get("memd")

    def row(case, metric, unit, ours, peer_name, peer, note="", whose=("memd",)):
        runs = min(len(series[name]) for name in (*whose, peer_name) if name in series)
        out.append({"case": case, "metric": metric, "unit": unit, "ours": ours, "peer_name": peer_name, "peer": peer,
                    "ratio": ours / peer if ours is not None and peer else None, "runs": runs, "note": note})

    for name in series:
        if name not in ("memd", "spare"):
            row(f"memd/{name}", "guests at equal service", "guests", ours, name, median[name], end_of(name, series[name]))
    peers = {name: n for name, n in median.items() if name not in ("memd", "plain", "spare")}
    if ours is not None:
        if "plain" in median:
            row("goal", "guests, of plain's", "guests", ours, "plain", median["plain"], "goal: ratio at least 2.0")
        if peers:
            best = max(peers, key=peers.get)
            row("goal", "guests, of the best peer's", "guests", ours, best, peers[best], "goal: ratio at least 1.3")
        row("goal", "OOM kills", "kills", sum(s["oom_kills"] for steps in series["memd"] for s in steps), "", None,
            "goal: 0; " + end_of("memd", series["memd"]))
    if "spare" in median:
        row("spare", "guests for which the processor suffices", "guests", median["spare"], "", None, whose=("spare",))
    return out

# SPDX-License-Identifier: Apache-2.0
"""The plot of part density: the worst guest's lateness by its limit, and what is swapped out, over the
number of guests."""
from panel import page, panel

MIB = 1 << 20
COLOURS = {"memd": "#d62728", "plain": "#7f7f7f", "advisor": "#1f77b4", "pve": "#2ca02c", "mom": "#9467bd"}
WORST_MOST = 3.0  # of its limit: what is worse is drawn there


def over_guests(title, series, value, top, level=None):
    """value(step): None when it is not known."""
    numbers = sorted({s["guests"] for steps in series.values() for s in steps})
    lines = []
    for name, steps in series.items():
        points = [(s["guests"], value(s), "broke" in s) for s in steps if value(s) is not None]
        if points:
            lines.append((name, COLOURS.get(name, "#888"), [p[:2] for p in points], [p[:2] for p in points if p[2]]))
    across = max(numbers[-1] - numbers[0], 1)
    return panel(title, lines, lambda n: (n - numbers[0]) / across, [(n, n) for n in numbers], top, level)


def plot(series):
    """SVG text of {case: steps}."""
    series = {name: steps for name, steps in series.items() if name != "spare" and steps}

    def swapped(step):
        return step["host"]["swap_used_bytes"] / MIB if "host" in step else None
    if not series:
        return page([])
    most = max([1] + [swapped(s) or 0 for steps in series.values() for s in steps])
    return page([over_guests("The worst guest's p99, of its limit (dashed), by number of guests; &#215;: the level broke",
                             series, lambda s: min(s.get("worst", WORST_MOST), WORST_MOST), WORST_MOST, 1),
                 over_guests("Swapped out, MiB", series, swapped, 1.05 * most)])

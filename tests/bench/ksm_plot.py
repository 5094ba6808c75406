# SPDX-License-Identifier: Apache-2.0
"""The plot of part ksm: saved memory, and below it ksmd's CPU time, over time since the guests were
loaded; both time axes logarithmic, as one goes by seconds and another by minutes."""
import math

from panel import page, panel

MIB = 1 << 20
COLOURS = {"memd": "#d62728", "full": "#7f7f7f", "advisor": "#1f77b4", "advisor-early": "#17becf", "ksmtuned": "#2ca02c", "default": "#9467bd"}
FIRST_S = 1


def over_time(title, series, column, unit, level=None):
    """series: {name: [(t, ...)]}."""
    last = max(s[-1][0] for s in series.values())
    top = 1.05 * max([level or 0] + [row[column] / unit for s in series.values() for row in s] + [0.001])
    across = math.log10(max(last, 10) / FIRST_S)
    lines = [(f"{name} ({rows[-1][0]:.0f} s)", COLOURS.get(name, "#888"), [(row[0], row[column] / unit) for row in rows], [])
             for name, rows in series.items()]
    marks = [(t, f"{t} s") for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if t <= last]
    return panel(title, lines, lambda t: math.log10(max(t, FIRST_S) / FIRST_S) / across, marks, top, level)


def plot(drawn, attainable):
    """SVG text of {name: (first set's samples, second set's)}."""
    series = {name: first for name, (first, _) in drawn.items()}
    return page([over_time("Saved, MiB (dashed: attainable)", series, 1, MIB, attainable / MIB),
                 over_time("ksmd's CPU time, s", series, 2, 1)])

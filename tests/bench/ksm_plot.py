# SPDX-License-Identifier: Apache-2.0
"""The plot of part ksm: saved memory, and below it ksmd's CPU time, over time since the guests were
loaded; both time axes logarithmic, as one goes by seconds and another by minutes."""
import math

MIB = 1 << 20
WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 860, 230, 80, 130, 40, 60
COLOURS = {"memd": "#d62728", "full": "#7f7f7f", "advisor": "#1f77b4", "advisor-early": "#17becf", "ksmtuned": "#2ca02c", "default": "#9467bd"}
FIRST_S = 1


def nice_step(top, n):
    """Of 1, 2, 5 times a power of ten, the one that gives about n marks up to top."""
    raw = top / n
    unit = 10 ** math.floor(math.log10(raw))
    return next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)


def panel(y0, title, series, column, unit, line=None):
    """One panel; series: {name: [(t, ...)]}; line: a dashed level."""
    last = max(s[-1][0] for s in series.values())
    top = 1.05 * max([line or 0] + [row[column] / unit for s in series.values() for row in s] + [0.001])
    across = math.log10(max(last, 10) / FIRST_S)

    def x(t):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(max(t, FIRST_S) / FIRST_S) / across

    def y(v):
        return y0 + HEIGHT * (1 - v / top)

    out = [f'<text x="{LEFT}" y="{y0 - 10}" font-weight="bold">{title}</text>']
    step = nice_step(top, 5)
    for i in range(int(top / step) + 1):
        at = y(i * step)
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
                   f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{i * step:g}</text>')
    for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000):
        if t <= last:
            out.append(f'<path class="grid" d="M{x(t):.1f} {y0}v{HEIGHT}"/>'
                       f'<text x="{x(t):.1f}" y="{y0 + HEIGHT + 16}" text-anchor="middle">{t} s</text>')
    if line:
        out.append(f'<path class="grid" stroke-dasharray="6 4" d="M{LEFT} {y(line):.1f}H{WIDTH - RIGHT}"/>')
    labels = []
    for name, rows in series.items():
        points = " ".join(f"{x(row[0]):.1f},{y(row[column] / unit):.1f}" for row in rows)
        colour = COLOURS.get(name, "#888")
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        labels.append([y(rows[-1][column] / unit), rows[-1][0], name, colour])
    # Names beside the lines' ends, none over another.
    before = -100
    for at, end, name, colour in sorted(labels):
        before = max(at + 4, before + 14)
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{before:.1f}" style="fill:{colour}">{name} ({end:.0f} s)</text>')
    return out


def plot(drawn, attainable):
    """SVG text of {name: (first set's samples, second set's)}."""
    series = {name: first for name, (first, _) in drawn.items()}
    height = TOP + 2 * (HEIGHT + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" font-family="sans-serif" font-size="12">',
           '<style>svg{background:#fff}.grid{stroke:#ddd;fill:none}text{fill:#222}</style>']
    out += panel(TOP, "Saved, MiB (dashed: attainable)", series, 1, MIB, attainable / MIB)
    out += panel(TOP + HEIGHT + GAP, "ksmd's CPU time, s", series, 2, 1)
    return "\n".join(out + ["</svg>", ""])

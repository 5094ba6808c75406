# SPDX-License-Identifier: Apache-2.0
"""Plots of the bench's parts: panels one below the other, each with lines over a common axis, in SVG."""
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 860, 230, 80, 130, 40, 60


def nice_step(top, n):
    """Of 1, 2, 5 times a power of ten, the one that gives about n marks up to top."""
    raw = top / n
    unit = 10 ** math.floor(math.log10(raw))
    return next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)


def panel(title, lines, share, marks, top, level=None):
    """A panel for page(), as a function of where it begins. lines: [(label, colour, [(x, y)], [crossed
    (x, y)])]; share(x): how far to the right, 0 to 1; marks: [(x, text)]; top: the largest y; level:
    a dashed line."""
    def draw(y0):
        def x(value):
            return LEFT + (WIDTH - LEFT - RIGHT) * share(value)

        def y(value):
            return y0 + HEIGHT * (1 - min(value / top, 1))

        out = [f'<text x="{LEFT}" y="{y0 - 10}" font-weight="bold">{title}</text>']
        step = nice_step(top, 5)
        for i in range(int(top / step) + 1):
            at = y(i * step)
            out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
                       f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{i * step:g}</text>')
        for value, text in marks:
            out.append(f'<path class="grid" d="M{x(value):.1f} {y0}v{HEIGHT}"/>'
                       f'<text x="{x(value):.1f}" y="{y0 + HEIGHT + 16}" text-anchor="middle">{text}</text>')
        if level:
            out.append(f'<path class="grid" style="stroke:#888" stroke-dasharray="6 4" d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}"/>')
        labels = []
        for label, colour, points, crossed in lines:
            text = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
            out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{text}"/>')
            out += [f'<text x="{x(a):.1f}" y="{y(b) + 5:.1f}" text-anchor="middle" font-size="18" font-weight="bold" '
                    f'style="fill:{colour}">&#215;</text>' for a, b in crossed]
            labels.append([y(points[-1][1]), label, colour])
        # Names beside the lines' ends, none over another.
        before = -100
        for at, label, colour in sorted(labels):
            before = max(at + 4, before + 14)
            out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{before:.1f}" style="fill:{colour}">{label}</text>')
        return out
    return draw


def page(panels):
    """SVG text of panels, one below the other."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" font-family="sans-serif" font-size="12">',
           '<style>svg{background:#fff}.grid{stroke:#ddd;fill:none}text{fill:#222}</style>']
    for i, draw in enumerate(panels):
        out += draw(TOP + i * (HEIGHT + GAP))
    return "\n".join(out + ["</svg>", ""])

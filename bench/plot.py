"""plot.py - the cold starts as an SVG: per link and workload a bar for each way, as share of the best plain pull

SPDX-License-Identifier: Apache-2.0
"""
from xml.sax.saxutils import escape

from base import PROFILES

# tool, colour: one hue for fcpull, from dark to light; grey for the best of the others
BARS = [("plain", "#8a8f98", "best of containerd, podman, skopeo: pull and run (seconds)"), ("orig", "#a6d0e8", "fcpull, original image"),
        ("accel", "#4a9bc9", "fcpull, accelerated, no trace"), ("boot", "#0b5a8a", "fcpull, accelerated, boot stream")]
INK, FAINT, PAPER, LIMIT = "#1f2328", "#d5d9de", "#ffffff", "#c8441b"
WIDTH, LEFT, RIGHT, BAR, GAP, BELOW = 900, 150, 60, 12, 14, 60
FULL = 1.2          # the axis ends here; longer bars are cut and say so


class Canvas:
    def __init__(self):
        self.parts = []

    def rect(self, x, y, w, h, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0.5):.1f}" height="{h:.1f}" fill="{fill}"/>')

    def line(self, x1, y1, x2, y2, colour, width=1.0):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    def text(self, x, y, s, size=12, anchor="start", colour=INK, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
                          f'font-weight="{weight}">{escape(s)}</text>')

    def svg(self, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
                f'font-family="Helvetica, Arial, DejaVu Sans, sans-serif">\n<rect width="100%" height="100%" fill="{PAPER}"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def x_of(share):
    return LEFT + (WIDTH - LEFT - RIGHT) * min(share, FULL) / FULL


def bars_of(results, profile, workload):
    """[(seconds, colour)] in the order of BARS, and the best plain pull"""
    best = results.best_plain("start", profile, workload)[0]
    own = [(results.median("total", "start", profile, workload, t), c) for t, c, _ in BARS[1:]]
    return best, [(best, BARS[0][1])] + [b for b in own if b[0] is not None]


def legend(c, y, used, limits):
    for tool, colour, label in BARS:
        if tool in used:
            c.rect(LEFT, y - 10, 16, 11, colour)
            c.text(LEFT + 24, y, label)
            y += 18
    if limits:
        c.line(LEFT + 8, y - 11, LEFT + 8, y + 2, LIMIT, 2.5)
        c.text(LEFT + 24, y, "the limit: local run + traced bytes ÷ bandwidth + 3 round trips")
        y += 18
    return y


def panel(c, y, results, profile, names):
    c.text(LEFT, y, PROFILES[profile]["label"], 14, weight="bold")
    y += 12
    first = y
    body = Canvas()
    for w in names:
        best, bars = bars_of(results, profile, w)
        if not best or len(bars) < 2:
            continue
        y += GAP
        body.text(LEFT - 10, y + BAR * len(bars) / 2 + 4, w, 12, "end")
        limit = results.limit(profile, w)
        for seconds, colour in bars:
            share, x = seconds / best, x_of(seconds / best)
            body.rect(LEFT, y, x - LEFT, BAR - 2, colour)
            if limit and colour == BARS[-1][1]:
                at = x_of(limit / best)
                body.line(at, y - 2, at, y + BAR, LIMIT, 2.5)
                x = max(x, at) if at - x < 32 else x       # the label goes behind it
            body.text(x + 5, y + BAR - 3, f"{seconds:.2f}" + (f" (× {share:.1f})" if share > FULL else ""), 10)
            y += BAR
    for tenth in (0, 25, 50, 75, 100):
        x = x_of(tenth / 100)
        c.line(x, first, x, y + 8, FAINT)
        c.text(x, y + 22, f"{tenth} %", 11, "middle")
    c.parts += body.parts
    return y + BELOW


def write(results, path):
    """False: nothing to draw"""
    names = results.workloads()
    links = [p for p in PROFILES if any(results.best_plain("start", p, w)[0] for w in names)]
    if not links:
        return False
    c = Canvas()
    c.text(LEFT, 30, "Cold start of a container: time to the workload's exit, best plain pull = 100 %", 15, weight="bold")
    used = {"plain"} | {t for t, _, _ in BARS if any(results.runs("start", p, w, t) for p in links for w in names)}
    y = legend(c, 56, used, any(results.limit(p, w) for p in links for w in names)) + 14
    for p in links:
        y = panel(c, y, results, p, names)
    with open(path, "w", encoding="utf-8") as f:
        f.write(c.svg(y - 22))
    return True

"""Charts as SVG, from the standard library alone. They carry their own colours, for a light page and for a dark one."""

import html
import math

WIDTH, HEIGHT = 800, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 36, 72, 56
# Of a bar chart: what one group takes beside its bars, and one bar.
GROUP_GAP, BAR = 10, 13
LABELS = 230
TOO_NEAR = 18

NAMESPACE = "http://www.w3.org/2000/svg"
# Told apart without colours, too: every line has marks of its own.
LIGHT = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#cf222e"]
DARK = ["#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#d29922", "#ff7b72"]
MARKS = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,5l-5,5l-5,-5z", "M0,-5l5,9h-10z",
         "M0,5l5,-9h-10z", "M-5,-1h4v-4h2v4h4v2h-4v4h-2v-4h-4z"]


class Linear:
    """A scale from 0 to a round number."""

    def __init__(self, values, ticks=6):
        highest = max(values)
        rough = highest / ticks
        power = 10 ** math.floor(math.log10(rough))
        self.step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        self.steps = math.ceil(highest / self.step)

    def place(self, value):
        return value / (self.step * self.steps)

    def ticks(self):
        return [(self.step * n, short(self.step * n)) for n in range(self.steps + 1)]


class Log:
    """A logarithmic scale between round numbers: 1, 2 or 5 times a power of ten."""

    def __init__(self, values):
        low, high = min(values), max(values)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        self.round = [factor * 10.0 ** decade for decade in decades for factor in (1, 2, 5)]
        self.low = max((tick for tick in self.round if tick <= low), default=low)
        self.high = min((tick for tick in self.round if tick >= high and tick > self.low), default=high)

    def place(self, value):
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self):
        return [(tick, short(tick)) for tick in self.round if self.low <= tick <= self.high]


class Nines:
    """Percentiles, as far apart as the shares beyond them are rare."""

    def __init__(self, percentiles):
        self.percentiles = sorted(percentiles)

    @staticmethod
    def _rarity(percentile):
        return -math.log10(1 - percentile / 100)

    def place(self, value):
        low, high = self._rarity(self.percentiles[0]), self._rarity(self.percentiles[-1])
        return (self._rarity(value) - low) / (high - low) if high > low else 0.5

    def ticks(self):
        return [(value, f"p{value:g}") for value in self.percentiles]


def short(number):
    """A number of an axis, in thousands or millions where it is large."""
    for size, letter in ((1e6, " M"), (1e3, " K")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def lines(title, x_title, y_title, series, x_scale, y_scale):
    """A chart of lines. `series` maps a name to points (x, y, label); the label may be empty."""
    parts = [*frame(title, WIDTH, HEIGHT), *legend(list(series), marks=True)]
    x = lambda value: LEFT + x_scale.place(value) * (WIDTH - LEFT - RIGHT)  # noqa: E731
    y = lambda value: HEIGHT - BOTTOM - y_scale.place(value) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    for value, label in x_scale.ticks():
        parts += [rule(x(value), TOP, x(value), HEIGHT - BOTTOM),
                  text(x(value), HEIGHT - BOTTOM + 18, label, "middle")]
    for value, label in y_scale.ticks():
        parts += [rule(LEFT, y(value), WIDTH - RIGHT, y(value)), text(LEFT - 8, y(value) + 4, label, "end")]
    parts += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title, "middle"),
              f'<g transform="translate(18,{(TOP + HEIGHT - BOTTOM) / 2:g}) rotate(-90)">'
              f'{text(0, 0, y_title, "middle")}</g>']
    labelled = []
    for number, points in enumerate(series.values()):
        placed = [(x(across), y(up), label) for across, up, label in points]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up, _ in placed)
        parts.append(f'<polyline class="c{number} line" points="{path}"/>')
        for across, up, label in placed:
            parts.append(mark(across, up, number))
            # Lines may run over each other; one label is enough there.
            if label and all(math.dist((across, up), other) > TOO_NEAR for other in labelled):
                labelled.append((across, up))
                parts.append(text(across + 7, up - 6, label, "start", "small"))
    return document(parts, WIDTH, HEIGHT)


def bars(title, x_title, groups, names):
    """A chart of ratios: a bar from 1 to each. `groups` maps a title to one ratio (or None) for each of `names`.

    Colours begin with the second: in a chart of lines the first is that of what the others are compared with.
    """
    every = [ratio for ratios in groups.values() for ratio in ratios if ratio]
    scale = Log([*every, 0.5, 2.0])
    x = lambda value: LABELS + scale.place(value) * (WIDTH - LABELS - 52)  # noqa: E731
    heights = [GROUP_GAP + BAR * sum(ratio is not None for ratio in ratios) for ratios in groups.values()]
    bottom = TOP + sum(heights) + GROUP_GAP
    height = bottom + BOTTOM
    parts = [*frame(title, WIDTH, height), *legend(names, first=1)]
    for value, label in scale.ticks():
        parts += [rule(x(value), TOP, x(value), bottom), text(x(value), bottom + 18, label, "middle")]
    top = TOP + GROUP_GAP
    for (label, ratios), taken in zip(groups.items(), heights):
        parts.append(text(LABELS - 10, top + (taken - GROUP_GAP) / 2 + 4, label, "end"))
        for number, ratio in enumerate(ratios, 1):
            if ratio is None:
                continue
            begin, end = sorted((x(1.0), x(ratio)))
            parts.append(f'<rect class="f{number}" x="{begin:.1f}" y="{top + 1:g}" width="{max(end - begin, 1):.1f}" '
                         f'height="{BAR - 2}"/>')
            parts.append(text(end + 5, top + BAR - 3, f"{ratio:.2f}", "start", "small"))
            top += BAR
        top += GROUP_GAP
    parts += [f'<line class="one" x1="{x(1.0):.1f}" y1="{TOP}" x2="{x(1.0):.1f}" y2="{bottom}"/>',
              text((LABELS + WIDTH) / 2, height - 14, x_title, "middle")]
    return document(parts, WIDTH, height)


def frame(title, width, height):
    return [f'<rect class="page" width="{width}" height="{height}"/>', text(LEFT, 26, title, "start", "title")]


def legend(names, marks=False, first=0):
    """One row of names in their colours, below the title."""
    parts, across = [], LEFT
    for number, name in enumerate(names, first):
        if marks:
            parts += [f'<line class="c{number} line" x1="{across}" y1="46" x2="{across + 24}" y2="46"/>',
                      mark(across + 12, 46, number)]
        else:
            parts.append(f'<rect class="f{number}" x="{across}" y="41" width="24" height="10"/>')
        parts.append(text(across + 30, 50, name))
        across += 52 + 8 * len(name)
    return parts


def mark(across, up, number):
    return (f'<path class="f{number}" transform="translate({across:.1f},{up:.1f})" '
            f'd="{MARKS[number % len(MARKS)]}"/>')


def rule(x1, y1, x2, y2):
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(across, up, content, anchor="start", kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{across:.1f}" y="{up:.1f}" text-anchor="{anchor}"{kind}>{html.escape(content)}</text>'


def style():
    def colours(page, ink, grid, palette):
        lines_of = [f".page{{fill:{page}}} text{{fill:{ink}}} .grid{{stroke:{grid}}} .one{{stroke:{ink}}}"]
        lines_of += [f".c{n}{{stroke:{colour}}} .f{n}{{fill:{colour}}}" for n, colour in enumerate(palette)]
        return "\n".join(lines_of)
    return ("<style>\ntext{font:13px system-ui,sans-serif} .title{font-size:16px;font-weight:600} "
            ".small{font-size:11px}\n"
            ".line{fill:none;stroke-width:2} .grid{stroke-width:1} .one{stroke-width:1.5}\n"
            f"{colours('#ffffff', '#24292f', '#d8dee4', LIGHT)}\n"
            f"@media (prefers-color-scheme:dark){{\n{colours('#0d1117', '#c9d1d9', '#30363d', DARK)}\n}}\n</style>")


def document(parts, width, height):
    return "\n".join([f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
                      style(), *parts, "</svg>"]) + "\n"

"""Charts as SVG text: scales, axes and marks, each a pure function of numbers.

Across, a place is a percentage of the plot's width; downwards it is in pixels. So one drawing fills any width with text of one size.
The colors are CSS classes of `templates/charts.css`: one drawing serves the light and the dark scheme, the screen and paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

# each verdict's shape in a box of 12 by 12 around (0, 0), so that no verdict is told by its color alone
SHAPES = {
    "learnable": '<circle r="5"/>',
    "vanishing": '<path d="M-5.4-4.6h10.8L0 5z"/>',
    "solved": '<path d="M0-6 4.4 0 0 6-4.4 0z"/>',
    "undecided": '<path d="M-4.5-4.5h9v9h-9z"/>',
    "unscored": '<path d="M-1.8-5.4h3.6v3.6h3.6v3.6H1.8v3.6h-3.6V1.8h-3.6v-3.6h3.6z"/>',
}
_BOX = 12
_LETTER = 7.7  # width of a digit of an axis label in pixels, in the widest of the fonts


def shape_of(verdict: str) -> str:
    """The verdict whose shape and color stand for a name: itself, or unscored where it is none of the five."""
    return verdict if verdict in SHAPES else "unscored"


@dataclass(frozen=True, slots=True)
class Scale:
    """The values that one axis shows, from `low` to `high`; linear or logarithmic.

    >>> Scale(0, 4).share(1), Scale(0.01, 1, log=True).share(0.1)
    (0.25, 0.5)
    """

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value is on the axis: 0 at its start, 1 at its end."""
        low, high, at = (math.log10(v) if self.log else v / 2 for v in (self.low, self.high, value))  # halves: their difference is finite
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self, count: int) -> list[float]:
        """About `count` round values to label, inside the axis."""
        return _decades(self.low, self.high, count) if self.log else _round_values(self.low, self.high, count)


def _round_values(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten.

    >>> _round_values(-0.04, 1.04, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw)) if 0 < raw < math.inf else 0.0
    if not power:
        return [low]
    factor = next((f for f, least in ((10, 50**0.5), (5, 10**0.5), (2, 2**0.5)) if raw / power >= least), 1)
    first, last = math.ceil(low / power / factor - 1e-9), math.floor(high / power / factor + 1e-9)
    multiples = [k * factor for k in range(first, min(last, first + 3 * count) + 1)]
    # by division where the power is a fraction: 3 * 0.2 is not 0.6; the reciprocal of the smallest powers is infinite
    return [k / round(1 / power) for k in multiples] if 1e-300 < power < 1 else [k * power for k in multiples]


def _decades(low: float, high: float, count: int) -> list[float]:
    """Powers of ten, every so many; with their 2- and 5-fold where there are fewer than three; evenly spaced where there are none.

    >>> _decades(0.002, 3.0, 6), _decades(0.15, 1.2, 6), _decades(0.6, 0.95, 4)
    ([0.01, 0.1, 1.0], [0.2, 0.5, 1.0], [0.6, 0.7, 0.8, 0.9])
    """
    first, last = math.floor(math.log10(low)), min(math.ceil(math.log10(high)), 308)
    powers = [10.0**k for k in range(first, last + 1) if low <= 10.0**k <= high]
    if len(powers) >= 3:
        return powers[:: math.ceil(len(powers) / count)]
    values = [v for k in range(first, last + 1) for m in (1, 2, 5) if low <= (v := float(f"{m}e{k}")) <= high]
    return values or [v for v in _round_values(low, high, count) if low <= v <= high]


def tick_labels(values: Sequence[float]) -> list[str]:
    """The labels of evenly spaced values: as many decimals as tell them apart; a value alone in full.

    >>> tick_labels([0.0, 0.5, 1.0]), tick_labels([-2000.0, 0.0]), tick_labels([1e-7, 2e-7]), tick_labels([1.5])
    (['0.0', '0.5', '1.0'], ['−2,000', '0'], ['1e−07', '2e−07'], ['1.5'])
    """
    if len(values) == 1:
        return [_general(values[0] + 0.0)]
    largest = max(map(abs, values))
    step = (values[-1] - values[0]) / (len(values) - 1)
    if not step:
        return ["0"] * len(values)
    if step < 1e-5 or largest >= 1e7:
        digits = math.floor(math.log10(largest) + 1e-9) - math.floor(math.log10(step) + 1e-9) + 1
        return [_general(value, digits) for value in values]
    places = max(0, math.ceil(-math.log10(step) - 1e-9))
    return [f"{value + 0.0:,.{places}f}".replace("-", "−") for value in values]


def _general(value: float, digits: int = 6) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Plane:
    """A plot of two axes and its height in pixels."""

    x: Scale
    y: Scale
    height: int

    def across(self, value: float) -> float:
        """In percent of the width, from the left."""
        return 100 * self.x.share(value)

    def down(self, value: float) -> float:
        """In pixels from the top."""
        return self.height * (1 - self.y.share(value))

    def place(self, point: Point) -> Point:
        """Where a point of the data is: (percent from the left, pixels from the top)."""
        return self.across(point[0]), self.down(point[1])


def short(value: float) -> str:
    """A coordinate to two decimals.

    >>> short(12.0), short(0.256), short(-0.001)
    ('12', '0.26', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text(at: Point, words: str, style: str = "", *, anchor: str = "middle", dx: float = 0) -> str:
    """Words with their baseline at `at`, moved by `dx` pixels."""
    moved = f' dx="{short(dx)}"' if dx else ""
    return f'<text class="{style}" x="{short(at[0])}%" y="{short(at[1])}" text-anchor="{anchor}"{moved}>{escape(words)}</text>'


def rule(start: Point, end: Point, style: str, tip: str = "") -> str:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{style}" x1="{short(x1)}%" y1="{short(y1)}" x2="{short(x2)}%" y2="{short(y2)}">{_tip(tip)}</line>'


def bar(left: float, right: float, top: float, height: float, style: str, tip: str = "") -> str:
    """A rectangle from `left` to `right` percent."""
    place = f'x="{short(left)}%" y="{short(top)}" width="{short(right - left)}%" height="{short(height)}"'
    return f'<rect class="{style}" {place}>{_tip(tip)}</rect>'


def dot(at: Point, radius: float, style: str, tip: str = "") -> str:
    """A filled circle."""
    return f'<circle class="{style}" cx="{short(at[0])}%" cy="{short(at[1])}" r="{short(radius)}">{_tip(tip)}</circle>'


def tick(at: Point, width: float, style: str) -> str:
    """A short level bar, `width` pixels long, with its middle at `at`."""
    place = f'x="{short(at[0])}%" y="{short(at[1] - 1)}" width="{short(width)}" height="2"'
    return f'<rect class="{style}" {place} transform="translate({short(-width / 2)})"/>'


def symbol(at: Point, diameter: float, verdict: str, tip: str = "", number: int | None = None) -> str:
    """A verdict's shape, centered on `at`; `number` is what a page's script finds it by."""
    side, name = short(diameter * _BOX / 10), shape_of(verdict)
    found_by = "" if number is None else f' data-mark="{number}"'
    place = f'x="{short(at[0])}%" y="{short(at[1])}" width="{side}" height="{side}"'
    return f'<use href="#g-{name}" class="v-{name}"{found_by} {place}>{_tip(tip)}</use>'


def diameter(area: float) -> float:
    """Of a circle of so many square pixels.

    >>> round(diameter(math.pi), 6)
    2.0
    """
    return 2 * math.sqrt(area / math.pi)


def stretch(plane: Plane, paths: Iterable[str], *, clip: bool = False) -> str:
    """Paths whose coordinates are percent and pixels, as `outline` gives them. Lines keep their width when the plot is stretched."""
    overflow = "" if clip else ' overflow="visible"'
    box = f'width="100%" height="{plane.height}" viewBox="0 0 100 {plane.height}" preserveAspectRatio="none"'
    return f"<svg {box}{overflow}>{''.join(paths)}</svg>"


def outline(points: Sequence[Point], style: str, *, close: bool = False, tip: str = "") -> str:
    """A line through the points, or the area that they enclose; only inside `stretch`."""
    d = "L".join(f"{short(x)} {short(y)}" for x, y in points)
    return f'<path class="{style}" d="M{d}{"z" if close else ""}">{_tip(tip)}</path>' if points else ""


def band(plane: Plane, rows: Iterable[tuple[float, float | None, float | None]], style: str) -> str:
    """The area between a lower and an upper limit along x; rows without both are left out. Only inside `stretch`."""
    limits = [(x, low, high) for x, low, high in rows if low is not None and high is not None]
    upper = [plane.place((x, high)) for x, _, high in limits]
    lower = [plane.place((x, low)) for x, low, _ in reversed(limits)]
    return outline([*upper, *lower], style, close=True)


def _tip(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def y_axis(plane: Plane, title: str, labels: Sequence[tuple[float, str]]) -> str:
    """A line across at each label, and the title above the plot, where it needs no turned head."""
    lines = [
        rule((0, (y := plane.down(value))), (100, y), "grid") + text((0, y + 4), words, "tick", anchor="end", dx=-8)
        for value, words in labels
    ]
    return "".join(lines) + text((0, -17), title, "axis-title", anchor="start", dx=-left_margin(labels))


def x_axis(plane: Plane, title: str, labels: Sequence[tuple[float, str]]) -> str:
    """The line under the plot with a label at each value, and the title under them."""
    foot = plane.height
    marks = [
        rule((x := plane.across(value), foot), (x, foot + 5), "domain") + text((x, foot + 20), words, "tick") for value, words in labels
    ]
    return rule((0, foot), (100, foot), "domain") + "".join(marks) + text((50, foot + 42), title, "axis-title")


def left_margin(labels: Sequence[tuple[float, str]]) -> int:
    """How many pixels the labels of a y axis take."""
    return 9 + math.ceil(_LETTER * max((len(words) + words.count("%") / 2 for _, words in labels), default=0))


def axis_labels(scale: Scale, count: int, *, percent: bool = False) -> list[tuple[float, str]]:
    """The ticks of an axis with their labels.

    >>> axis_labels(Scale(0.002, 3, log=True), 6), axis_labels(Scale(0, 1), 2, percent=True)
    ([(0.01, '0.01'), (0.1, '0.1'), (1.0, '1')], [(0.0, '0%'), (0.5, '50%'), (1.0, '100%')])
    """
    values = scale.ticks(count)
    if scale.log:
        return [(value, _general(value)) for value in values]
    return list(zip(values, [f"{100 * value:.0f}%" for value in values] if percent else tick_labels(values), strict=True))


def chart(body: Iterable[str], *, title: str, height: int, left: int, top: int = 30, right: int = 18, bottom: int = 56) -> str:
    """The whole picture: what it shows in words, for those who hear it, and what was drawn. The margins hold the axes.

    The box of the <svg> element is the plot itself, so that a percentage of its width is one of the axis.
    """
    style = f"padding:{top}px {right}px {bottom}px {left}px;width:calc(100% - {left + right}px)"
    return f'<svg class="plot" role="img" height="{height}" style="{style}"><title>{escape(title)}</title>{"".join(body)}</svg>'


def sprite() -> str:
    """The five shapes, defined once in a page that shows charts or their legends."""
    box = f'viewBox="0 0 {_BOX} {_BOX}" overflow="visible"'
    return "".join(f'<symbol id="g-{name}" {box}>{shape}</symbol>' for name, shape in SHAPES.items())

"""The picture of a training's prompts over its steps: a row per prompt, or per few neighbors, a column per window of steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.report import svg
from flatspot.report.formats import count, decimal, noun, percent
from flatspot.report.svg import Plane, Scale
from flatspot.runs.prompt_steps import PromptGrid
from flatspot.stats.evidence import Floats, Ints

LOW, HIGH, SHADES = 0, 1, 4  # kinds of a cell: all rewards equal, nearer the bottom or the top; then so many shades of the std
ROOM = 24  # characters of a prompt beside its row
_NAMED = 20  # prompts, up to which each row has its text beside it
_ROW, _HEIGHT, _THIN = 20, 360, 3  # pixels: of a row with its text; of all rows without; of the thinnest row


@dataclass(frozen=True)
class Rows:
    """What is drawn: rows from top to bottom, and what each of their cells is.

    prompts  [M] the prompts in their order
    starts   [R + 1] which of them each row holds
    kind     [R, C] LOW, HIGH, 2 + shade of the std, or −1: not drawn
    top      the std at which the last shade ends
    """

    prompts: Ints
    starts: Ints
    kind: NDArray[np.int64]
    top: float


def rows_of(grid: PromptGrid, middle: float, *, binary: bool) -> Rows:
    """Lay the prompts out: those whose rewards were all equal and high when last drawn, then the others, then those equal and low.

    The others stand by their last mean where rewards are binary, which is the order in which prompts are learnt, else by their last std. Of
    those at the top and at the bottom, the ones no longer drawn are outermost. A prompt that was not drawn in a window is shown as it was
    drawn last, unless it is no longer drawn. Where there are more prompts than thin rows have room, neighbors share one: what more than
    half of them are, else their mean std.

    middle  of the reward's range: equal rewards above it are high
    """
    shape = int(grid.prompt.max()) + 1, len(grid.windows)
    mean, std, flat = (np.full(shape, np.nan) for _ in range(3))
    for cells, values in ((mean, grid.mean), (std, grid.std), (flat, grid.flat)):
        cells[grid.prompt, grid.window] = values
    for cells in (mean, std, flat):
        _carry(cells, grid.stopped[: shape[0]])
    prompts = _order(mean, std, flat, grid.stopped, middle, binary=binary)
    m = len(prompts)
    n_rows = m if m <= _NAMED else min(m, _HEIGHT // _THIN)
    starts = (np.arange(n_rows + 1) * m) // n_rows
    low, high = (flat == 1) & (mean < middle), (flat == 1) & (mean >= middle)
    n, lows, highs, total = (np.add.reduceat(cells[prompts], starts[:-1]) for cells in (np.isfinite(std), low, high, np.nan_to_num(std)))
    means = total / np.maximum(n, 1)
    equal = np.where(2 * lows > n, LOW, np.where(2 * highs > n, HIGH, -1))
    top = float(means[equal < 0].max(initial=0.0)) or 1.0
    shade = 2 + np.minimum(SHADES - 1, (means / top * SHADES).astype(int))
    return Rows(prompts, starts, np.where(n == 0, -1, np.where(equal >= 0, equal, shade)), top)


def _carry(cells: Floats, stopped: NDArray[np.bool_]) -> None:
    """Fill the empty cells behind a prompt's first with the one before; those behind the last too, unless it is no longer drawn."""
    there = np.isfinite(cells)
    at = np.maximum.accumulate(np.where(there, np.arange(cells.shape[1]), -1), axis=1)
    behind = ~np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    filled = (at >= 0) & ~(behind & stopped[:, None])
    cells[:] = np.where(filled, np.take_along_axis(cells, np.maximum(at, 0), 1), np.nan)


def _order(mean: Floats, std: Floats, flat: Floats, stopped: NDArray[np.bool_], middle: float, *, binary: bool) -> Ints:
    drawn = np.isfinite(std)
    there = np.flatnonzero(drawn.any(1))
    last = std.shape[1] - 1 - np.argmax(drawn[there, ::-1], axis=1)
    at, spread, equal = mean[there, last], std[there, last], flat[there, last] == 1
    group = np.where(equal, np.where(at >= middle, 0, 2), 1)
    outer = np.where(group == 2, stopped[there], ~stopped[there])
    overall = np.nanmean(mean[there], axis=1)
    inner = np.where(stopped[there] & (group != 1), last, 0)
    return there[np.lexsort((-overall, inner, np.where(group == 1, -at if binary else -spread, outer), group))]


def grid_chart(grid: PromptGrid, rows: Rows, texts: Sequence[str], *, middle: float) -> str:
    """The picture as SVG: the kinds of cells as one path each, and over each column what it comes to.

    texts  beside the rows, from top to bottom; none where rows have no room for them
    """
    n_rows = len(rows.starts) - 1
    height = _ROW * n_rows if texts else max(_THIN * n_rows, 120)
    plane = Plane(step_scale(grid.windows), Scale(0, 1), height)
    edges = [plane.across(edge) for edge in step_edges(grid.windows)]
    down = [height * r / n_rows for r in range(n_rows + 1)]
    left = max(8 + 7 * max(map(len, texts), default=0), svg.left_margin([(1.0, "100%")]))  # the charts above and below have such labels
    tips = _tips(grid, middle)
    body = [
        svg.text((0, -12), _title(rows), "axis-title", anchor="start", dx=-left),
        *(svg.text((0, (a + b) / 2 + 4), words, "tick", anchor="end", dx=-8) for words, a, b in zip(texts, down, down[1:], strict=False)),
        f'<rect class="not-drawn" width="100%" height="{height}"/>',
        svg.stretch(plane, [_path(rows.kind == kind, edges, down, f"cell cell-{kind}") for kind in range(2 + SHADES)], clip=True),
        *(svg.bar(edges[c], edges[c + 1], 0, height, "column", tip) for c, tip in enumerate(tips)),
        svg.x_axis(plane, "step", svg.axis_labels(plane.x, 6)),
    ]
    title = f"Prompts over the steps, {noun(n_rows, 'row')} by {noun(len(grid.windows), 'column')}. {'; '.join(tips)}"
    return svg.chart(body, title=title, height=height, left=left, top=26)


def has_texts(rows: Rows) -> bool:
    """Whether each row has room for the text of its prompt."""
    return len(rows.prompts) <= _NAMED


def _title(rows: Rows) -> str:
    sizes = sorted(set(np.diff(rows.starts).tolist()))
    each = "a row each" if sizes == [1] else f"a row for {' or '.join(map(count, sizes))} of them"
    return f"{noun(len(rows.prompts), 'prompt')}, {each}"


def grid_legend(rows: Rows | None) -> list[tuple[int, str]]:
    """(kind, what it stands for) of each kind of cell."""
    if rows is None:
        return []
    ends = [rows.top * i / SHADES for i in range(SHADES + 1)]
    shades = [(2 + i, f"{decimal(low)}–{decimal(high)}") for i, (low, high) in enumerate(itertools.pairwise(ends))]
    shades[0] = shades[0][0], f"std {shades[0][1]}"
    return [(HIGH, "equal rewards, high"), *shades, (LOW, "equal rewards, low"), (-1, "not drawn yet, or no longer")]


def step_edges(windows: Sequence[tuple[int, int]]) -> list[float]:
    """Where windows of steps begin and end on an axis: halfway between the steps of neighbors.

    >>> step_edges([(1, 10), (13, 20)])
    [0.5, 11.5, 20.5]
    """
    inner = [(last + first) / 2 for (_, last), (first, _) in itertools.pairwise(windows)]
    return [windows[0][0] - 0.5, *inner, windows[-1][1] + 0.5]


def step_scale(windows: Sequence[tuple[int, int]]) -> Scale:
    """The axis of the steps of all windows."""
    edges = step_edges(windows)
    return Scale(edges[0], edges[-1])


def _path(cells: NDArray[np.bool_], edges: Sequence[float], down: Sequence[float], style: str) -> str:
    """The cells of one kind: a rectangle for each run of them in a column."""
    parts = []
    for c in range(cells.shape[1]):
        changes = np.flatnonzero(np.diff(np.r_[False, cells[:, c], False].astype(np.int8)))
        width = svg.short(edges[c + 1] - edges[c])
        for start, end in changes.reshape(-1, 2).tolist():
            parts.append(f"M{svg.short(edges[c])} {svg.short(down[start])}h{width}V{svg.short(down[end])}h-{width}z")
    return f'<path class="{style}" d="{"".join(parts)}"/>' if parts else ""


def _tips(grid: PromptGrid, middle: float) -> list[str]:
    tips = []
    for c, (first, last) in enumerate(grid.windows):
        inside = grid.window == c
        n = int(inside.sum())
        equal, high = grid.flat[inside] == 1, grid.mean[inside] >= middle
        where = f"steps {first:,} to {last:,}" if first < last else f"step {first:,}"
        if not n:
            tips.append(f"{where}: no prompt drawn")
            continue
        low, top = (equal & ~high).mean(), (equal & high).mean()
        tips.append(
            f"{where}: {noun(n, 'prompt')} drawn\nequal rewards  {percent(low)} low, {percent(top)} high\n"
            f"mean std  {decimal(float(grid.std[inside].mean()), 3)}"
        )
    return tips

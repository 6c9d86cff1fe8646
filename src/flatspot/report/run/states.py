"""The states of a training's prompts by window of steps, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.report import svg
from flatspot.report.formats import noun, percent, percent_range
from flatspot.report.run.grid import step_edges, step_scale
from flatspot.report.run.steps_text import span_of
from flatspot.report.svg import Plane, Scale

if TYPE_CHECKING:
    from flatspot.runs.steps_summary import StepsSummary, StepWindow, WindowShare

_GAP = 0.35  # percent of the width between two windows
_ROOM = 24  # pixels of a part that has its share written in it


def states_chart(steps: StepsSummary) -> str | None:
    """The shares of vanishing, learnable and solved prompts, stacked, a bar per window, with 95% limits; None where there are none."""
    windows = [window for window in steps.windows if window.vanishing.mean is not None]
    if not windows:
        return None
    spans = [(window.first, window.last) for window in windows]
    plane = Plane(step_scale(spans), Scale(0, 1), 220)
    edges = [plane.across(edge) for edge in step_edges(spans)]
    upwards = svg.axis_labels(plane.y, 5, percent=True)
    body = [svg.y_axis(plane, "share of the prompts drawn", upwards)]
    for window, left, right in zip(windows, edges, edges[1:], strict=False):
        body += _bar(plane, window, left + _GAP, right - _GAP)
    body.append(svg.x_axis(plane, "step", svg.axis_labels(plane.x, 6)))
    title = f"Stacked bars of the states of the prompts by window of steps. {'; '.join(_tip(window) for window in windows)}"
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _bar(plane: Plane, window: StepWindow, left: float, right: float) -> list[str]:
    """One window: vanishing at the bottom, solved at the top, what is between them learnable; limits of the two as whiskers."""
    vanishing, solved = window.vanishing, window.solved
    low = vanishing.mean or 0.0
    high = max(low, 1 - (solved.mean or 0.0))
    parts = (("vanishing", 0.0, low), ("learnable", low, high), ("solved", high, 1.0))
    drawn = []
    for name, bottom, top in parts:
        y, size = plane.down(top), plane.down(bottom) - plane.down(top)
        drawn.append(svg.bar(left, right, y, size, f"bar v-{name}", _tip(window)))
        if size >= _ROOM:
            drawn.append(svg.text((left + 0.36 * (right - left), y + size / 2 + 4.5), percent(top - bottom), "on-part"))
    drawn += _whisker(plane, vanishing, left + 0.72 * (right - left), upside_down=False)
    drawn += _whisker(plane, solved, left + 0.84 * (right - left), upside_down=True)
    return drawn


def _whisker(plane: Plane, share: WindowShare, x: float, *, upside_down: bool) -> list[str]:
    if share.lo is None or share.hi is None:
        return []
    ends = [plane.down(1 - end if upside_down else end) for end in (share.lo, share.hi)]
    return [svg.rule((x, ends[0]), (x, ends[1]), "whisker-halo"), svg.rule((x, ends[0]), (x, ends[1]), "whisker")] + [
        svg.tick((x, y), 9, "whisker-end") for y in ends
    ]


def _tip(window: StepWindow) -> str:
    words = [
        f"{name} {percent(share.mean)}{f' [{limits}]' if (limits := percent_range(share.lo, share.hi)) else ''}"
        for name, share in (("solved", window.solved), ("learnable", window.learnable), ("vanishing", window.vanishing))
    ]
    return f"{span_of(window.first, window.last)}: {noun(window.n_prompts, 'prompt')}\n" + "\n".join(words)

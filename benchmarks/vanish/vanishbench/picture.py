"""The gain over the completions drawn, a panel per task: what is spent before RL, and what it brings, as an SVG of neutral colors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vanishbench.measure import Outcome
from vanishbench.page import Outcomes, of, tasks_of

_LINES = {  # colors of Okabe and Ito, and a dash each: told apart without color, on light and on dark
    "flatspot run": ("#0091d5", ""),
    "interleaved SFT": ("#e69f00", "7 3"),
    "SFT, then RLOO": ("#cc79a7", "2 3"),
    "GRESO-style skipping": ("#009e73", "9 3 2 3"),
    "RLOO": ("#808890", "5 4"),
}
_GRAY = "#808890"
_WIDTH, _HEIGHT, _GAP, _COLUMNS = 190, 120, 34, 4
_LEFT, _TOP = 44, 62


def picture(outcomes: Outcomes) -> str:
    """The SVG; the same text for the same outcomes."""
    tasks = tasks_of(outcomes)
    rows = -(-len(tasks) // _COLUMNS)
    columns = min(_COLUMNS, len(tasks))
    width, height = _LEFT + columns * (_WIDTH + _GAP), _TOP + rows * (_HEIGHT + _GAP + 18) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Share of the reachable gain over the completions drawn, per task</title>",
        *_legend(width),
    ]
    for at, task in enumerate(tasks):
        x, y = _LEFT + at % _COLUMNS * (_WIDTH + _GAP), _TOP + at // _COLUMNS * (_HEIGHT + _GAP + 18)
        parts += _panel(outcomes, task, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(width: int) -> list[str]:
    step = (width - _LEFT) // len(_LINES)
    parts = [_text(_LEFT, 14, "gain, % of what is reachable, over thousands of completions drawn", size=12)]
    for at, (name, (color, dash)) in enumerate(_LINES.items()):
        x = _LEFT + at * step
        parts.append(f'<path d="M{x} 32h26" {_stroke(color, dash)}/>' + _text(x + 32, 36, name))
    return parts


def _panel(outcomes: Outcomes, task: str, x: int, y: int) -> list[str]:
    parts = [_text(x, y - 6, task, weight="600")]
    for share in (0, 50, 100):
        level = y + _HEIGHT * (1 - share / 100)
        parts.append(f'<path d="M{x} {level:.1f}h{_WIDTH}" stroke="{_GRAY}" stroke-width="0.6" opacity="0.5"/>')
        parts.append(_text(x - 6, level + 4, str(share), anchor="end"))
    budget = next(outcome.budget for job, outcome in outcomes.items() if job.task == task)
    for part in (0, 0.5, 1):
        parts.append(_text(x + part * _WIDTH, y + _HEIGHT + 16, f"{part * budget / 1000:.0f}", anchor="middle"))
    for name, (color, dash) in reversed(_LINES.items()):
        own = of(outcomes, task, name)
        if own:
            points = _mean_curve(own)
            path = "L".join(f"{x + at * _WIDTH:.1f} {y + _HEIGHT * (1 - value):.1f}" for at, value in points)
            parts.append(f'<path d="M{path}" {_stroke(color, dash)}/>')
    return parts


def _mean_curve(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """(part of the budget drawn, share of the reachable gain), the mean over the seeds."""
    parts = np.linspace(0, 1, 33)
    return [(float(p), _gain(outcomes, float(p))) for p in parts]


def _gain(outcomes: Sequence[Outcome], part: float) -> float:
    return sum((o.value_at(part * o.budget) - o.start) / (o.best - o.start) for o in outcomes) / len(outcomes)


def _stroke(color: str, dash: str) -> str:
    return f'fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_GRAY}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">{text}</text>'

"""Which ways of prompts the pictures show: prompts with the same way become one. For display only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.report.formats import number

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 600  # ways in one picture: more cannot be told apart
_CELLS = 80  # of the reward's range, a side


@dataclass(frozen=True, slots=True)
class Path:
    """Prompts that went from one place (mean, std) to another, their verdict at the end, and how many they are."""

    start: tuple[float, float]
    end: tuple[float, float]
    now: str
    count: int


def paths_between(paths: pa.Table, first: str, last: str, span: float) -> tuple[list[Path], int]:
    """The ways from one stage to another, most prompts first, at most `MOST`; and how many prompts they leave out.

    paths  columns of `core.schema.PATHS`
    span   of the reward's range
    """
    was, now = (_by_prompt(paths, name) for name in (first, last))
    counts: dict[tuple[tuple[float, float], tuple[float, float], str], int] = {}
    for prompt, (start, _) in was.items():
        if start is not None and prompt in now and now[prompt][0] is not None:
            end, verdict = now[prompt]
            key = (_cell(start, span), _cell(end, span), verdict)
            counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [Path(start, end, verdict, n) for (start, end, verdict), n in ordered[:MOST]]
    return shown, len(was) - sum(path.count for path in shown)


def largest_std(paths: pa.Table) -> float:
    """The largest std of any stage; 0 where there is none."""
    return max((std for value in paths["std"].to_pylist() if (std := number(value)) is not None), default=0.0)


def _by_prompt(paths: pa.Table, stage: str) -> dict[str, tuple[tuple[float, float] | None, str]]:
    columns = (paths[name].to_pylist() for name in ("prompt_id", "stage", "verdict", "mean", "std"))
    places: dict[str, tuple[tuple[float, float] | None, str]] = {}
    for prompt, name, verdict, mean, std in zip(*columns, strict=True):
        if name == stage:
            place = (number(mean), number(std))
            places[prompt] = (None if place[0] is None or place[1] is None else (place[0], place[1]), verdict)
    return places


def _cell(place: tuple[float, float] | None, span: float) -> tuple[float, float]:
    assert place is not None
    side = (span or 1.0) / _CELLS
    return round(place[0] / side) * side, round(place[1] / side) * side

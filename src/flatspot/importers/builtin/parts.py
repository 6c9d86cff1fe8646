"""The parts of a reward that a log holds beside the total: which of them make it up, and with which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flatspot.importers.arranged import Log
from flatspot.stats.evidence import Floats

_ROWS = 20_000  # to find the weights on; all are checked
_MOST = 12
_SMALL = 1e-4


def fit_parts(log: Log, total: str, columns: Sequence[str], where: str = "true", *, fewest: int = 2) -> dict[str, float | None]:
    """Column → weight, where the total is exactly their weighted sum on every row; empty where it is not, or where it is one of them.

    A column that is 0 on all rows is a part, too, of a weight that is not known (None): the total cannot show it.

    total   SQL of the total
    fewest  parts that make a sum
    """
    columns = list(columns)[:_MOST]
    if not columns:
        return {}
    numbers = [f"{log.number(column)} AS c{i}" for i, column in enumerate(columns)]
    usable = " AND ".join(f"isfinite(c{i})" for i in range(len(columns)))
    rows = f"SELECT {total} AS total, {', '.join(numbers)} FROM log WHERE {where}"
    found = log.db.execute(f"SELECT * FROM ({rows}) WHERE isfinite(total) AND {usable} LIMIT {_ROWS}").fetchnumpy()
    values = np.column_stack([np.ma.filled(np.ma.asarray(cells).astype(np.float64), np.nan) for cells in found.values()])
    if not len(values):
        return {}
    needed = _needed(values[:, 0], values[:, 1:])
    parts: dict[str, float | None] = {columns[i]: weight for i, weight in needed.items()}
    if not parts or not _explains(log, total, parts, where):
        return {}
    zero = [column for i, column in enumerate(columns) if not np.any(values[:, 1 + i])]
    parts |= dict.fromkeys(zero)
    return parts if len(parts) >= fewest else {}


def _needed(total: Floats, columns: Floats) -> dict[int, float]:
    """The columns, by their place, without any of which the sum is another, and their weights; empty where no sum is the total."""
    kept = [i for i in range(columns.shape[1]) if np.any(columns[:, i])]
    if not kept or not _exact(total, columns[:, kept]):
        return {}
    for i in sorted(kept, key=lambda i: (np.ptp(columns[:, i]) > 0, -i)):  # constant ones go first, the last of them first
        fewer = [j for j in kept if j != i]
        if fewer and _exact(total, columns[:, fewer]):
            kept = fewer
    weights, *_ = np.linalg.lstsq(columns[:, kept], total, rcond=1e-9)
    return {i: round(float(weight), 6) for i, weight in zip(kept, weights, strict=True) if abs(weight) >= _SMALL}


def _exact(total: Floats, columns: Floats) -> bool:
    weights, *_ = np.linalg.lstsq(columns, total, rcond=1e-9)
    return bool(np.all(np.abs(columns @ weights - total) <= _SMALL * np.maximum(1.0, np.abs(total))))


def _explains(log: Log, total: str, parts: Mapping[str, float | None], where: str) -> bool:
    summed = " + ".join(f"{weight!r} * {log.number(column)}" for column, weight in parts.items() if weight is not None)
    sums = f"SELECT {summed} AS s, {total} AS t FROM log WHERE {where}"
    n, off = log.one(f"SELECT count(s), count_if(isfinite(s) AND isfinite(t) AND abs(s - t) > 1e-3 * greatest(1, abs(t))) FROM ({sums})")
    return bool(n) and not off

"""Whether a log holds only groups that were picked by their rewards: then no share of it says anything of the prompts.

No format marks it. What can be seen is that no group is flat where some ought to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flatspot.importers.arranged import Arranged
from flatspot.importers.grouping import NO_PROMPT, Grouping
from flatspot.rollouts.notes import Caveat
from flatspot.stats.flat_groups import evenly_flat, fewest_flat

if TYPE_CHECKING:
    import duckdb

_GROUPS = 20  # fewer that all vary say nothing
_VALUES = 8  # different rewards, at most: of graded ones, groups are hardly ever flat
_EXPECTED = 3.0  # flat groups, from which on none is a sign: chance leaves none of so many with e^-3 = 5%
_TEXT = (
    "The log holds only groups whose rewards differ: those with equal rewards were dropped before it was written. Every share and every "
    "std here is of what was left, so the set gets no verdict. Log the dropped groups too, or draw new completions: flatspot diagnose."
)


def survivors_only(db: duckdb.DuckDBPyConnection, grouping: Grouping, weights: Sequence[float], arranged: Arranged | None) -> list[Caveat]:
    """The caveat of a log of survivors; empty where there is no sign of it.

    A flat group speaks against it, unless the format is certain. With none among 20 groups or more, it is told where at least 3 ought to be
    flat: by what the mixed ones show, whatever the prompts are (`fewest_flat`), and in a training whose trainer can drop flat groups, also
    by what prompts of all kinds would give (`evenly_flat`).
    """
    said = arranged.survivors if arranged is not None else ""
    if said == "certain":
        return [("survivors-only", _TEXT)]
    if said == "never":
        return []
    total = " + ".join(f"coalesce({weight!r} * number_{i}, 0)" for i, weight in enumerate(weights))
    group = f"{grouping.sql}, step, split, drawn_with"
    scored = f"isfinite({total}) AND error IS NULL AND {grouping.sql} <> '{NO_PROMPT}'"
    db.execute(f"CREATE OR REPLACE VIEW drawn AS SELECT {total} AS total, hash({group}) AS own FROM cells WHERE {scored}")
    sizes = "SELECT own, count(*) AS n, min(total) AS low, max(total) AS high FROM drawn GROUP BY own HAVING count(*) > 1"
    row = db.execute(
        f"""WITH groups AS ({sizes}), whole AS (SELECT *, max(n) OVER () AS most FROM groups)
            SELECT count(*), count_if(low = high AND n = most), count_if(low = high) FROM whole"""
    ).fetchone() or (0, 0, 0)
    n, flat_whole, flat = row
    if said == "assumed":
        return [("survivors-only", _TEXT)] if n and not flat_whole else []
    if n < _GROUPS or flat:
        return []
    low, high, values = db.execute("SELECT min(total), max(total), count(DISTINCT total) FROM drawn").fetchone() or (0, 0, 0)
    if values > _VALUES:
        return []
    lows, highs = _counts(db, low, high)
    expected = fewest_flat(lows, highs)
    if said == "possible" and _is_training(db):
        expected = max(expected, evenly_flat({k: int(counts.sum()) for k, counts in lows.items()}, values))
    return [("survivors-only", _TEXT)] if expected >= _EXPECTED else []


def _is_training(db: duckdb.DuckDBPyConnection) -> bool:
    row = db.execute("SELECT count_if(coalesce(split, 'train') = 'train') > 0 FROM cells").fetchone()
    return bool(row and row[0])


def _counts(db: duckdb.DuckDBPyConnection, low: float, high: float) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """By group size, how many groups have how many rewards above the lowest of all, and below the highest."""
    found: list[dict[int, np.ndarray]] = []
    for differs in (f"total > {low!r}", f"total < {high!r}"):
        each = f"SELECT count(*) AS n, count_if({differs}) AS j FROM drawn GROUP BY own HAVING count(*) > 1"
        counts: dict[int, np.ndarray] = {}
        for k, j, groups in db.execute(f"SELECT n, j, count(*) FROM ({each}) GROUP BY ALL").fetchall():
            counts.setdefault(k, np.zeros(k + 1, np.int64))[j] = groups
        found.append(counts)
    return found[0], found[1]

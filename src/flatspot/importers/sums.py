"""A reward that is a weighted sum of several columns: the weights, how the sum is written, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flatspot.core.errors import SettingsError
from flatspot.core.records import LARGEST_REWARD
from flatspot.importers import cells
from flatspot.importers.arranged import Log
from flatspot.importers.builtin.parts import fit_parts
from flatspot.importers.columns import PLACES, ColumnMap
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

_ROWS_PER_COLUMN = 4  # at least, before it is believed that one column is the sum of others


def checked_weights(rewards: Sequence[str], given: Sequence[float] | None, caveats: list[Caveat]) -> tuple[float, ...]:
    """A weight for each column of the reward, 1 where none are given; a caveat says what is added up.

    Raises `SettingsError` for another number of weights than of columns, for one that is no number a reward can have, and where all are 0.
    """
    weights = tuple(map(float, given)) if given is not None else (1.0,) * len(rewards)
    if len(weights) != len(rewards):
        columns = f"{len(rewards)} reward column{'s need' if len(rewards) > 1 else ' needs'} {len(rewards)}"
        raise SettingsError(f"{columns} weight{'s' if len(rewards) > 1 else ''}, got {len(weights)}: one --reward-weight for each")
    if not all(math.isfinite(weight) and abs(weight) <= LARGEST_REWARD for weight in weights):
        raise SettingsError(f"--reward-weight must be a finite number of at most {LARGEST_REWARD:g}, got {weights}")
    if not any(weights):
        raise SettingsError("every --reward-weight is 0, so every reward would be: give one that is not")
    if len(rewards) > 1 and given is None:
        caveats.append(("weights-assumed", f"The reward is {written(dict.fromkeys(rewards, 1.0))}, each with weight 1 (--reward-weight)."))
    elif len(rewards) > 1:
        caveats.append(f"The reward is {written(dict(zip(rewards, weights, strict=True)))}.")
    return weights


def check_named_once(rewards: str | Sequence[str] | None) -> None:
    """Raise `SettingsError` where a column of the reward is named twice: it would be added up once."""
    named = [rewards] if isinstance(rewards, str) else list(rewards or ())
    if twice := [name for i, name in enumerate(named) if name in named[:i]]:
        raise SettingsError(f"--reward-col {twice[0]} is given twice: name each column once; its --reward-weight may be 2")


def written(weights: Mapping[str, float]) -> str:
    """A weighted sum as people write it.

    >>> written({"accuracy": 1.0, "format": 0.2, "length": -0.01})
    'accuracy + 0.2 × format − 0.01 × length'
    """
    terms: list[str] = []
    for name, weight in weights.items():
        size = name if abs(weight) == 1 else f"{abs(weight):g} × {name}"
        sign = ("−" if weight < 0 else "+") if terms else ("−" if weight < 0 else "")
        terms.append(f"{sign} {size}" if terms else f"{sign}{size}")
    return " ".join(terms)


def sum_caveats(db: duckdb.DuckDBPyConnection, log: Log, columns: ColumnMap) -> list[Caveat]:
    """What is wrong with the columns that are added up, over the views `cells` and `log`; nothing where there is one."""
    rewards = columns.names["reward"]
    if len(rewards) < 2:
        return []
    return [*_missing(db, rewards), *_counted_twice(log, columns)]


def _missing(db: duckdb.DuckDBPyConnection, rewards: Sequence[str]) -> list[Caveat]:
    """The caveat where some of the columns are empty on a row and others are not: they add nothing there."""
    empty = [cells.nothing(f"shown_{i}") for i in range(len(rewards))]
    some = f"NOT ({' AND '.join(empty)})"
    picked = ", ".join(f"count_if({one} AND {some})" for one in [f"({' OR '.join(empty)})", *empty])
    n, any_of, *each = db.execute(f"SELECT count(*), {picked} FROM cells").fetchone() or (0, 0)
    if not any_of:
        return []
    names = ", ".join(f"{name!r} on {count:,}" for name, count in zip(rewards, each, strict=True) if count)
    text = f"On {any_of:,} of {n:,} rows a reward is missing ({names}): as in TRL, the others alone are added up there."
    return [("missing-parts", text)]


def _counted_twice(log: Log, columns: ColumnMap) -> list[Caveat]:
    """The caveat where one of the columns that a user adds up is a sum that holds another of them."""
    rewards = columns.names["reward"]
    if "reward" not in columns.named:
        return []
    others = {*PLACES, *(name for ours, names in columns.names.items() if ours != "reward" for name in names)}
    numeric = log.numeric([name for name in log.types if name not in others])
    [n] = log.one("SELECT count(*) FROM log")
    found = []
    for total in rewards:
        parts = fit_parts(log, log.number(total), [name for name in numeric if name != total], fewest=1) if total in numeric else {}
        weights = {name: weight for name, weight in parts.items() if weight}
        held = [name for name in weights if name in rewards]
        if held and n >= _ROWS_PER_COLUMN * (len(parts) + 1):
            found.append((min(weights.values()) < 0, total, held[0], weights))
    for _, total, part, weights in sorted(found, key=lambda one: one[0])[:1]:  # that of parts with weights above 0 is meant
        sums = written(weights)
        text = f"{total!r} is {sums} on every row, so {part!r} counts twice in the sum: name either the total or its parts."
        return [("counted-twice", text)]
    return []

"""Logs in which a trainer writes a batch at a time: which batches are there twice, which are not there, and which are of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from flatspot.core.shares import noun
from flatspot.importers import cells
from flatspot.importers.arranged import Log
from flatspot.importers.builtin.nested import PLACE
from flatspot.rollouts.notes import Caveat

_FEWEST = 2  # prompts at the end of a batch that must be the same for it to be an evaluation
_SAME_ROWS = 8  # of two files, from which on it is no chance that all are the same
_NUMBERS = 0.9  # of the values of a reward, at least
_CHANCE = 1e-3  # of pairs of batches that end alike though each prompt is drawn by chance

Batch = tuple[str, int]
"""A file, and the batch in it."""


def repeated_batches(log: Log, columns: Sequence[str], unit: str, order: str = "_row") -> tuple[str, list[Caveat]]:
    """SQL that leaves out the batches that are the same, row for row, as an earlier one, and the caveat; "" and [] where there are none.

    columns  what is compared
    unit     SQL: what tells one batch from the next, growing
    order    SQL: a number that grows within a batch
    """
    values = ", ".join(log.text(column) for column in columns)
    rows = f"SELECT _file, {unit} AS unit, hash(row_number() OVER (PARTITION BY _file, {unit} ORDER BY {order}), {values}) AS h FROM log"
    batches = f"SELECT _file, unit, count(*) AS n, bit_xor(h) AS print, sum(h % 1000003) AS more FROM ({rows}) GROUP BY ALL"
    again = f"SELECT *, row_number() OVER (PARTITION BY n, print, more ORDER BY unit, _file) AS time FROM ({batches})"
    log.db.execute(f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT _file, unit, n FROM ({again}) WHERE time > 1")
    n, rows_there = log.one("SELECT count(*), coalesce(sum(n), 0) FROM repeated")
    if not n:
        return "", []
    out = f"{noun(n, 'batch', 'batches')} left out ({noun(rows_there, 'row')})"
    text = f"A batch that repeats an earlier one row for row is not counted again: {out}."
    return f"(_file, {unit}) NOT IN (SELECT (_file, unit) FROM repeated)", [("repeated-rows", text)]


def repeated_files(log: Log, columns: Sequence[str], where: str = "true") -> tuple[str, list[Caveat]]:
    """SQL that leaves out files with the rows of an earlier one, in whatever order, and the caveat; "" and [] where there are none.

    columns  what is compared: not the rewards, which a replay scores again
    where    SQL: which rows are compared
    """
    values = ", ".join(log.text(column) for column in columns)
    rows = f"SELECT _file, hash({values}) AS h FROM log WHERE {where}"
    prints = f"SELECT _file, count(*) AS n, sum(h % 1000003) AS a, sum(h // 1000003 % 1000003) AS b FROM ({rows})"
    again = f"SELECT _file, n, row_number() OVER (PARTITION BY n, a, b ORDER BY _file) AS time FROM ({prints} GROUP BY _file)"
    log.db.execute(f"CREATE OR REPLACE TEMP TABLE repeated_files AS SELECT _file, n FROM ({again}) WHERE time > 1 AND n >= {_SAME_ROWS}")
    n, rows = log.one("SELECT count(*), coalesce(sum(n), 0) FROM repeated_files")
    if not n:
        return "", []
    text = (
        "A file that holds the completions of an earlier one, as a replay or a run at temperature 0 does, has no new draws: "
        f"{noun(n, 'file')} left out ({noun(rows, 'row')})."
    )
    return "_file NOT IN (SELECT _file FROM repeated_files)", [("repeated-rows", text)]


def missing_steps(log: Log, step: str) -> list[Caveat]:
    """The caveat where steps are missing between those that are there, or before them."""
    n, first, last = log.one(f"SELECT count(DISTINCT s), min(s), max(s) FROM (SELECT {step} AS s FROM log)")
    expected = int(last) - min(int(first), 1) + 1
    if not n or n >= expected:
        return []
    text = (
        f"In the log: {n:,} of the {expected:,} steps up to {last}. Completions of the others were not written "
        "(logging_steps=1 writes those of every step)."
    )
    return [("missing-steps", text)]


def evaluation_ends(
    log: Log, prompt: str, unit: str, order: str = "_row", *, where: str = "true", evaluated: frozenset[int] = frozenset()
) -> dict[Batch, int]:
    """The batches that end with rows of an evaluation: (file, batch) → `order` of the first row that is of it.

    An evaluation asks the same prompts in the same order each time, so batches that end with one end with the same prompts. Chance and a
    training that does not shuffle do that, too. What tells an evaluation is that these prompts stand nowhere else, while the batches begin
    differently; or that they stand elsewhere in other orders, and chance would not repeat so many.

    prompt     SQL of the prompt's text
    unit       SQL: what tells one batch from the next, a whole number
    order      SQL: a number that grows within a batch
    where      SQL: which rows count
    evaluated  the batches at which an evaluation took place, where that is known
    """
    runs = _runs(log, prompt, unit, order, where)
    places: dict[int, int] = {}
    followed: dict[tuple[int, int], int] = {}
    for own in runs.values():
        for text, _ in own:
            places[text] = places.get(text, 0) + 1
        for (text, _), (following, _) in pairwise(own):
            followed[text, following] = followed.get((text, following), 0) + 1
    by_last: dict[int, list[Batch]] = {}
    for batch, own in runs.items():
        by_last.setdefault(own[-1][0], []).append(batch)
    found: dict[Batch, int] = {}
    for batches in by_last.values():
        ends = [[text for text, _ in runs[batch]] for batch in batches]
        common = _common_end(ends) if len(batches) > 1 else 0
        if common < _FEWEST:
            continue
        if all(batch[1] in evaluated for batch in batches) and common < min(map(len, ends)):
            length = common
        else:
            length = _end_of_its_own(ends, common, places) or _end_in_other_orders(
                ends[0], common, len(batches), places, followed, len(runs)
            )
        if length >= _FEWEST:
            found |= {batch: runs[batch][-length][1] for batch in batches}
    return found


def _runs(log: Log, prompt: str, unit: str, order: str, where: str) -> dict[Batch, list[tuple[int, int]]]:
    """Of each batch its prompts in the order of their rows, each with its first row; rows of one prompt that follow one another are one."""
    rows = f"SELECT _file, {unit} AS unit, CAST({order} AS BIGINT) AS place, hash({prompt}) AS h FROM log WHERE {where}"
    changes = f"SELECT *, lag(h) OVER (PARTITION BY _file, unit ORDER BY place) AS before FROM ({rows})"
    runs: dict[Batch, list[tuple[int, int]]] = {}
    picked = f"SELECT _file, unit, h, place FROM ({changes}) WHERE before IS DISTINCT FROM h AND unit IS NOT NULL"
    for file, batch, h, row in log.db.execute(f"{picked} ORDER BY unit, _file, place").fetchall():
        runs.setdefault((file, int(batch)), []).append((h, row))
    return runs


def _common_end(ends: Sequence[Sequence[int]]) -> int:
    length = 0
    while all(length < len(own) for own in ends) and len({own[-1 - length] for own in ends}) == 1:
        length += 1
    return length


def _end_of_its_own(ends: Sequence[Sequence[int]], common: int, places: Mapping[int, int]) -> int:
    """How many prompts at the end of these batches stand nowhere else; 0 where the batches are the same from their beginning on."""
    if any(len(own) == common for own in ends):
        return 0
    length = 0
    while length < common and places[ends[0][-1 - length]] == len(ends):
        length += 1
    return length


def _end_in_other_orders(
    own: Sequence[int], common: int, batches: int, places: Mapping[int, int], followed: Mapping[tuple[int, int], int], among: int
) -> int:
    """How many prompts at the end of these batches stand elsewhere, too, but not in this order; 0 where chance may have repeated them."""
    length = 0
    while length < common and places[own[-1 - length]] > batches:
        length += 1
    end = own[len(own) - length :]
    same = sum(followed[pair] > batches for pair in pairwise(end))
    by_chance = among * (among - 1) / 2 / len(places) ** length
    return length if length >= _FEWEST and 2 * same <= length - 1 and by_chance < _CHANCE else 0


def reward_columns(log: Log, after: str, before: Sequence[str]) -> list[str]:
    """The columns of numbers that follow one another after `after`; those of functions stand before what else a trainer logs."""
    names = list(log.types)
    end = next((names.index(column) for column in before if column in names), len(names))
    between = [name for name in names[names.index(after) + 1 : end] if name not in ("_file", "_row", PLACE)]
    numeric = {name for name in between if _may_be_reward(log, name)}
    taken = []
    for name in between:
        if name not in numeric and not _is_empty(log, name):
            break
        taken.append(name)
    return [name for name in taken if name in numeric]


def _may_be_reward(log: Log, column: str) -> bool:
    """Whether a column holds numbers. In JSON an answer such as "90" is text; a value that is odd among many is an error of its row."""
    kind = log.types[column]
    if kind != "JSON":
        return (kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL")) and bool(
            log.one(f"SELECT count({log.text(column)}) FROM log")[0]
        )
    said = f"lower({log.text(column)})"
    filled = f"{said} IS NOT NULL AND {said} NOT IN ('null', 'none', 'nan', 'infinity', '-infinity')"
    is_number = f"json_type({cells.name(column)}) IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')"
    n, there = log.one(f"SELECT count_if({filled} AND {is_number}), count_if({filled}) FROM log")
    return bool(n) and n >= _NUMBERS * there


def _is_empty(log: Log, column: str) -> bool:
    return not cells.is_list(log.types[column]) and not log.one(f"SELECT count({log.text(column)}) FROM log")[0]


def step_in_path(path: str | Path, pattern: str) -> int | None:
    """The number that a pattern finds in a path, the last place in it.

    >>> step_in_path("run/rollouts/step_12/train/all/traces.jsonl", "step_([0-9]+)")
    12
    """
    found = re.findall(pattern, str(path))
    return int(found[-1]) if found else None

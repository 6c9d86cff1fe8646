"""CSV, TSV, JSONL, JSON and Parquet logs in any layout, to the tables of a run folder.

Everything is one SQL statement per table, so a log is never held in memory. A row whose reward is not a finite number, that has no prompt,
or whose completion was never drawn, is kept with its `error`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import ImportFormatError, SettingsError
from flatspot.core.leftovers import scratch_folder
from flatspot.core.records import LARGEST_REWARD
from flatspot.core.schema import ROLLOUTS
from flatspot.importers import cells
from flatspot.importers.arranged import Log
from flatspot.importers.as_formatted import Understood, understand
from flatspot.importers.blanks import Blanks, find_blanks
from flatspot.importers.files import open_log, what_was_wrong
from flatspot.importers.formats import LogFiles
from flatspot.importers.grouping import NO_PROMPT, Grouping, find_grouping, group_by
from flatspot.importers.prompts import select_prompts, spaces_apart
from flatspot.importers.rows import Cells, select_cells
from flatspot.importers.sums import check_named_once, checked_weights, sum_caveats
from flatspot.importers.survivors import survivors_only
from flatspot.importers.turns import join_turns, rows_are_turns
from flatspot.importers.window import Window, keep_window, last_window, unread_steps
from flatspot.readers.files import file_blocks
from flatspot.readers.kept import KeptRows
from flatspot.readers.log import named
from flatspot.rollouts.files import write_query
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

_EVALUATION = re.compile(r"(?:^|[^a-z])(?:evals?|evaluation|val|valid|validation|test)(?:[^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogColumns:
    """What a user says of a log's columns.

    names    our name → the log's column (of the reward: or several, to be added up); None or absent: recognized
    weights  one per reward column; None: 1 each
    lists    a list of rewards on a row is "completions" (one each) or "tokens" (of one completion); None: told by the rows
    window   which steps, or which split, are judged
    """

    names: Mapping[str, str | Sequence[str] | None] = field(default_factory=dict)
    weights: Sequence[float] | None = None
    lists: str | None = None
    window: Window = field(default_factory=Window)


@dataclass(frozen=True)
class Imported:
    """What an import found: the files read, the columns taken, those that rows are grouped by, and what a reader must know.

    weights  by the name of a part of the reward, as far as they are known
    """

    files: tuple[Path, ...]
    columns: Mapping[str, str | tuple[str, ...]]
    grouped_by: tuple[str, ...]
    caveats: tuple[Caveat, ...]
    weights: Mapping[str, float] = field(default_factory=dict)


def import_generic(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    request: LogColumns,
    rollouts: Path,
    prompts: Path,
    format: LogFiles | None = None,
    kept: KeptRows | None = None,
) -> Imported:
    """Write the rows of `files` to `rollouts` and their prompts to `prompts`, both Parquet, in the declared columns.

    format  what is known of the rows; None: they are recognized
    kept    what earlier looks at a log that grows have read
    """
    import duckdb

    if request.lists not in (None, "completions", "tokens"):
        raise SettingsError(f"--reward-list must be completions or tokens, got {request.lists!r}")
    check_named_once(request.names.get("reward"))
    caveats: list[Caveat] = []
    try:
        with scratch_folder() as scratch:
            types = open_log(db, files, scratch, caveats, format.blocks if format else file_blocks, kept)
            names = {ours: name for ours, name in request.names.items() if (ours, name) != ("turn", "none")}
            understood = understand(db, types, files, names, request.lists, format, caveats, split=request.window.split)
            columns = understood.columns
            weights = _weights(request, understood, caveats)
            log_cells = select_cells(columns, understood.layout)
            db.execute(f"CREATE OR REPLACE VIEW rows AS {log_cells.sql}")
            are_turns = rows_are_turns(request.names.get("turn"))
            if format is not None and are_turns is None:
                are_turns = False  # it has made a row of each completion
            join_turns(db, columns, log_cells, are_turns=are_turns, where=named(files), caveats=caveats)
            caveats += unread_steps(_log(db, files), columns)
            caveats += keep_window(db, request.window, named(files))
            caveats += sum_caveats(db, _log(db, files), columns)
            grouping = _grouping(db, understood, log_cells)
            blanks = find_blanks(db, columns, caveats)
            rows = _rollout_select(log_cells, grouping, weights, blanks, understood.parts)
            write_query(db, f"SELECT * EXCLUDE (drawn_with) FROM ({rows})", rollouts)
            write_query(db, select_prompts(db, log_cells, grouping, rollouts), prompts)
            caveats += survivors_only(db, grouping, weights, understood.arranged)
            caveats += _constant_parts(db, log_cells, understood.parts)
            survivors = any(caveat[0] == "survivors-only" for caveat in caveats if not isinstance(caveat, str))
            of_rows = _row_caveats(rollouts, db, survivors, rows if "drawn_with" in columns.names else "")
    except duckdb.Error as error:
        raise ImportFormatError(f"{named(files)}: cannot be read as a log: {what_was_wrong(error)}") from error
    if "completion" not in columns.names:
        caveats.append("The log has no completions: distinct answers and truncation are unknown.")
    of_paths = [] if format else _path_caveats(files)
    caveats = [*_grouped_by(grouping), *caveats, *spaces_apart(db, prompts), *of_rows, *of_paths]
    used: dict[str, str | tuple[str, ...]] = {"prompt_id": grouping.columns[0]} if grouping.columns[0] in columns.ids else {}
    used |= {ours: names[0] if len(names) == 1 else names for ours, names in columns.names.items()}
    return Imported(tuple(files), used, grouping.columns, tuple(caveats), _known_weights(understood, weights))


def _log(db: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> Log:
    types = {str(name): str(kind) for name, kind, *_ in db.execute("DESCRIBE log").fetchall()}  # as the format has made it
    return Log(db, types, files)


def _grouping(db: duckdb.DuckDBPyConnection, understood: Understood, log_cells: Cells) -> Grouping:
    """How rows are grouped: as the user says, else as the format does, else as the rows show."""
    arranged = understood.arranged
    if arranged is None or not arranged.group_by or "prompt_id" in understood.columns.named:
        return find_grouping(db, understood.columns, log_cells)
    return group_by(arranged.group_by, len(understood.columns.ids))


def _grouped_by(grouping: Grouping) -> list[Caveat]:
    return [("wrong-id", grouping.sentence) if grouping.wrong_id else grouping.sentence]


def _known_weights(understood: Understood, weights: Sequence[float]) -> dict[str, float]:
    """The weight of each part of the reward, as it counts in the total."""
    rewards = understood.columns.names["reward"]
    if len(rewards) > 1:
        return dict(zip(rewards, weights, strict=True))
    return dict(understood.arranged.part_weights) if understood.arranged is not None and understood.parts else {}


def _weights(request: LogColumns, understood: Understood, caveats: list[Caveat]) -> tuple[float, ...]:
    given = request.weights if request.weights is not None else understood.weights
    return checked_weights(understood.columns.names["reward"], given, caveats)


def _row_caveats(rollouts: Path, db: duckdb.DuckDBPyConnection, survivors: bool, drawn: str) -> list[Caveat]:
    """What the rows say of themselves that a reader must know: several steps, several splits, survivors only.

    drawn  SQL of the rows with what was drawn together; "" where the log does not say it
    """
    row = db.execute(
        f"SELECT count(DISTINCT step), count(DISTINCT split), count(kept), count_if(kept) FROM {cells.parquet(rollouts)}"
    ).fetchone()
    steps, splits, with_kept, n_kept = row or (0, 0, 0, 0)
    caveats: list[Caveat] = []
    if steps > 1:
        text = f"The log has {steps} training steps: their rows are judged together, as if one policy had drawn them."
        groups = f"({drawn})" if drawn else f"(SELECT *, NULL AS drawn_with FROM {cells.parquet(rollouts)})"
        caveats.append(("several-policies", text + ("" if survivors else last_window(db, groups))))
    if splits > 1:
        text = f"The log mixes {splits} splits (such as train and eval): their rows are judged together (--split judges one)."
        caveats.append(("evaluation-rows", text))
    if with_kept and n_kept == with_kept:
        text = "The log holds only groups that the trainer kept: the groups it dropped were flat, so every std here is too high."
        caveats.append(("survivors-only", text))
    return caveats


def _constant_parts(db: duckdb.DuckDBPyConnection, log_cells: Cells, parts: Mapping[str, str]) -> list[Caveat]:
    """The caveat for each part of the reward that is the same on every row though others vary: no log says what range it has."""
    named = (
        {f"number_{i}": name for i, name in enumerate(log_cells.rewards)}
        if len(log_cells.rewards) > 1
        else {f"part_{i}": parts[column] for i, column in enumerate(log_cells.parts) if column in parts}
    )
    if len(named) < 2:
        return []
    picked = ", ".join(f"min({column}), max({column})" for column in named)
    row = db.execute(f"SELECT {picked} FROM cells").fetchone() or ()
    ends = dict(zip(named.values(), zip(row[::2], row[1::2], strict=True), strict=True))
    if all(low == high for low, high in ends.values()):
        return []
    return [
        ("flat-component", f"{name!r} is {low:.3g} on every row: RL learns from the others alone.")
        for name, (low, high) in ends.items()
        if low is not None and low == high and low > 0
    ]


def _path_caveats(files: Sequence[Path]) -> list[Caveat]:
    """A caveat where the names of some files or of their folders speak of an evaluation, and others' do not."""
    files = [file.absolute() for file in files]
    shared = os.path.commonpath([file.parent for file in files])
    held = [file for file in files if _EVALUATION.search(str(file.relative_to(shared).with_suffix("")))]
    if not held or len(held) == len(files):
        return []
    some = f"{len(held)} of {len(files)} files are of an evaluation, by their names (such as {held[0].relative_to(shared)})"
    text = f"{some}: their rows are judged together with the others. Name the files to be judged to leave them out."
    return [("evaluation-rows", text)]


def _rollout_select(
    log_cells: Cells, grouping: Grouping, weights: Sequence[float], blanks: Blanks, parts: Mapping[str, str] | None = None
) -> str:
    """The declared columns of rollouts, and `drawn_with`, over the view `cells`.

    parts  column → name of a part of the reward, where the reward is a column of its own
    """
    no_prompt = f"prompt_id = {cells.literal(NO_PROMPT)}"
    several = len(weights) > 1
    wrong = [_wrong(i, name if several else "", several) for i, name in enumerate(log_cells.rewards)]
    unscored = f"coalesce({', '.join(wrong)})"
    if several:  # as in TRL, a component that is null does not apply to the row, unless none does
        shown = " AND ".join(cells.nothing(f"shown_{i}") for i in range(len(weights)))
        unscored = f"CASE WHEN {shown} THEN 'the log has no reward here' ELSE {unscored} END"
    total = " + ".join(f"coalesce({weight!r} * number_{i}, 0)" if several else f"number_{i}" for i, weight in enumerate(weights))
    total = total if several or weights[0] == 1 else f"{weights[0]!r} * number_0"
    total = total if all(weight > 0 for weight in weights) else f"({total}) + 0"  # a negative weight makes -0.0 of 0
    failed = f"WHEN {blanks.failed} THEN {cells.literal(blanks.why)}" if blanks.why else ""
    derived = {
        "prompt_id": "prompt_id",
        "completion": f"CASE WHEN NOT ({blanks.hidden}) THEN completion END",
        "reward": "CASE WHEN problem IS NULL THEN total END",
        "rewards": "NULL::MAP(VARCHAR, DOUBLE)",
        "error": "problem",
        "policy": "''",
        "logprob": "NULL::DOUBLE",  # of what a trainer logs under this name nobody knows the law
        "copied": "NULL::BOOLEAN",
    }
    if several:
        names = ", ".join(map(cells.literal, log_cells.rewards))
        values = ", ".join(f"CASE WHEN {_usable(f'number_{i}')} THEN number_{i} END" for i in range(len(weights)))
        derived["rewards"] = f"MAP([{names}], [{values}])"
    elif parts:
        names = ", ".join(cells.literal(parts[column]) for column in log_cells.parts)
        values = ", ".join(f"CASE WHEN {_usable(f'part_{i}')} THEN part_{i} END" for i in range(len(log_cells.parts)))
        derived["rewards"] = f"MAP([{names}], [{values}])"
    problem = f"""CASE WHEN error IS NOT NULL THEN error WHEN {no_prompt} THEN 'the row has neither a prompt nor an id' {failed}
        ELSE coalesce({unscored}, CASE WHEN NOT ({_usable("total")}) THEN {_too_large("total")} END) END"""
    inner = f"SELECT *, {grouping.sql} AS prompt_id, {total} AS total FROM cells"
    picked = ", ".join(f"{derived.get(c.name, c.name)} AS {c.name}" for c in ROLLOUTS)
    return f"SELECT {picked}, drawn_with FROM (SELECT *, {problem} AS problem FROM ({inner}))"


def _usable(number: str) -> str:
    return f"isfinite({number}) AND abs({number}) <= {LARGEST_REWARD}"


def _too_large(number: str) -> str:
    return f"'the reward is ' || {number} || ', larger than a reward can be ({LARGEST_REWARD:g})'"


def _wrong(i: int, name: str, several: bool) -> str:
    """Why a reward is no number; null where it is one, or where it is one of several and is not there."""
    prefix = f"{cells.literal(f'{name}: ')} || " if name else ""
    number = f"number_{i}"
    blank = "NULL" if several else "'the log has no reward here'"
    # a good one first: whether a reward is blank is asked of its text, which takes as long as all the rest
    return f"""CASE WHEN {_usable(number)} THEN NULL WHEN {cells.nothing(f"shown_{i}")} THEN {blank}
        WHEN {number} IS NULL THEN {prefix}'not a number: ' || left(CAST(shown_{i} AS VARCHAR), 80)
        WHEN NOT isfinite({number}) THEN {prefix}'the reward is ' || CAST(shown_{i} AS VARCHAR)
        ELSE {prefix}{_too_large(number)} END"""

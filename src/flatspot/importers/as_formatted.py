"""The columns and rows of a log, as a format says them or as they are recognized: what `generic` needs before it writes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.importers.arranged import Arranged, Log, arrange
from flatspot.importers.columns import ColumnMap, choose_columns, map_columns
from flatspot.importers.formats import LogFiles
from flatspot.importers.layout import Layout, find_layout
from flatspot.readers.log import named
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

EVALUATION = "eval"  # the split that a format gives to rows of an evaluation
_SPLIT_WORDS = {"train": "training", EVALUATION: "evaluation"}


@dataclass(frozen=True)
class Understood:
    """What the rows of the view `log` mean.

    arranged  what the format says of them; None where they are recognized by their names
    weights   of the reward's columns, where the format has them
    """

    columns: ColumnMap
    layout: Layout
    arranged: Arranged | None = None
    weights: tuple[float, ...] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


def understand(
    db: duckdb.DuckDBPyConnection,
    types: Mapping[str, str],
    files: Sequence[Path],
    names: Mapping[str, str | Sequence[str] | None],
    lists: str | None,
    format: LogFiles | None,
    caveats: list[Caveat],
    split: str | None = None,
) -> Understood:
    """What the columns of the view `log` mean, which a format may make anew.

    names, lists  what a user says of them
    format        None: they are recognized
    split         the one that a user asks for; None: that of the training, where there is one

    Raises `ImportFormatError` where no prompt can be judged by the log.
    """
    if format is None:
        columns = choose_columns(db, map_columns(types, names, named(files)), caveats)
        return Understood(columns, find_layout(db, columns, lists, named(files), caveats))
    log = Log(db, types, files)
    arranged = format.arrange(log)
    log, columns = arrange(log, arranged, names)
    caveats += arranged.caveats
    if split is None:
        _keep_training(log, columns, caveats)
    caveats += _several_runs(log, arranged)
    by_user = "reward" in columns.named
    return Understood(columns, arranged.layout, arranged, None if by_user else arranged.weights, {} if by_user else arranged.parts)


def _keep_training(log: Log, columns: ColumnMap, caveats: list[Caveat]) -> None:
    """Leave out the rows of an evaluation where there are others: they are of other prompts, or drawn in another way."""
    if "split" not in columns.names:
        return
    split = columns.cell("split")
    n_eval, n = log.one(f"SELECT count_if({split} = '{EVALUATION}'), count(*) FROM log")
    if not n_eval:
        return
    if n_eval == n:
        caveats.append(("evaluation-split", "All rows are of evaluations: of other prompts than those that are trained on, perhaps."))
        return
    log.db.execute("ALTER VIEW log RENAME TO log_of_all_splits")
    log.db.execute(f"CREATE VIEW log AS SELECT * FROM log_of_all_splits WHERE coalesce({split}, '') <> '{EVALUATION}'")
    text = f"{n_eval:,} of {n:,} rows are of evaluations, and are left out (--split {EVALUATION} judges them)."
    caveats.append(("evaluation-rows", text))


def _several_runs(log: Log, arranged: Arranged) -> list[Caveat]:
    """The caveat where the rows that count are of several runs or models: their steps may have the same numbers."""
    policy = arranged.policy or log.path("/[^/]*$")
    of = [name for name in ("_file", "model") if name == "_file" or (name in log.types and arranged.policy)]
    each = f"SELECT DISTINCT {', '.join(of)} FROM log"  # few, of which the names are made: not of each row
    names = [row[0] for row in log.db.execute(f"SELECT DISTINCT {policy} AS p FROM ({each}) WHERE p <> '' ORDER BY p").fetchall()]
    if len(names) < 2:
        return []
    some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return [
        ("several-policies", f"The log is of {len(names)} runs or models ({some}): their rows are judged together, as if of one policy.")
    ]

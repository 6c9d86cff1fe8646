"""Every format's reader on logs that are damaged in some way: a user's error, or numbers that the rows hold; never a traceback.

A log that a trainer wrote is changed in a few places: values of another kind, keys that are gone, lines that are cut, rows there twice.
What is read all the same must hold the rewards that it held, but for those few.
"""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flatspot.core.errors import FlatspotError
from flatspot.importers.generic import LogColumns
from flatspot.importers.runs import import_logs
from flatspot.runs.run import Run

from . import writers
from .test_formats import EVERY
from .writers import batches

STEPS = batches(n_steps=2, n_prompts=4)
TABLES = ("trl", "open-r1", "inspect_ai, zip")
TEXT_LOGS = [case for case in EVERY if not case.startswith(TABLES)]
ODD = st.sampled_from(
    [None, "", "text", 0, 1, -1, 0.5, 1e300, True, [], {}, [[]], [None], [1.0], {"a": 1}, {"role": "user"}, "1.0", "NaN", 2**70]
)  # fmt: skip


def places(value, at=()):
    """Every place in nested lists and objects."""
    yield at
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*at, key))


def changed(value, at, new, *, gone):
    """The value with another one at a place, or with nothing there."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1 and gone:
        del copy[at[0]]
    else:
        copy[at[0]] = changed(value[at[0]], at[1:], new, gone=gone)
    return copy


def damage(data, folder):
    """Change a few values in the files of JSON in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".json") and "metadata" not in path.name)
    files = [path for path in files if path.stat().st_size]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(files))
        rows = path.read_text("utf-8", "surrogateescape").splitlines() or [""]
        n = data.draw(st.integers(0, len(rows) - 1))
        how = data.draw(st.sampled_from(["value", "value", "gone", "cut", "twice", "bytes"]))
        if how in ("value", "gone") and rows[n].startswith("{"):
            try:
                row = json.loads(rows[n])
            except ValueError:
                continue
            at = data.draw(st.sampled_from(list(places(row))[1:] or [()]))
            rows[n] = json.dumps(changed(row, at, data.draw(ODD), gone=how == "gone"))
        elif how == "cut":
            rows[n] = rows[n][: data.draw(st.integers(0, len(rows[n])))]
        elif how == "twice":
            rows.insert(n, rows[n])
        else:
            path.write_bytes("\n".join(rows).encode("utf-8", "surrogateescape") + b"\n\xff\xfe{\n")
            continue
        path.write_text("\n".join(rows) + "\n", "utf-8", "surrogateescape")


def read(folder):
    """The rewards of an import; None where the log was refused."""
    try:
        return Run(import_logs([folder / "log"], LogColumns(), folder / "run", lambda _: None)).rollouts
    except FlatspotError as error:
        assert str(error)
        return None


@pytest.mark.parametrize("case", TEXT_LOGS)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_damaged_log_is_read_or_refused(case, data):
    assert changed_rewards(case, data) <= MOST_CHANGED, "a few changes of the log changed many of its rewards"


@pytest.mark.slow
@pytest.mark.parametrize("case", TEXT_LOGS)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_damaged_logs_are_read_or_refused(case, data):
    assert changed_rewards(case, data) <= MOST_CHANGED, "a few changes of the log changed many of its rewards"


def changed_rewards(case, data):
    """How many rewards are others once a log is damaged; 0 where it is refused, with a message."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        EVERY[case][0](folder / "log", STEPS)
        before = read_undamaged(case)
        damage(data, folder / "log")
        rows = read(folder)
        if rows is None:
            return 0
        known = {(row["prompt"], row["completion"]): row["reward"] for row in before}
        return sum(
            (row["prompt"], row["completion"]) in known and row["reward"] != known[row["prompt"], row["completion"]]
            for row in rows.to_pylist()
            if row["reward"] is not None
        )


MOST_CHANGED = 3 * writers.K + 8  # what the damage can touch
_UNDAMAGED = {}


def read_undamaged(case):
    """The rows of a case as it is written, read once."""
    if case not in _UNDAMAGED:
        with tempfile.TemporaryDirectory() as place:
            EVERY[case][0](Path(place) / "log", STEPS)
            rows = read(Path(place))
            _UNDAMAGED[case] = [] if rows is None else rows.to_pylist()
    return _UNDAMAGED[case]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_damaged_table_is_read_or_refused(data):
    """TRL's and open-r1's Parquet with a column of another type, or nulls."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        EVERY[data.draw(st.sampled_from(["trl", "trl, chat", "trl, extra", "open-r1"]))][0](folder / "log", STEPS)
        path = data.draw(st.sampled_from(sorted(folder.rglob("*.parquet"))))
        table = pq.read_table(path)
        i = data.draw(st.integers(0, table.num_columns - 1))
        new = data.draw(st.sampled_from(["null", "text", "number", "gone", "cut", "list"]))
        values = {"null": None, "text": "x", "number": 7.5, "list": [1.0]}
        name = table.column_names[i]
        if new == "cut":
            path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size))])
        else:
            table = table.drop_columns([name])
            if new != "gone":
                table = table.add_column(i, name, pa.array([values[new]] * table.num_rows))
            pq.write_table(table, path)
        rows = read(folder)
        assert rows is None or {"prompt_id", "reward", "error"} <= set(rows.column_names)

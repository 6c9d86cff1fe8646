"""Prompts and logs that are in memory already, against the same rows from a file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import ImportFormatError, PromptFileError
from flatspot.readers.in_memory import arrow_table, way_on, write_log
from flatspot.tasks import load_prompts

pd = pytest.importorskip("pandas")

ROWS = [{"prompt": f"q{i}", "reference": str(i), "level": i} for i in range(4)]


class Streamed:
    """Something unknown that exports an Arrow stream, as polars' frames do."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def as_dataset(rows):
    return pytest.importorskip("datasets").Dataset.from_list(rows)


KINDS = {
    "rows": lambda rows: rows,
    "arrow": pa.Table.from_pylist,
    "stream": lambda rows: Streamed(pa.Table.from_pylist(rows)),
    "pandas": lambda rows: pd.DataFrame(rows, index=[f"row {i}" for i in range(len(rows))]),
    "datasets": as_dataset,
}


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_in_memory_are_those_of_a_list(kind):
    assert load_prompts(KINDS[kind](ROWS)) == load_prompts(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_logs_in_memory_become_files_with_the_same_rows(kind, tmp_path):
    rows = [{"prompt": f"q{i % 5}", "reward": float(i % 2)} for i in range(40)]
    file, _ = write_log(KINDS[kind](rows), tmp_path)
    found = pq.read_table(file).to_pylist() if file.suffix == ".parquet" else pd.read_json(file, lines=True).to_dict("records")
    assert found == rows


def test_a_list_of_rows_is_judged_as_a_log_with_the_keys_that_come_late(tmp_path):
    rows = [{"prompt_id": str(i % 6), "reward": float(i % 2)} for i in range(60)]
    rows += [{"prompt_id": str(i % 6), "reward": None, "error": "out of time"} for i in range(12)]
    found = flatspot.inspect(rows, out=tmp_path / "run")
    assert found.summary["n_prompts"] == 6
    assert found.summary["health"]["error_share"] == pytest.approx(12 / 72)
    assert found.summary["settings"]["logs"] == ["list (in memory)"]
    again = flatspot.inspect(rows, out=tmp_path / "run")  # the same rows are the same run
    assert again.verdicts == found.verdicts


@pytest.mark.parametrize("given", [{"prompt": ["a"]}, 7, None, np.zeros(3)])
def test_anything_else_is_refused_with_the_way_on(given):
    with pytest.raises(PromptFileError, match=r"expected a path, .*: (give|of a dict)"):
        load_prompts(given)
    with pytest.raises(ImportFormatError, match=r"expected logs, got a .*: (give|of a dict)"):
        flatspot.inspect(given)
    assert arrow_table(given) is None


def test_no_logs_at_all():
    with pytest.raises(ImportFormatError, match="an empty list"):
        flatspot.inspect([])


def test_a_column_is_no_table():
    column = pa.chunked_array([["q0", "q1"]])
    assert arrow_table(column) is None
    assert "list(column)" in way_on(column)


P, R = pa.array(["a", "a"]), pa.array([0.0, 1.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pa.Table.from_arrays([P, R, R], ["prompt", "reward", "reward"]), "the column 'reward' is there twice"),
        (pd.DataFrame([["a", 1.0, 2.0]], columns=["prompt", "reward", "reward"]), "Duplicate column names"),
        (pd.DataFrame({"prompt": ["a"], "reward": [1j]}), "the table cannot be read"),
    ],
)
def test_a_table_is_checked_as_a_file_is(given, message):
    with pytest.raises(PromptFileError, match=message):
        load_prompts(given)
    with pytest.raises(ImportFormatError, match=message) as raised:
        flatspot.inspect(given)
    assert "flatspot-log-" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pa.table({"prompt": P, "reward": R, "d": pa.array([{}, {}], pa.struct([]))}), "cannot be written as Parquet: Cannot write struct"),
        ([{"prompt": "a", "reward": 10**5_000}], "row 1 cannot be written as JSON: Exceeds the limit"),
        ([{"prompt": "a", "reward": 1}, {"prompt": "a", "reward": 1, 1: 0, "1": 2}], "row 2: two of its keys are one as text"),
        ([{"prompt": "a", "reward": 1, chr(0xD800): 1, chr(0xD801): 2}], r"list \(in memory\):1: two keys differ"),
    ],
)
def test_a_log_in_memory_that_no_file_can_hold(given, message):
    with pytest.raises(ImportFormatError, match=message):
        flatspot.inspect(given)


def test_a_date_that_python_cannot_hold_is_text(tmp_path):
    table = pa.table({"prompt": P, "day": pa.array([2**50, 1], pa.timestamp("ms"))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [prompt.columns for prompt in load_prompts(table)] == [prompt.columns for prompt in load_prompts(tmp_path / "a.parquet")]


@pytest.mark.parametrize("given", [ROWS, pa.Table.from_pylist(ROWS), "reasoning-gym:basic_arithmetic"])
@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(given, limit):
    with pytest.raises(PromptFileError, match=f"limit must be at least 1, got {limit}"):
        load_prompts(given, limit=limit)


def test_a_limit_of_a_table_is_that_of_a_list():
    assert load_prompts(pa.Table.from_pylist(ROWS), limit=2) == load_prompts(ROWS, limit=2) == load_prompts(ROWS[:2])

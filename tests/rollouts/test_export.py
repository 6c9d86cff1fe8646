"""Exports are read back by strict parsers."""

import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot import flow
from flatspot.engines.scripted import ScriptedEngine


@pytest.fixture
def run(tmp_path):
    rows = [{"prompt": "2+2=", "reference": "4", "weight": float("nan"), "nested": {"x": [float("inf"), "\ud800"]}, "half": "a\udfff"}]
    return flatspot.diagnose(
        rows, ScriptedEngine({"2+2=": {"4": 0.5, "\ud800": 0.5}}), "exact_match", max_samples=8, fixed_samples=True, out=tmp_path / "run"
    ).run


@pytest.mark.parametrize("completions", [False, True])
def test_jsonl_is_strict_json(run, completions):
    path = run.parent / "out.jsonl"
    n = flow.export(run, path, completions=completions)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == n == (8 if completions else 1)
    if not completions:
        assert rows[0]["weight"] is None
        assert rows[0]["nested"]["x"][0] is None


def test_csv_and_parquet_hold_what_utf_8_can(run):
    flow.export(run, run.parent / "out.csv")
    flow.export(run, run.parent / "out.parquet")
    for table in (pyarrow.csv.read_csv(run.parent / "out.csv"), pq.read_table(run.parent / "out.parquet")):
        row = table.to_pylist()[0]
        assert row["half"] == "a\\udfff"
        assert json.loads(row["nested"], parse_constant=pytest.fail)["x"][0] is None


def test_parquet_columns_of_several_types_become_text(tmp_path):
    values = ["a", ["b", 2], {"c": 1}, 10**30, None]
    rows = [{"prompt": f"p{i}", "odd": value, "plain": i} for i, value in enumerate(values)] + [{"prompt": "p", "late": "x"}]
    engine = ScriptedEngine({row["prompt"]: {"1": 1.0} for row in rows})
    run = flatspot.diagnose(rows, engine, "regex[pattern=1]", max_samples=2, out=tmp_path / "run").run
    flow.export(run, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert [text and json.loads(text) for text in table["odd"].to_pylist()] == [*values, None]
    assert table["plain"].to_pylist() == [0, 1, 2, 3, 4, None]
    assert table["late"].to_pylist() == [None] * 5 + ["x"]

"""`flatspot.Run`: what a run folder holds, read once; against the files themselves."""

import json
import shutil
from dataclasses import replace
from html import escape

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.runs.summary import Summary

ROWS = [{"prompt": f"q{i}", "reference": "a"} for i in range(12)]
ANSWERS = {row["prompt"]: {"a": i / 11, "b": 1 - i / 11} for i, row in enumerate(ROWS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    flatspot.diagnose(
        ROWS, flatspot.ScriptedEngine(ANSWERS), ["exact_match", "regex[pattern=a, b]"], max_completions=16, seed=3, out=folder
    )
    return folder


def test_it_holds_what_the_files_hold(folder):
    run = flatspot.open(folder)
    assert run.prompts.equals(pq.read_table(folder / "prompts.parquet"))
    assert run.verdicts.equals(pq.read_table(folder / "verdicts.parquet"))
    assert run.summary.to_json() == json.loads((folder / "report.json").read_text())
    rows = [row for file in sorted((folder / "rollouts").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert run.rollouts.to_pylist() == rows
    assert run.evidence.n.tolist() == [sum(row["prompt_id"] == name for row in rows) for name in run.ids]
    assert run.completions([run.ids[3]], per_prompt=2).num_rows == 2
    assert [batch.column_names for batch in run.batches(["reward"])] == [["reward"]] * len(list((folder / "rollouts").iterdir()))
    assert run.prompt(4).text == "q4" and run.prompt(4).columns == {"reference": "a"}


def test_the_request_names_everything_that_asks_for_it_again(folder):
    request = flatspot.open(folder).request
    assert request.rewards == ("exact_match", "regex[pattern=a, b]")
    assert (request.model, request.seed, request.out) == ("scripted (in memory)", 3, str(folder))
    assert flatspot.Request.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_summary_comes_back_from_its_json(folder):
    summary = flatspot.open(folder).summary
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    assert summary.counts.learnable == summary["counts"]["learnable"]
    assert Summary.from_json({**summary.to_json(), "added_later": 1}) == summary


def test_it_is_read_once(folder, monkeypatch):
    run, reads = flatspot.open(folder), []
    real = pq.ParquetFile.read
    monkeypatch.setattr(pq.ParquetFile, "read", lambda self, *args, **kwargs: reads.append(1) or real(self, *args, **kwargs))
    for _ in range(3):
        _ = run.prompts, run.verdicts, run.ids, run.numbers("mean"), run.gradients
    assert len(reads) == 2


def test_it_says_its_verdict(folder, tmp_path):
    run = flatspot.open(folder)
    assert repr(run).startswith(f"<Run {folder}: {run.summary.verdict}, ")
    assert run.summary.reason[:30] in str(run).replace("\n", " ")
    html = run._repr_html_()
    assert escape(run.summary.reason) in html and "<script" not in html and "<style" not in html
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    unjudged = flatspot.open(tmp_path)
    assert repr(unjudged).endswith("not judged>")
    with pytest.raises(flatspot.FlatspotError, match="has not been judged yet"):
        _ = unjudged.summary


def test_a_notebook_shows_what_reorders_or_hides_text(folder):
    run = flatspot.open(folder)
    hostile = "p\u202e</li><script>\x1b[2J"
    run = run.judged_as(run.verdicts, replace(run.summary, reason=hostile, caveats=(hostile,)), run.model)
    html = run._repr_html_()
    assert html.count("p⟦U+202E⟧&lt;/li&gt;&lt;script&gt;␛[2J") == 2 and "\u202e" not in html and "\x1b" not in html


def test_verbs_go_on_from_it(folder, tmp_path):
    run = flatspot.open(folder)
    assert run.export(tmp_path / "x.jsonl", verdicts=["learnable"]) == run.summary.counts.learnable
    again = run.rescore("exact_match", out=tmp_path / "again")
    assert again.request.rescored == str(folder) and again.summary.source == "diagnose"
    assert run.report(tmp_path / "own.html").stat().st_size > 10_000
    assert flatspot.inspect(run).verdicts.equals(run.verdicts)


def test_tables_of_other_libraries(folder):
    pandas = pytest.importorskip("pandas")
    frame = flatspot.open(folder).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns[:3]) == ["prompt_id", "prompt", "verdict"]
    assert frame["prompt"].tolist() == [row["prompt"] for row in ROWS]


def test_a_missing_library_is_named(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(flatspot.FlatspotError, match="pip install polars"):
        flatspot.open(folder).to_polars()


def test_a_read_only_folder_gives_a_run_that_was_not_written(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    before = (copy / "report.json").read_bytes()
    run = flatspot.inspect(copy, target_error=0.2)
    assert not run.written and run.summary.settings.target_error == 0.2
    assert (copy / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("run.json", {"request": []}),
        ("run.json", {"request": {"reward_range": [0.0]}}),
        ("run.json", {"request": {"limit": 1e400}}),
        ("run.json", {"request": {"columns": {"prompt": 3}}}),
        ("run.json", {"request": {"seed": "0"}}),
        ("run.json", {"before_loading": "x"}),
        ("run.json", {"rows_per_part": 1e400}),
        ("report.json", {"reward": {"range": [0.0]}}),
        ("report.json", {"n_prompts": 1e400}),
        ("report.json", {"settings": {"reward_range": ["a", "b"]}}),
        ("report.json", {"caveats": [1]}),
    ],
)
def test_a_file_of_other_types_is_named_as_damaged(folder, tmp_path, file, change):
    copy = shutil.copytree(folder, tmp_path / "copy")
    stored = json.loads((copy / file).read_text())
    stored.pop("sha256", None)
    (copy / file).write_text(json.dumps(stored | change))
    with pytest.raises(flatspot.FlatspotError, match=f"{file} is damaged"):
        _ = flatspot.open(copy).summary


def test_the_run_that_comes_back_has_the_request_of_this_call(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    ask = {"engine": "scripted", "max_completions": 4, "out": tmp_path / "run"}
    flatspot.diagnose(ROWS, str(tmp_path / "answers.json"), "exact_match", **ask)
    again = flatspot.diagnose(ROWS, str(tmp_path / "answers.json"), "exact_match", target_error=0.2, **ask)
    assert again.request == flatspot.open(tmp_path / "run").request and "--target-error" in again.request.resume


def test_a_run_without_rows_has_empty_tables(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "rollouts")
    rollouts = flatspot.open(tmp_path / "run").rollouts
    assert rollouts.num_rows == 0 and rollouts.schema.names == flatspot.open(folder).rollouts.schema.names


def test_a_damaged_report_is_not_taken_for_a_run_that_was_not_judged(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.json").write_text("{}")
    assert "damaged report.json" in repr(flatspot.open(tmp_path / "run"))
    (tmp_path / "run" / "report.json").unlink()
    assert "not judged" in repr(flatspot.open(tmp_path / "run"))

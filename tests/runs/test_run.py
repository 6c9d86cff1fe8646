"""`flatspot.Run`: what a run folder holds, read once; against the files themselves."""

import json
import shutil
from dataclasses import replace
from html import escape

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import SettingsError
from flatspot.rollouts.parts import part_file
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
    for text in (str(unjudged), unjudged._repr_html_()):
        assert "has not been judged yet" in text and f"flatspot inspect {tmp_path}" in text


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
        ("report.json", {"counts": None}),
        ("report.json", {"settings": None}),
        ("report.json", {"group_size": 10**19}),
        ("report.json", {"generations": {"total": 1, "tokens": 10**400}}),
        ("run.json", {"kind": "x"}),
        ("run.json", {"identity": {"sampling": None}}),
        ("run.json", {"visit_cost": 1e400}),
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


def test_names_and_rows_that_are_not_there_are_refused(folder):
    run = flatspot.open(folder)
    refusals = {
        "no column 'rewardz'; there are: prompt_id, prompt, completion": lambda: run.batches(["rewardz"]),
        "got 'nope'; there are: error_probability, p_learnable": lambda: run.numbers("nope"),
        "numeric column of the verdicts, got 'verdict'": lambda: run.numbers("verdict"),
        "no prompt with the id 'nope'": lambda: run.completions(["nope"]),
        "per_prompt must be at least 0, got -1": lambda: run.completions(per_prompt=-1),
        "12 prompts, in rows 0 to 11; got row 12": lambda: run.prompt(12),
        "got row -13": lambda: run.prompt(-13),
    }
    for message, call in refusals.items():
        with pytest.raises(SettingsError, match=message):
            call()
    with pytest.raises(IndexError):
        run.prompt(12)
    assert run.prompt(-1) == run.prompt(11)
    assert run.completions(run.ids[3]).equals(run.completions([run.ids[3]])) and run.completions(run.ids[3]).num_rows > 0
    assert next(run.batches("reward")).column_names == ["reward"]


def test_a_group_has_a_completion(folder):
    model = flatspot.open(folder).model
    for call in (model.pass_at, model.best_of, model.mixed, lambda k: model.forecast([8, k]), lambda k: model.mixed_shares([k])):
        for size in (0, -1, float("nan")):
            with pytest.raises(SettingsError, match="at least 1 completion"):
                call(size)
    assert (model.best_of(1).round(9) == 0).all()


def more_rows(run):
    """As a run that was continued and killed before it was judged: the rows of its last part again, in a part after it."""
    last = max((run / "rollouts").iterdir())
    shutil.copy(last, part_file(run, 99, 0))


def test_rows_drawn_after_the_judging_are_not_mixed_with_it(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    more_rows(copy)
    run = flatspot.open(copy)
    assert run.summary.n_prompts == 12 and run.verdicts.num_rows == 12  # the last judging, as it was
    for call in (lambda: run.model, run.plan):
        with pytest.raises(flatspot.FlatspotError, match=rf"was judged on [\d,]+ completions and holds .*flatspot inspect {copy}"):
            call()
    assert not (copy / "plan.parquet").exists()
    flatspot.inspect(copy)
    assert flatspot.open(copy).plan().labels_file.exists()


def test_files_of_two_judgings_are_not_mixed(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    old = (copy / "report.json").read_bytes()
    more_rows(copy)
    flatspot.inspect(copy)
    (copy / "report.json").write_bytes(old)
    with pytest.raises(flatspot.FlatspotError, match=rf"two judgings.*flatspot inspect {copy}"):
        _ = flatspot.open(copy).verdicts


def test_a_run_that_was_judged_again_meanwhile_writes_nothing(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    stale = flatspot.open(copy)
    _ = stale.summary, stale.verdicts
    flatspot.inspect(copy, group_size=4)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    for write in (stale.plan, stale.report):
        with pytest.raises(flatspot.FlatspotError, match=r"judged again after .* flatspot\.open\("):
            write()
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()} == before
    assert stale.plan(write=False).summary.group_size == 8  # of what was read
    assert stale.report(tmp_path / "elsewhere.html").exists()
    assert flatspot.open(copy).plan().summary.group_size == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "a run of another tool"}, "is not a run folder: its run.json is not flatspot's"),
        ({"schema_version": 99}, r"schema version 99; .* A newer flatspot wrote it\. Upgrade"),
        ({"schema_version": "2"}, "schema version '2'; "),
    ],
)
def test_a_run_json_of_others_is_told_apart(tmp_path, content, message):
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(flatspot.FlatspotError, match=message):
        flatspot.open(tmp_path)


def test_a_report_of_a_newer_flatspot_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "report.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(flatspot.FlatspotError, match=f"newer flatspot .*flatspot inspect {copy}"):
        _ = flatspot.open(copy).summary


def test_a_file_is_no_run_folder(folder, tmp_path):
    with pytest.raises(flatspot.FlatspotError, match=rf"run\.json is a file.*Give the run folder: {folder}\."):
        flatspot.open(folder / "run.json")
    (tmp_path / "x.json").write_text("{}")
    for verb in (flatspot.open, flatspot.plan):
        with pytest.raises(flatspot.FlatspotError, match=r"x\.json is a file"):
            verb(tmp_path / "x.json")

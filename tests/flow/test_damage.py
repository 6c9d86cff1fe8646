"""Every odd damage to a run folder is an error that says what fixes it, and that does fix it."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import EngineError, ImportFormatError, RewardLoadError, RunFolderError
from flatspot.engines.scripted import ScriptedEngine

ROWS = [{"prompt": "half", "reference": "1"}, {"prompt": "never", "reference": "1"}]


def draw(folder):
    engine = ScriptedEngine({"half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}})
    return flatspot.diagnose(ROWS, engine, "exact_match", out=folder, max_completions=8)


def rows_of(run):
    return [row for part in sorted((run / "rollouts").glob("part-*")) for row in pq.read_table(part).to_pylist()]


def changed(run, **values):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | values))


RECORD = {
    "empty": lambda run: (run / "run.json").write_text(""),
    "a list": lambda run: (run / "run.json").write_text("[]"),
    "no keys": lambda run: (run / "run.json").write_text("{}"),
    "no text": lambda run: (run / "run.json").write_bytes(b"\xff\xfe"),
    "a folder": lambda run: ((run / "run.json").unlink(), (run / "run.json").mkdir()),
    "identity": lambda run: changed(run, identity=[]),
    "asked": lambda run: changed(run, asked=None),
    "provenance": lambda run: changed(run, provenance=[]),
    "rows_per_part": lambda run: changed(run, rows_per_part=0),
}


@pytest.mark.parametrize("damage", RECORD)
def test_a_damaged_record(run, damage):
    RECORD[damage](run)
    for verb in (draw, flatspot.inspect, lambda run: flatspot.rescore(run, "exact_match", out=run.parent / "new")):
        with pytest.raises(RunFolderError, match=r"run.json is damaged .*Start anew with another --out"):
            verb(run)


@pytest.mark.parametrize("text", ["", "[]", '{"caveats": null}', '{"rounds": []}', '{"whole_groups": "x"}'])
def test_damaged_notes(run, text):
    (run / "notes.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"notes.json is damaged .*Delete it"):
        flatspot.inspect(run)
    (run / "notes.json").unlink()
    assert draw(run).summary["n_prompts"] == 2


@pytest.mark.parametrize("content", [b"", b"PAR1", "columns", "cut", None])
@pytest.mark.parametrize("name", ["prompts.parquet", "rollouts/part-000-000000.parquet", "rounds/round-000.parquet"])
def test_a_damaged_table_is_named_and_drawn_again(run, whole, name, content):
    file = run / name
    if content is None:
        file.unlink()
    elif content == "columns":
        pq.write_table(pa.table({"other": [1]}), file)
    else:
        file.write_bytes((whole / name).read_bytes()[:200] if content == "cut" else content)
    if content is not None:
        with pytest.raises(RunFolderError, match=r"Delete that file"):
            draw(run)
        for verb in (
            lambda: flatspot.export(run, run.parent / "x.jsonl"),
            lambda: flatspot.export(run, run.parent / "x.csv", completions=True),
        ):
            try:
                verb()
            except RunFolderError as error:
                assert file.name in str(error)
        file.unlink()
    draw(run)
    assert rows_of(run) == rows_of(whole)


def test_damaged_verdicts_are_judged_again(run):
    (run / "verdicts.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match=r"Run flatspot inspect .*writes it anew"):
        flatspot.export(run, run.parent / "x.jsonl")
    flatspot.inspect(run)
    assert flatspot.export(run, run.parent / "x.jsonl") == 2


def test_a_folder_without_its_rows_is_drawn_again(run, whole):
    shutil.rmtree(run / "rollouts")
    draw(run)
    assert rows_of(run) == rows_of(whole)


def test_a_log_whose_prompts_were_deleted_is_read_again(tmp_path):
    (tmp_path / "log.csv").write_text("prompt,reward\na,1\nb,0\n")
    run = flatspot.inspect(tmp_path / "log.csv", out=tmp_path / "run").folder
    (run / "prompts.parquet").unlink()
    assert flatspot.inspect(tmp_path / "log.csv", out=run).summary["n_prompts"] == 2


def test_a_run_that_failed_before_its_first_row_may_be_asked_otherwise(tmp_path):
    with pytest.raises(EngineError, match="half"):
        flatspot.diagnose(ROWS, ScriptedEngine({"never": {"0": 1.0}}), "exact_match", out=tmp_path / "run")
    assert (tmp_path / "run" / "run.json").exists()
    assert draw(tmp_path / "run").summary["generations"]["total"] == 16


def test_a_log_that_could_not_be_read_may_be_mended(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("prompt,score,x\n")
    with pytest.raises(ImportFormatError, match="no rows"):
        flatspot.inspect(log, out=tmp_path / "run")
    log.write_text("prompt,score,x\na,1,2\n")
    assert flatspot.inspect(log, out=tmp_path / "run").summary["n_prompts"] == 1


def test_references_that_no_prompt_has_speak_before_drawing(tmp_path):
    rows = [{"prompt": "half", "answer": "1"}]
    with pytest.raises(RewardLoadError, match="Call the column with the right answers 'reference'"):
        flatspot.diagnose(rows, ScriptedEngine({}), "exact_match", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

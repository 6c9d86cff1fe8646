"""`flatspot diagnose` on servers: the run folder, from the first row to the last."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import stub_server
from stub_server import Stub

import flatspot
from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot.engines.server import check, engine

ANSWERS = {f"q{i}": {"yes": i / 10, "no": 1 - i / 10} for i in range(11)}
PROMPTS = [{"prompt": text, "reference": "yes"} for text in ANSWERS]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(check, "DRAWS", 32)


def diagnose(out, *urls, prompts=PROMPTS, **settings):
    return flatspot.diagnose(
        prompts, "letters", "exact_match", out=out, base_url=urls, fixed_completions=True, max_completions=12, concurrency=8, **settings
    )


def rows_of(run):
    files = sorted((run.folder / "rollouts").glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(((row["prompt_id"], row["sample_idx"], row["completion"], row["reward"], row["error"]) for row in rows), key=str)


def test_a_run_whose_last_server_goes_away_is_whole_and_resumes_to_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(engine.ServerEngine, "rows_per_call", 24)
    with Stub(ANSWERS) as stub:
        whole = diagnose(tmp_path / "whole", stub.url)
        monkeypatch.setattr(
            engine.ServerEngine.__init__, "__kwdefaults__", engine.ServerEngine.__init__.__kwdefaults__ | {"give_up_s": 0.3}
        )
        start = len(stub.rows())

        def dies(number, body):
            stub.ways.down = stub.ways.down or len(stub.rows()) - start > 70
            return "500" if stub.ways.down else None

        stub.ways.faults = dies
        with pytest.raises(EngineError, match="no server is left"):
            diagnose(tmp_path / "stopped", stub.url)
        begun = pq.read_table(next((tmp_path / "stopped" / "rollouts").glob("*.parquet")))
        assert len(begun) == 24
        stub.ways.faults, stub.ways.down = (lambda number, body: None), False
        with Stub(ANSWERS) as other:
            resumed = diagnose(tmp_path / "stopped", stub.url, other.url)
    assert rows_of(resumed) == rows_of(whole) and len(rows_of(whole)) == 11 * 12
    assert resumed.verdicts.equals(whole.verdicts)


def test_a_prompt_that_the_server_rejects_is_unscored_and_the_others_are_judged(tmp_path):
    with Stub(ANSWERS) as stub:
        stub.ways.faults = lambda number, body: "too long" if body["prompt"] == "q5" else None
        run = diagnose(tmp_path / "run", stub.url)
    verdict = dict(zip([row["prompt"] for row in PROMPTS], run.verdicts["verdict"].to_pylist(), strict=True))
    assert verdict.pop("q5") == "unscored" and "unscored" not in verdict.values()
    rejected = [row for row in rows_of(run) if row[4] is not None]
    assert len(rejected) == 12 and all(row[2] is None and row[3] is None and "longer than the context" in row[4] for row in rejected)
    assert any("longer than the context" in caveat for caveat in run.summary.caveats)
    again = run.rescore("exact_match", out=tmp_path / "again")
    assert again.verdicts["verdict"].to_pylist() == run.verdicts["verdict"].to_pylist(), "no completion is no zero for another reward"


def test_a_key_is_nowhere_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Stub(ANSWERS) as stub:
        stub.ways.key = "sk-secret"
        run = diagnose(tmp_path / "run", stub.url)
    assert not [file for file in run.folder.rglob("*") if file.is_file() and b"sk-secret" in file.read_bytes()]
    stored = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert stub.url in stored["request"]["resume"] and stub.url not in json.dumps(stored["identity"])


@pytest.fixture
def other_model(monkeypatch):
    """Another model under the same name: its first tokens after the check's prompts, and its answers."""
    law_of = stub_server.law_of
    return lambda: monkeypatch.setattr(stub_server, "law_of", lambda text: law_of(text + "!"))


@pytest.mark.parametrize("complete", [True, False])
def test_another_model_under_the_same_name_neither_resumes_nor_answers_a_run(tmp_path, other_model, complete):
    folder = tmp_path / "run"
    with Stub(ANSWERS) as stub:
        diagnose(folder, stub.url)
        assert diagnose(folder, stub.url).verdicts.num_rows == 11, "the same model answers"
    if not complete:
        next((folder / "rollouts").glob("*.parquet")).unlink()
        (folder / "verdicts.parquet").unlink()
        with Stub(ANSWERS) as stub:
            diagnose(folder, stub.url)
        (folder / "notes.json").unlink()
    other_model()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with Stub(ANSWERS) as stub:
        with pytest.raises(RunFolderError, match=r"rows of another model.* differ by .* nats .* Give another --out, or serve the model"):
            diagnose(folder, stub.url)
        assert not stub.rows()
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
        rescored = flatspot.rescore(folder, "exact_match", out=tmp_path / "rescored").folder
        with pytest.raises(RunFolderError, match="rows of another model"):
            diagnose(rescored, stub.url)
        assert diagnose(tmp_path / "other", stub.url).verdicts.num_rows == 11


def test_a_folder_without_signs_of_its_model_is_told_of_and_has_them_then(tmp_path, other_model):
    said = []
    with Stub(ANSWERS) as stub:
        run = diagnose(tmp_path / "run", stub.url)
        (run.folder / "model.json").unlink()
        diagnose(run.folder, stub.url, say=said.append)
        assert any("has rows and no model.json" in text for text in said)
        (run.folder / "model.json").write_text("{}", "utf-8")
        with pytest.raises(RunFolderError, match=r"model\.json is damaged"):
            diagnose(run.folder, stub.url)


def test_the_name_that_a_server_has_for_the_model_is_part_of_the_run(tmp_path):
    with Stub(ANSWERS) as stub:
        stub.ways.models = ("letters", "letters-q4")
        run = diagnose(tmp_path / "run", stub.url)
        with pytest.raises(RunFolderError, match=r'engine\.served_name: nothing there, "letters-q4" now'):
            diagnose(run.folder, stub.url, served_name="letters-q4")
        stored = json.loads((diagnose(tmp_path / "q4", stub.url, served_name="letters-q4").folder / "run.json").read_text("utf-8"))
    assert stored["before_loading"]["engine"]["served_name"] == "letters-q4"


@pytest.mark.parametrize("key", ["sk-se\ncret", "sk-sécret"])
def test_a_key_that_no_request_can_carry_is_a_user_error(tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with Stub(ANSWERS) as stub, pytest.raises(SettingsError, match="OPENAI_API_KEY is no key"):
        diagnose(tmp_path / "run", stub.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-good\n")
    with Stub(ANSWERS) as stub:
        stub.ways.key = "sk-good"
        assert diagnose(tmp_path / "run", stub.url).verdicts.num_rows == 11


def test_addresses_and_the_engine_belong_together(tmp_path):
    with pytest.raises(SettingsError, match="--base-url is for --engine openai"):
        diagnose(tmp_path, "http://localhost:1", engine="hf")
    with pytest.raises(SettingsError, match="needs the address of a server"):
        diagnose(tmp_path, engine="openai")
    with pytest.raises(EngineError, match="no weights to differentiate"):
        diagnose(tmp_path, "http://localhost:1", gradients=True)

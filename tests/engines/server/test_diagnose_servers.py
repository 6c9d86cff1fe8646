"""`flatspot diagnose` on servers: the run folder, from the first row to the last."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from stub_server import Stub

import flatspot
from flatspot.core.errors import EngineError, SettingsError
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


def test_addresses_and_the_engine_belong_together(tmp_path):
    with pytest.raises(SettingsError, match="--base-url is for --engine openai"):
        diagnose(tmp_path, "http://localhost:1", engine="hf")
    with pytest.raises(SettingsError, match="needs the address of a server"):
        diagnose(tmp_path, engine="openai")
    with pytest.raises(EngineError, match="no weights to differentiate"):
        diagnose(tmp_path, "http://localhost:1", gradients=True)

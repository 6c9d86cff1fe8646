"""A stored run is replayed once and resumed from there; one that an older flatspot left interrupted too."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import RunFolderError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts.parts import parts_of, read_rounds
from flatspot.stats.triage.decider import Adaptive

INTERRUPTED = Path(__file__).parent / "interrupted"  # written by 0.1, killed in its fourth round, of 20 completions a part
ANSWERS = {f"q{i}": {"yes": i / 12, "no": 1 - i / 12} for i in range(13)}
ANSWERS = {prompt: {answer: p for answer, p in answers.items() if p} for prompt, answers in ANSWERS.items()}


def diagnose(out, max_completions=24, engine=None):
    engine = engine or ScriptedEngine(ANSWERS)
    engine.rows_per_call = 20
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
    return flatspot.diagnose(rows, engine, "exact_match", out=out, max_completions=max_completions, group_size=4)


def rows_of(folder):
    names = ["prompt_id", "sample_idx", "completion", "reward", "fixed"]
    rows = pq.read_table(folder / "rollouts", columns=names).to_pylist()
    return sorted(rows, key=lambda row: (row["prompt_id"], row["sample_idx"]))


@pytest.fixture
def absorbed(monkeypatch):
    """The (prompts, first) of every round that a decider absorbs, in order."""
    absorbed_rounds, absorb = [], Adaptive.absorb

    def counts(self, drawn, rewards, seen=None):
        absorbed_rounds.append((drawn.prompts.tolist(), drawn.first.tolist()))
        return absorb(self, drawn, rewards, seen)

    monkeypatch.setattr(Adaptive, "absorb", counts)
    return absorbed_rounds


@pytest.fixture
def calls(monkeypatch):
    """How many completions each call of the engine draws."""
    seen, sample = [], ScriptedEngine.sample

    def counts(self, requests, sampling, on_tokens=None):
        seen.append(sum(len(request.seeds) for request in requests))
        return sample(self, requests, sampling, on_tokens)

    monkeypatch.setattr(ScriptedEngine, "sample", counts)
    return seen


def rounds_of(folder):
    return [(this.prompts.tolist(), this.first.tolist()) for this in read_rounds(folder)]


def test_an_interrupted_run_of_an_older_flatspot_ends_with_the_rows_of_a_whole_one(tmp_path, absorbed, calls):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    before = rows_of(tmp_path / "run")
    whole = diagnose(tmp_path / "whole")
    missing = len(calls) - 5
    absorbed.clear(), calls.clear()
    resumed = diagnose(tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole") and rounds_of(tmp_path / "run") == rounds_of(tmp_path / "whole")
    assert resumed.verdicts.equals(whole.verdicts)
    assert len(calls) == missing and all(row in rows_of(tmp_path / "run") for row in before)
    assert absorbed == rounds_of(tmp_path / "run")  # each once, in order: stored ones and new ones alike


def test_a_round_that_is_there_in_part_is_completed_and_each_round_replayed_once(tmp_path, absorbed, calls):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    diagnose(tmp_path / "whole")
    (tmp_path / "run" / "rollouts" / "part-000-000001.parquet").unlink()
    absorbed.clear(), calls.clear()
    diagnose(tmp_path / "run")
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")
    assert calls[0] == 20 and absorbed == rounds_of(tmp_path / "run")


@pytest.mark.parametrize("identified", [True, False], ids=["file", "in memory"])
def test_a_complete_run_is_replayed_once_and_draws_nothing(tmp_path, absorbed, calls, identified):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
    policy = str(tmp_path / "answers.json") if identified else ScriptedEngine(ANSWERS)

    def again(**settings):
        engine = "scripted" if identified else "auto"
        return flatspot.diagnose(rows, policy, "exact_match", out=tmp_path / "run", max_completions=24, engine=engine, **settings)

    again()
    parts = parts_of(tmp_path / "run")
    absorbed.clear(), calls.clear()
    again(group_size=4)
    assert not calls and absorbed == rounds_of(tmp_path / "run") and parts_of(tmp_path / "run") == parts


def test_what_another_call_planned_is_refused_before_it_is_replayed(tmp_path, absorbed):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    with pytest.raises(RunFolderError, match="already plans"):
        diagnose(tmp_path / "run", max_completions=4)
    assert not absorbed


def test_rounds_that_another_process_drew_meanwhile_are_taken_in(tmp_path, absorbed, calls, monkeypatch):
    """Between the replay, which needs no lock, and the drawing, which has it."""
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    whole = diagnose(tmp_path / "whole")
    open_run = flatspot.flow.draw.open_run

    def slow(path, **settings):
        for part in ("rounds", "rollouts"):
            shutil.copytree(tmp_path / "whole" / part, path / part, dirs_exist_ok=True)
        return open_run(path, **settings)

    monkeypatch.setattr("flatspot.flow.draw.open_run", slow)
    absorbed.clear(), calls.clear()
    assert diagnose(tmp_path / "run").verdicts.equals(whole.verdicts)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")
    assert not calls and absorbed == rounds_of(tmp_path / "whole")

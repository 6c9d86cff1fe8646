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


def diagnose(out, engine=None, **settings):
    engine = engine or ScriptedEngine(ANSWERS)
    engine.rows_per_call = 20
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
    return flatspot.diagnose(rows, engine, "exact_match", out=out, group_size=4, **(settings or {"max_completions": 24}))


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


def test_an_interrupted_run_of_an_older_flatspot_ends_with_every_row_that_it_planned(tmp_path, absorbed, calls):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    before, planned = rows_of(tmp_path / "run"), rounds_of(tmp_path / "run")
    every = {
        (row["prompt_id"], row["sample_idx"]): row
        for row in rows_of(diagnose(tmp_path / "fixed", fixed_completions=True, max_completions=24).folder)
    }
    absorbed.clear(), calls.clear()
    diagnose(tmp_path / "run")
    after, rounds = rows_of(tmp_path / "run"), rounds_of(tmp_path / "run")
    assert all(row in after for row in before) and len(before) + sum(calls) == len(after)
    assert rounds[: len(planned)] == planned and absorbed == rounds  # each once, in order: stored ones and new ones alike
    same = ("completion", "reward")  # whoever decided on a row, it is the one of its prompt and number
    assert all(all(row[name] == every[row["prompt_id"], row["sample_idx"]][name] for name in same) for row in after)
    drawn = {prompt: [row["sample_idx"] for row in after if row["prompt_id"] == prompt] for prompt, _ in every}
    assert all(numbers == list(range(len(numbers))) for numbers in drawn.values())


def test_a_round_that_is_there_in_part_is_completed_and_each_round_replayed_once(tmp_path, absorbed, calls):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    shutil.copytree(INTERRUPTED, tmp_path / "lacking")
    diagnose(tmp_path / "run")
    (tmp_path / "lacking" / "rollouts" / "part-000-000001.parquet").unlink()
    absorbed.clear(), calls.clear()
    diagnose(tmp_path / "lacking")
    assert rows_of(tmp_path / "lacking") == rows_of(tmp_path / "run")
    assert calls[0] == 20 and absorbed == rounds_of(tmp_path / "lacking") == rounds_of(tmp_path / "run")


@pytest.mark.parametrize("identified", [True, False], ids=["file", "in memory"])
def test_a_complete_run_is_replayed_once_and_draws_nothing(tmp_path, absorbed, calls, identified):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
    policy = str(tmp_path / "answers.json") if identified else ScriptedEngine(ANSWERS)

    def again():
        engine = "scripted" if identified else "auto"
        return flatspot.diagnose(rows, policy, "exact_match", out=tmp_path / "run", max_completions=24, engine=engine)

    again()
    parts = parts_of(tmp_path / "run")
    absorbed.clear(), calls.clear()
    again()
    assert not calls and absorbed == rounds_of(tmp_path / "run") and parts_of(tmp_path / "run") == parts


def test_what_another_call_planned_is_refused_before_it_is_replayed(tmp_path, absorbed):
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    with pytest.raises(RunFolderError, match="already plans"):
        diagnose(tmp_path / "run", max_completions=4)
    assert not absorbed


def test_rounds_that_another_process_drew_meanwhile_are_taken_in(tmp_path, absorbed, calls, monkeypatch):
    """Between the replay, which needs no lock, and the drawing, which has it."""
    shutil.copytree(INTERRUPTED, tmp_path / "run")
    shutil.copytree(INTERRUPTED, tmp_path / "whole")
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

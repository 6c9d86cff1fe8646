"""Run folders that flatspot 0.1.0 wrote (schema version 1, in version_1/) are read, judged and resumed."""

import json
import os
import shutil
from pathlib import Path

import pytest

import flatspot
from flatspot.core.errors import RunFolderError
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.rollouts.files import read_json

REWARDS = ["exact_match", "regex[pattern=a, or b|a]"]
ASKED = {"engine": "scripted", "reward_weights": (1.0, 0.5), "seed": 3, "out": "run"}
STAMP = 1796022282446394505  # of answers.json, when the run was drawn


@pytest.fixture
def old(tmp_path, monkeypatch):
    shutil.copytree(Path(__file__).parent / "version_1", tmp_path, dirs_exist_ok=True)
    os.utime(tmp_path / "answers.json", ns=(STAMP, STAMP))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(report):
    """What must not change: all but names of settings, versions and times."""
    left_out = ("schema_version", "settings", "provenance", "reward_model", "caveats", "caveat_codes")
    return dict(flat({name: value for name, value in report.items() if name not in left_out}))


def flat(value, place=""):
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{place}/{key}")
    else:
        yield place, value


def test_what_was_asked_is_read_from_where_it_was(old):
    request = flatspot.open("run").request
    assert (request.prompts, request.model, request.rewards) == ("prompts.jsonl", "answers.json", tuple(REWARDS))
    assert (request.reward_weights, request.reward_range, request.out) == ((1.0, 0.5), (0.0, 1.5), "run")
    assert request.resume == ("--seed", "3", "--max-completions", "12")
    log = flatspot.open("log")
    assert log.request.columns == {"prompt_id": "id", "prompt": "question", "reward": "score"} and log.request.grouped_by == ("id",)
    assert log.notes.caveats[0].startswith("Rows are grouped by `id`")


# that one of two rewards is flat on some prompts; limits of shares that hold where prompts crowd at a threshold; that the verdict on six
# prompts is in doubt; the worst case of these very verdicts, not of their mean; and the forecast of these very prompts
SAID_SINCE = (
    "/verdict",
    "/rule",
    "/predicted_error_limit",
    "/reason",
    "/health/flat_reward",
    *(f"/forecast/{size}/{end}" for size in (4, 8, 16, 32) for end in ("informative", "lo", "hi")),
    *(f"/fractions/{s}/{end}" for s in ("learnable", "vanishing", "solved") for end in ("lo", "hi")),
)


@pytest.mark.parametrize("name", ["run", "log"])
def test_it_is_judged_to_the_same_numbers(old, name):
    before = json.loads((old / name / "report.json").read_text())
    summary = flatspot.inspect(old / name).summary.to_json()
    now, then = numbers(summary), numbers(before)
    assert {key: now[key] for key in then if key not in SAID_SINCE} == pytest.approx(
        {key: value for key, value in then.items() if key not in SAID_SINCE}, nan_ok=True
    )
    since = [code for code in summary["caveat_codes"] if code not in before["caveat_codes"]]
    assert since == (["flat-component"] if name == "run" else [])
    kept = [text for text in before["caveats"] if "a close call" not in text or "close-call" in summary["caveat_codes"]]
    assert len(summary["caveats"]) == len(kept) + sum("the total varies" in text for text in summary["caveats"])


def test_the_same_call_keeps_its_rows_draws_on_where_it_is_in_doubt_and_leaves_a_folder_of_this_version(old, monkeypatch):
    rows = flatspot.open("run").rollouts
    run = flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=12, **ASKED)
    drawn = run.rollouts
    assert drawn.num_rows > rows.num_rows and drawn.slice(0, rows.num_rows).select(rows.column_names).equals(rows)
    monkeypatch.setattr("flatspot.engines.registry.load_engine", lambda *_, **__: pytest.fail("a complete run loads no engine"))
    run = flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=12, **ASKED)
    assert run.rollouts.equals(drawn)
    stored = read_json(old / "run" / "run.json")
    assert stored["schema_version"] == SCHEMA_VERSION and stored["request"]["reward"] == REWARDS and "asked" not in stored
    assert run.completeness is not None and run.completeness.ended


def test_more_completions_resume_it_as_if_it_were_of_this_version(old):
    resumed = flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=16, **ASKED)
    whole = flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=16, **ASKED | {"out": "whole"})
    first = resumed.rollouts.slice(0, 24)
    assert first.select(["prompt_id", "completion", "reward"]).equals(
        whole.rollouts.slice(0, 24).select(["prompt_id", "completion", "reward"])
    )
    assert resumed.summary.generations.total >= flatspot.open("whole").summary.generations.total


def test_a_version_that_is_not_read_is_refused(old):
    record = json.loads((old / "run" / "run.json").read_text())
    del record["sha256"]
    (old / "run" / "run.json").write_text(json.dumps(record | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(flatspot.FlatspotError, match=rf"has schema version {SCHEMA_VERSION + 1}; this flatspot reads"):
        flatspot.open("run")


def test_a_resumption_that_is_killed_at_once_loses_nothing_of_the_request(old, monkeypatch):
    """Version 1 kept the request in notes.json, which is written anew while a run is sampled: run.json has it before that."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flatspot.flow.draw.collect", interrupt)
    before = flatspot.open("run").request
    with pytest.raises(KeyboardInterrupt):
        flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=16, **ASKED)
    (old / "run" / "notes.json").write_text("{}")
    request = flatspot.open("run").request
    assert (request.rewards, request.reward_range, request.prompts) == (before.rewards, before.reward_range, before.prompts)


def test_a_folder_of_0_1_0_is_not_taken_for_ended_while_it_is_resumed(old, monkeypatch):
    """0.1.0 did not note how many rounds there were at the end: all there are then. That number stays when further ones are added."""
    notes = json.loads((old / "run" / "notes.json").read_text())
    (old / "run" / "notes.json").write_text(json.dumps({name: notes[name] for name in notes if name not in ("rounds", "sha256")}))
    assert flatspot.open("run").completeness.ended

    def stop(self, *_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.rollouts.notes.RewardNotes.end", stop)  # all of a further round is there
        flatspot.diagnose("prompts.jsonl", "answers.json", REWARDS, max_completions=16, **ASKED)
    assert not flatspot.open("run").completeness.ended


def test_its_damaged_notes_are_named_as_what_is_damaged(old):
    (old / "run" / "notes.json").write_text("[]")
    with pytest.raises(RunFolderError, match=r"notes\.json is damaged"):
        flatspot.open("run")

"""Proof from end to end: a scripted policy, whose probabilities are what its table says."""

from __future__ import annotations

import json

import pytest

import flatspot
from flatspot.rollouts.files import write_table
from flatspot.rollouts.tables import read_table

ANSWERS = {
    "flat": {"no": 0.9, "never": 0.08, "yes": 0.02},
    "mixed": {"no": 0.5, "yes": 0.4, "never": 0.1},
    "done": {"yes": 0.99, "no": 0.01},
    "spread": {f"no {i}": 0.01 for i in range(100)},
}


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    return tmp_path


def judged(folder, out="run", reward="exact_match", **options):
    settings = {
        "engine": "scripted",
        "reward_range": (0, 1),
        "max_completions": 16,
        "fixed_completions": True,
        "deterministic_reward": True,
    }
    settings |= options
    prompts = [{"prompt": text, "reference": "yes", "other": "no"} for text in ANSWERS]
    return flatspot.diagnose(prompts, str(folder / "answers.json"), reward, out=folder / out, **settings)


def test_known_mass_is_that_of_the_distinct_completions(policy):
    run = judged(policy)
    rows = run.rollouts.to_pylist()
    ids = run.ids
    for i, prompt in enumerate(ANSWERS):
        seen = {row["completion"] for row in rows if row["prompt_id"] == ids[i]}
        known = sum(ANSWERS[prompt][text] for text in seen)
        right = sum(ANSWERS[prompt][text] for text in seen if text == "yes")
        told = run.verdicts.slice(i, 1).to_pylist()[0]
        assert told["known_mass"] == pytest.approx(known)
        assert (told["mean_proved_lo"], told["mean_proved_hi"]) == pytest.approx((right, right + 1 - known))
    proved = dict(zip(ANSWERS, run.verdicts["proved"].to_pylist(), strict=True))
    assert proved == {"flat": True, "mixed": True, "done": True, "spread": False}
    assert run.summary.proved == 3
    why = run.verdicts["why"].to_pylist()
    assert [text.endswith("(proved)") for text in why] == [True, True, True, False]
    assert flatspot.open(run.folder).model.proved.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, False),
        ({"fixed_completions": False}, True),
        ({"fixed_completions": False, "deterministic_reward": False}, False),
        ({"fixed_completions": False, "deterministic_reward": False, "reward_range": None}, False),
    ],
)
def test_which_completions_a_round_drew_is_read_only_where_it_may_prove_something(policy, monkeypatch, options, read):
    from flatspot.rollouts import completeness, store
    from flatspot.runs import run as runs

    calls = []
    for module, name, function in (
        (store, "read_seen", store.read_seen), (completeness, "read_seen", completeness.read_seen), (runs, "read_known", runs.read_known)
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *args, f=function, n=name: calls.append(n) or f(*args))
    judged(policy, **options)
    judged(policy, **options)  # replays what is there
    assert ("read_seen" in calls) == read
    assert ("read_known" in calls) == options.get("deterministic_reward", True)


def test_a_run_drawn_before_probabilities_were_kept_is_judged_without_them(policy):
    run = judged(policy)
    for part in (run.folder / "rollouts").glob("*.parquet"):
        table = read_table(part)
        part.unlink()
        write_table(table.drop_columns(["logprob"]), part)
    again = flatspot.inspect(run.folder)
    assert again.verdicts["proved"].to_pylist() == [None] * 4
    assert again.verdicts["known_mass"].null_count == 4
    assert again.summary.proved is None


def test_unless_the_user_says_that_the_reward_repeats_itself_nothing_is_proved(policy):
    run = judged(policy, deterministic_reward=False)
    assert run.rollouts["logprob"].null_count == 0
    assert run.summary.proved is None
    again = flatspot.inspect(run.folder, deterministic_reward=True, reward_range=(0, 1))
    assert again.summary.proved == 3
    stated = judged(policy, out="stated")
    assert flatspot.inspect(stated.folder).summary.proved == 3  # it stays with the run


def test_scored_again_the_probabilities_stay(policy):
    run = judged(policy)
    again = flatspot.rescore(run.folder, "exact_match", out=policy / "again", reward_range=(0, 1), deterministic_reward=True)
    assert again.rollouts["logprob"].to_pylist() == run.rollouts["logprob"].to_pylist()
    assert again.summary.proved is not None
    assert again.verdicts["mean_proved_lo"].equals(run.verdicts["mean_proved_lo"])


def test_a_proved_prompt_is_not_drawn_again(policy):
    run = judged(policy, max_completions=64, fixed_completions=False)
    drawn = dict(zip(ANSWERS, run.verdicts["n_samples"].to_pylist(), strict=True))
    assert max(drawn["flat"], drawn["mixed"], drawn["done"]) < drawn["spread"]
    again = judged(policy, max_completions=64, fixed_completions=False)
    assert again.verdicts.equals(run.verdicts)

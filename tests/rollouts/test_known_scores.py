"""Completions that come again are not scored again where the reward repeats itself, but for a few."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import flatspot
from flatspot.core.records import Completion, Prompt, Sampling
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import load_reward
from flatspot.rollouts.completions import draw_completions
from flatspot.rollouts.known_scores import AGAIN, KnownScores

ANSWERS = {"flat": {"no": 0.9, "never": 0.08, "yes": 0.02}, "mixed": {"no": 0.5, "yes": 0.5}}
PROMPTS = [{"prompt": text, "reference": "yes"} for text in ANSWERS]
SETTINGS = {"reward_range": (0, 1), "max_completions": 64, "fixed_completions": True}


def drawn(tmp_path, out, value=lambda text: float(text == "yes"), **settings):
    """A run, and how many completions its reward was asked for while it was drawn; it may run in another process."""
    log = tmp_path / f"{out}.log"

    def reward(completions, **_):
        with log.open("a") as file:
            file.write("x" * len(completions))
        return [value(text) for text in completions]

    run = flatspot.diagnose(PROMPTS, ScriptedEngine(ANSWERS), reward, out=tmp_path / out, **SETTINGS | settings)
    return run, log.stat().st_size if log.exists() else 0


def test_rewards_are_the_same_with_a_fraction_of_the_calls(tmp_path):
    (plain, every), (run, fewer) = drawn(tmp_path, "plain"), drawn(tmp_path, "run", deterministic_reward=True)
    for name in ("completion", "sample_idx", "reward", "rewards"):
        assert run.rollouts[name].to_pylist() == plain.rollouts[name].to_pylist()
    copied = np.array(run.rollouts["copied"].to_pylist()) == True  # noqa: E712
    distinct = sum(len({r["completion"] for r in run.rollouts.to_pylist() if r["prompt_id"] == i}) for i in run.ids)
    again = 128 - distinct - int(copied.sum())
    assert 128 / AGAIN / 3 < again < 128 / AGAIN * 2.5
    assert copied.sum() > 80
    assert every - fewer >= copied.sum()  # it is asked a few times more to see what it is
    assert plain.rollouts["copied"].null_count == 128


def test_a_reward_that_does_not_repeat_itself_is_found_out(tmp_path):
    rng = np.random.default_rng(0)
    run, _ = drawn(tmp_path, "run", lambda text: float(rng.random() < 0.5), deterministic_reward=True)
    assert run.summary.proved is None
    assert "noisy-reward" in run.summary.caveat_codes
    assert run.summary.health.noise_share > 0.3


def test_copied_scores_are_no_part_of_the_share_of_noise(tmp_path):
    rng, calls = np.random.default_rng(0), []

    def later(text):
        calls.append(text)  # it shows itself only once the run is under way
        return float(text == "yes") if len(calls) < 40 else float(rng.random() < 0.5)

    run, _ = drawn(tmp_path, "run", later, deterministic_reward=True, max_completions=256)
    rows = run.rollouts.to_pandas()
    asked = rows[rows["copied"].isna() | (rows["copied"] == False)]  # noqa: E712
    assert len(asked) < len(rows) / 2
    texts = asked.groupby(["prompt_id", "completion"])["reward"].agg(["count", "var", lambda r: r.var(ddof=0) * len(r)])
    squares = texts.loc[texts["var"] > 0].iloc[:, 2].sum()
    again = (texts["count"] - 1).groupby("prompt_id").sum()
    share = squares / (again * asked.groupby("prompt_id")["reward"].var()).sum()
    assert run.table.signs.noise_share(run.table.evidence.std) == pytest.approx(min(share, 1.0)) and share > 0.3


@pytest.mark.parametrize("fixed", [True, False])
def test_a_reward_that_a_second_call_contradicts_proves_nothing_and_is_copied_nowhere(tmp_path, fixed):
    """Of four equal completions hardly one is scored again; what the first look at the reward showed counts all the same."""
    rng = np.random.default_rng(0)
    prompts, engine = [{"prompt": "?", "reference": "yes"}], ScriptedEngine({"?": {"no": 0.97, "yes": 0.03}})

    def reward(completions, **_):
        return [float(rng.random() < 0.5) for _ in completions]

    settings = {"deterministic_reward": True, "reward_range": (0, 1), "max_completions": 4, "fixed_completions": fixed}
    run = flatspot.diagnose(prompts, engine, reward, out=tmp_path / "run", **settings)
    assert run.summary.proved is None and run.verdicts["known_mass"].null_count == 1
    assert "noisy-reward" in run.summary.caveat_codes
    assert run.rollouts["copied"].null_count == 4


def test_what_is_scored_after_a_failure_is_known_at_once_as_it_is_after_a_restart():
    values = iter([None] + [1.0] * 20)

    def reward(completions, **_):
        return [next(values) for _ in completions]

    known, engine = KnownScores(3, remembers=True), ScriptedEngine({"?": {"x": 1.0}})
    with load_reward(reward) as loaded:
        first, then = (
            draw_completions([(Prompt("a", "?"), part)], engine, loaded, Sampling(), seed=1, known=known)
            for part in (range(2), range(2, 12))
        )
    assert [row.score.reward for row in first] == [None, 1.0]
    after_restart = KnownScores(3, remembers=True)
    after_restart.remember("a", "x", False, first[1].score)
    wanted = after_restart.to_score([(row.prompt, row.index, row.completion) for row in then])
    assert [not row.copied for row in then] == wanted and not all(wanted)


def test_a_run_of_which_a_part_is_missing_goes_on_to_the_same_rows(tmp_path):
    settings = {"deterministic_reward": True, "fixed_completions": False, "target_error": 0.01, "max_completions": 24}
    whole, asked = drawn(tmp_path, "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    later = [part for part in (tmp_path / "killed/rollouts").iterdir() if not part.name.startswith("part-000")]
    assert later  # else nothing is tested
    for part in later:
        part.unlink()
    again, fewer = drawn(tmp_path, "killed", **settings)
    rows, other = (run.rollouts.select(["prompt_id", "completion", "sample_idx", "reward", "copied"]).to_pylist() for run in (whole, again))
    assert rows == other
    assert 0 < fewer < asked


def test_only_what_came_before_is_copied_and_a_failure_is_asked_for_again():
    prompt = Prompt("a", "?", {"reference": "yes"})
    rows = [(prompt, i, Completion(text, 1, cut)) for i, (text, cut) in enumerate([("x", False), ("x", False), ("x", True), ("y", False)])]
    known = KnownScores(0, remembers=True)
    scored = known.to_score(rows)
    assert scored[0] and scored[2] and scored[3]  # one that was cut is another completion
    failing = iter([None] + [1.0] * 20)

    def reward(completions, **_):
        return [next(failing) for _ in completions]

    with load_reward(reward) as loaded:
        block = [(prompt, range(6))]
        out = draw_completions(block, ScriptedEngine({"?": {"x": 1.0}}), loaded, Sampling(), seed=1, known=KnownScores(3, remembers=False))
    assert out[0].score.reward is None
    assert all(row.score.reward == 1.0 for row in out[1:])
    assert not any(row.copied for row in out if row.score.reward is None)


def test_prompts_do_not_share_scores():
    known = KnownScores(0, remembers=True)
    rows = [(Prompt(name, "?"), 0, Completion("x", 1, False)) for name in "ab"]
    assert known.to_score(rows) == [True, True]
    assert known.to_score([*rows, rows[0]])[:2] == [True, True]

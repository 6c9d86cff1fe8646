"""What makes a set impossible to judge, and what must not stay hidden behind a calm headline."""

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flatspot
from flatspot.cli.output import stopped_by
from flatspot.engines.scripted import ScriptedEngine
from flatspot.report.blocks import headline
from flatspot.report.run.next_steps import next_steps
from flatspot.runs.summary import Summary
from flatspot.runs.table import RunTable
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.signs import Signs
from flatspot.verdicts.codes import CODES
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import judge

REPOSITORY = Path(__file__).parents[2]


def run_of(rewards, *, parts=None, signs=None, truncated=np.nan):
    """A run of M prompts with n rewards each; parts {name: [M, n]}."""
    rewards = np.asarray(rewards, float)
    m, n = rewards.shape
    nan = np.full(m, np.nan)
    at = np.repeat(np.arange(m), n)
    components = {name: evidence_of_rows(at, np.asarray(values, float).ravel(), m) for name, values in (parts or {}).items()}
    evidence = evidence_of_rows(at, rewards.ravel(), m)
    cut = np.full(m, truncated)
    return RunTable(
        np.arange(m).astype(str).astype(object),
        nan,
        evidence,
        np.full(m, n),
        nan,
        cut,
        nan,
        components,
        np.ones(m, bool),
        [],
        signs or Signs.none(m),
    )


def verdict_of(*args, settings=None, weights=None, **kwargs):
    summary = judge(run_of(*args, **kwargs), settings or JudgeSettings(), weights=weights).summary.to_json()
    return summary["verdict"], summary


def coins(m, n, p, seed=0):
    return (np.random.default_rng(seed).random((m, n)) < np.broadcast_to(p, (m,))[:, None]).astype(float)


def noisy(m, repeats, variance):
    return Signs(np.full(m, repeats), np.full(m, repeats), np.full(m, repeats * variance))


def test_a_reward_that_is_noise_is_fixed_before_anything_else():
    rewards = coins(40, 16, 0.5)
    found, summary = verdict_of(rewards, signs=noisy(40, 10, 0.25))
    assert found == "fix-reward"
    assert summary["rule"].startswith("variance between equal completions")
    assert "noisy-reward" in summary["caveat_codes"]
    assert summary["health"]["noise_share"] == pytest.approx(0.25 / np.mean(flatspot.reward_std(rewards) ** 2))


@pytest.mark.parametrize(("variance", "title"), [(0.002, "Proceed with RL"), (0.1, "Proceed, but the reward is noisy")])
def test_a_little_noise_is_a_caveat(variance, title):
    found, summary = verdict_of(coins(40, 16, 0.5), signs=noisy(40, 10, variance))
    assert found == "proceed"
    assert "noisy-reward" in summary["caveat_codes"]
    assert headline(Summary.from_json(summary))[0] == title


def test_a_few_repeats_prove_nothing_but_are_said():
    signs = noisy(40, 0, 0.25)
    signs.repeats[:2] = signs.unequal[:2] = 3
    signs.squares[:2] = 0.75
    found, summary = verdict_of(coins(40, 16, 0.5), signs=signs)
    assert found == "proceed"
    assert "noisy-reward" in summary["caveat_codes"]


def test_random_rewards_are_noticed_from_the_completions_alone(tmp_path):
    """In diagnose, and in rescore and inspect of what it drew."""
    prompts = [{"prompt": f"q{i}", "reference": "a"} for i in range(12)]
    answers = ScriptedEngine({row["prompt"]: {"a": 0.6, "b": 0.4} for row in prompts})
    rng = random.Random(0)

    def noise(completions, **columns):
        return [rng.random() for _ in completions]

    settings = {"max_completions": 8, "fixed_completions": True}
    drawn = flatspot.diagnose(prompts, answers, "exact_match", out=tmp_path / "fine", **settings)
    assert "noisy-reward" not in drawn.summary["caveat_codes"]
    for found in (
        flatspot.diagnose(prompts, answers, noise, out=tmp_path / "noise", **settings),
        flatspot.rescore(tmp_path / "fine", noise, out=tmp_path / "again"),
        flatspot.inspect(tmp_path / "noise"),
    ):
        assert found.summary["verdict"] == "fix-reward"
        assert found.summary["rule"].startswith("variance between equal completions")
        assert found.summary["caveat_codes"][0] == "noisy-reward"


def test_a_flat_part_under_a_varying_total_is_in_the_headline():
    form = coins(40, 16, 0.5)
    found, summary = verdict_of(form, parts={"accuracy": np.zeros((40, 16)), "format": form})
    assert found == "warm-up"
    assert "'accuracy'" in summary["reason"]
    assert "flat-component" in summary["caveat_codes"]
    assert summary["components"]["accuracy"]["flat_share"] == pytest.approx(1, abs=0.01)
    assert summary["components"]["accuracy"]["counts"]["vanishing"] == summary["components"]["format"]["counts"]["learnable"] == 40
    assert summary["health"]["flat_reward"] == "accuracy"
    steps = next_steps(Summary.from_json(summary | {"settings": {"out": "run", "reward": ["r.py:form", "r.py:accuracy"]}}))
    assert steps[1].command == "flatspot rescore run --reward r.py:accuracy"


def test_where_one_reward_decides_the_steps_are_about_it_though_some_prompts_vanish_in_total():
    form = coins(40, 16, 0.5)
    form[:3] = 1.0  # three prompts at the largest total: to label them would teach nothing of accuracy
    found, summary = verdict_of(form, parts={"accuracy": np.zeros((40, 16)), "format": form}, settings=JudgeSettings(0.0, 1.2))
    assert found == "warm-up" and summary["counts"]["vanishing"] == 3
    steps = next_steps(Summary.from_json(summary | {"settings": {"out": "run", "reward": ["r.py:form", "r.py:accuracy"]}}))
    assert steps[1].command == "flatspot rescore run --reward r.py:accuracy"
    assert not any("flatspot plan" in step.command for step in steps)


def test_a_part_that_hardly_ever_varies_where_the_total_does_is_in_the_headline():
    form, right = coins(40, 16, 0.5), np.zeros((40, 16))
    right[:6, :4] = 1.0
    found, summary = verdict_of(form + right, parts={"accuracy": right, "format": form}, settings=JudgeSettings(reward_hi=2.0))
    assert found == "warm-up"  # what accuracy would get alone
    assert summary["components"]["accuracy"]["flat_share"] == pytest.approx(34 / 40, abs=0.02)
    assert "'accuracy'" in summary["reason"]


def test_a_part_that_is_flat_on_a_few_prompts_is_in_the_headline_and_the_verdict_stays():
    form, right = coins(40, 16, 0.5), coins(40, 16, 0.5, 1)
    right[:5] = 0.0
    found, summary = verdict_of(form + right, parts={"accuracy": right, "format": form}, settings=JudgeSettings(reward_hi=2.0))
    assert found == "proceed"
    assert summary["components"]["accuracy"]["flat_share"] == pytest.approx(5 / 40, abs=0.02)
    assert "on 12% of the prompts 'accuracy' vanishes" in summary["reason"]
    assert headline(Summary.from_json(summary))[0] != "Proceed with RL"


@pytest.mark.parametrize(
    ("other", "weights"),
    [(coins(40, 16, 0.5, 1), None), (np.ones((40, 16)), None), (np.zeros((40, 16)), {"other": 0.0})],
    ids=["varies too", "always earned", "worth nothing"],
)
def test_other_parts_raise_no_alarm(other, weights):
    right = coins(40, 16, 0.5)
    found, summary = verdict_of(right, parts={"right": right, "other": other}, weights=weights)
    assert found == "proceed"
    assert not {"flat-component", "components-tie"} & set(summary["caveat_codes"])


def ten_points(value):
    """A judge that always gives one value beside an accuracy that varies."""
    right = coins(40, 16, 0.5)
    return right + value, {"right": right, "judge": np.full((40, 16), value)}


@pytest.mark.parametrize(
    ("value", "declared", "state", "flat", "said"),
    [
        (1.0, None, "vanishing", 0.0, True),  # whether it goes up to 1 or to 10 nobody states
        (5.0, None, "vanishing", 0.0, True),
        (1.0, (0.0, 10.0), "vanishing", 1.0, False),
        (1.0, (0.0, 1.0), "solved", 0.0, False),
        (0.5, None, "vanishing", 1.0, False),
        (0.0, None, "vanishing", 1.0, False),
    ],
)
def test_a_part_is_judged_in_the_range_that_it_declares(value, declared, state, flat, said):
    total, parts = ten_points(value)
    ranges = {"judge": declared} if declared else {}
    summary = judge(
        run_of(total, parts=parts), JudgeSettings(value, value + 1), weights={"right": 2.0, "judge": 1.0}, ranges=ranges
    ).summary
    part = summary.components["judge"]
    assert getattr(part.counts, state) == 40
    assert part.flat_share == pytest.approx(flat, abs=0.01)
    assert part.range == declared and summary.components["right"].range == (0.0, 1.0)
    assert ("component-range" in summary.caveat_codes) == said
    assert ("flat-component" in summary.caveat_codes) == (flat > 0.5)
    assert not said or any(
        f"'judge' always gives {value:.3g} on 40 prompts" in text and "judge.reward_range" in text for text in summary.caveats
    )


def test_a_part_at_the_most_seen_of_it_on_some_prompts_is_no_flat_goal_there():
    """Grades of 0 to 10, which nobody states: 8 on half of the prompts, the most that was seen, and 3 or 5 on the others."""
    right, grade = coins(40, 16, 0.5), np.repeat([8.0, 3.0, 5.0], [20, 10, 10])[:, None] * np.ones(16)
    run = run_of(right + grade, parts={"right": right, "grade": grade})
    unknown = judge(run, JudgeSettings(0.0, 11.0), weights={"right": 2.0}).summary
    known = judge(run, JudgeSettings(0.0, 11.0), weights={"right": 2.0}, ranges={"grade": (0.0, 10.0)}).summary
    assert unknown.components["grade"].flat_share == pytest.approx(0.5, abs=0.05)
    assert known.components["grade"].flat_share == pytest.approx(1.0, abs=0.05)
    assert unknown.components["grade"].counts.vanishing == known.components["grade"].counts.vanishing == 40


def test_a_function_declares_its_range_and_keeps_it_when_judged_again(tmp_path):
    def grade(completions, **columns):
        return [1.0 for _ in completions]

    def right(completions, **columns):
        return [float(text == "a") for text in completions]

    prompts, answers = [{"prompt": f"q{i}"} for i in range(12)], {f"q{i}": {"a": 0.5, "b": 0.5} for i in range(12)}
    settings = {"max_completions": 16, "fixed_completions": True, "reward_weights": (1.0, 0.1)}
    unknown = flatspot.diagnose(prompts, ScriptedEngine(answers), [right, grade], out=tmp_path / "unknown", **settings)
    assert unknown.request.component_ranges == {} and unknown.summary.components["grade"].range is None
    grade.reward_range, right.reward_range = (0.0, 10.0), (0.0, 1.0)
    known = flatspot.diagnose(prompts, ScriptedEngine(answers), [right, grade], out=tmp_path / "known", **settings)
    assert known.summary.reward.range == (0.0, 2.0)
    for run in (known, flatspot.inspect(tmp_path / "known"), flatspot.rescore(unknown, [right, grade], out=tmp_path / "again")):
        assert tuple(run.summary.components["grade"].range) == (0.0, 10.0)
        assert run.summary.components["grade"].flat_share > 0.9 and "component-range" not in run.summary.caveat_codes


def test_a_flat_part_that_is_worth_less_is_said_and_the_verdict_stays():
    right = coins(40, 16, 0.5)
    found, summary = verdict_of(right, parts={"right": right, "other": np.zeros((40, 16))}, weights={"right": 1.0, "other": 0.2})
    assert found == "proceed"
    assert "'other' vanishes and only other rewards vary" in summary["reason"]
    assert "flat-component" in summary["caveat_codes"]


def test_a_part_that_no_completion_earns_is_named_once_and_one_that_all_earn_is_not():
    right = coins(40, 16, 0.5)
    parts = {"right": right, "never": np.zeros((40, 16)), "less": np.full((40, 16), -1.0), "always": np.full((40, 16), 0.25)}
    _, summary = verdict_of(
        right + sum(parts[name] for name in ("never", "less", "always")), parts=parts, weights=dict.fromkeys(parts, 1.0)
    )
    for name, times in (("never", 1), ("less", 1), ("always", 0), ("right", 0)):
        said = [text for text in summary["caveats"] if repr(name) in text and "on every completion" in text]
        assert len(said) == times
        assert sum(repr(name) in text for text in summary["caveats"]) >= times and (times == 0 or len(said) == 1)
    _, flat = verdict_of(np.zeros((40, 16)), parts={"a": np.zeros((40, 16)), "b": np.zeros((40, 16))})
    assert "flat-component" not in flat["caveat_codes"], "nothing varies: there are no others to learn from"


def test_a_penalty_that_was_never_applied_is_no_flat_goal():
    right = coins(40, 16, 0.5)
    parts = {"accuracy": right, "length_penalty": np.zeros((40, 16))}
    found, summary = verdict_of(0.5 * right, parts=parts, weights={"accuracy": 0.5, "length_penalty": -1.0})
    assert found == "proceed"
    assert "flat-component" not in summary["caveat_codes"]
    parts, settings = {"accuracy": parts["length_penalty"], "penalty": right}, JudgeSettings(reward_lo=-1.0, reward_hi=0.5)
    found, _ = verdict_of(-right, parts=parts, weights={"accuracy": 0.5, "penalty": -1.0}, settings=settings)
    assert found == "warm-up"  # the goal is flat, and all that varies is the penalty


def test_zero_one_rewards_never_want_for_gain():
    hits = np.r_[np.zeros(40, int), np.full(20, 3), np.full(20, 4)]
    _, summary = verdict_of((np.arange(60) < hits[:, None]).astype(float))
    assert "advantage-matters" not in summary["caveat_codes"]


def test_poor_answers_of_a_reward_that_is_not_known_to_be_binary_are_no_fault_of_it():
    run = replace(run_of(np.zeros((40, 16))), answer_reward=np.full(40, 0.3))
    judged = judge(run, JudgeSettings())
    assert judged.summary.verdict == "warm-up"
    assert judged.verdicts["r_star"].to_pylist() == [0.3] * 40


def test_parts_that_cancel_out_are_said():
    right = coins(40, 16, 0.5)
    found, summary = verdict_of(np.ones((40, 16)), parts={"right": right, "wrong": 1 - right})
    assert found == "fix-reward"
    assert "components-tie" in summary["caveat_codes"]


@pytest.mark.parametrize(
    ("n_cut", "n_whole", "cut_mean", "whole_mean", "expected"),
    [(600, 40, 0.1, 0.9, "fix-sampling"), (640, 0, 0.3, np.nan, "fix-sampling"), (640, 0, 0.9, np.nan, "proceed"),
     (600, 40, 0.6, 0.5, "proceed"), (300, 340, 0.0, 0.9, "proceed")],
)  # fmt: skip
def test_completions_cut_before_they_can_earn_anything(n_cut, n_whole, cut_mean, whole_mean, expected):
    none = np.zeros(40, int)
    signs = Signs(none, none, np.zeros(40), n_cut, n_whole, cut_mean, whole_mean)
    summary = verdict_of(coins(40, 16, 0.5), signs=signs, truncated=n_cut / 640)[1] | {"sampling": {"max_new_tokens": 256}}
    assert summary["verdict"] == expected
    if expected == "fix-sampling":
        assert "truncated-completions" in summary["caveat_codes"]
        assert any("--max-new-tokens 1024" in step.command for step in next_steps(Summary.from_json(summary)))


def test_too_few_completions_are_no_reason_to_warm_up():
    """Two zeros each: from none to all of the prompts may vanish."""
    found, summary = verdict_of(np.zeros((40, 2)))
    assert found == "draw-more"
    assert summary["fractions"]["vanishing"]["lo"] < 0.2 < summary["fractions"]["vanishing"]["hi"]
    steps = next_steps(Summary.from_json(summary | {"source": "diagnose", "settings": {"out": "runs/x"}}))
    assert "--out runs/x --max-completions 64" in steps[0].command
    assert "too few completions" in next_steps(Summary.from_json(summary | {"source": "inspect"}))[0].text


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize(("n", "decided"), [(2, 0), (3, 0), (4, 40), (8, 40)])
def test_the_table_names_no_states_that_the_headline_calls_open(value, n, decided):
    """That the success probability of 40 prompts is small after two zeros each is the fit's assumption: the counts allow much else."""
    found, summary = verdict_of(np.full((40, n), value))
    state = "solved" if value else "vanishing"
    assert summary["counts"][state] == decided and summary["counts"]["undecided"] == 40 - decided
    assert (found == "draw-more") == (decided == 0)
    assert (summary["predicted_error"] is None) == (decided == 0)


def test_too_few_completions_are_no_reason_to_proceed_where_most_may_be_solved():
    """Three ones each: the solved share may lie on either side of its limit."""
    rewards = np.ones((200, 3))
    rewards[:10], rewards[10:30, 0] = 0, 0
    found, summary = verdict_of(rewards, settings=JudgeSettings(target_error=0.1))
    solved = summary["fractions"]["solved"]
    assert solved["lo"] <= 0.8 < solved["hi"]
    assert found == "draw-more" and summary["rule"].startswith("solved prompts")
    assert stopped_by(Summary.from_json(summary), 0.5)


def test_undecided_prompts_whose_share_may_lie_on_either_side():
    found, summary = verdict_of(coins(12, 5, np.r_[np.full(8, 0.05), np.full(4, 0.3)]), settings=JudgeSettings(target_error=0.001))
    assert summary["counts"]["undecided"] > 6
    assert found == "draw-more"


def test_nothing_drawn_is_no_broken_reward():
    found, summary = verdict_of(np.zeros((3, 0)))
    assert found == "draw-more"
    assert summary["reason"].startswith("There are no completions")


@pytest.mark.parametrize("rewards", [np.zeros((0, 4)), np.full((1, 64), 0.0), np.full((3, 4), np.nan), np.full((1, 1), 1.0)])
def test_odd_sets_never_get_a_calm_headline(rewards):
    assert verdict_of(rewards)[0] != "proceed"


def test_a_gate_stops_where_nothing_can_be_told():
    for rewards in (np.full((3, 4), np.nan), np.zeros((40, 2)), np.full((40, 8), 0.5)):
        assert stopped_by(Summary.from_json(verdict_of(rewards)[1]), 0.99)
    fine = verdict_of(coins(40, 16, 0.5))[1]
    assert not stopped_by(Summary.from_json(fine), 0.2)
    assert "stopped before its end" in stopped_by(
        Summary.from_json(fine | {"drawn": {"completions": 640, "planned": 9000, "ended": False}}), 0.2
    )
    assert not stopped_by(Summary.from_json(fine | {"drawn": {"completions": 640, "planned": 640, "ended": True}}), 0.2)


def test_codes_and_notes():
    """A note without a code is a caveat without one; every code is in the reference, and every one there exists."""
    run = run_of(coins(3, 2, 0.5))
    summary = judge(
        run, JudgeSettings(), range_source="guessed", notes=["A line was left out.", ["rescored-by-other-reward", "By others."]]
    ).summary
    assert {"A line was left out.", "By others."} <= set(summary["caveats"])
    assert len(summary["caveat_codes"]) == len(summary["caveats"]) - 1
    assert set(summary["caveat_codes"]) <= set(CODES)
    listed = re.findall(
        r"^\| `([a-z-]+)` \|",
        REPOSITORY.joinpath("docs/reference/json.md").read_text("utf-8").split("## Codes of caveats")[1].split("\n## ")[0],
        re.M,
    )
    assert listed == list(CODES)

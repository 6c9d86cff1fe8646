from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import achievable
from flatspot.verdicts.explain import explain_prompts, explain_set
from flatspot.verdicts.judge import judge_prompts, judge_set
from flatspot.verdicts.numbers import prompt_numbers
from flatspot.verdicts.settings import JudgeSettings


def judged(rewards, settings=None, reference=None, failed=0):
    settings = settings or JudgeSettings()
    rewards = np.asarray(rewards, float)
    m, n = rewards.shape
    evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
    reference = np.full(m, np.nan) if reference is None else np.asarray(reference, float)
    model = fit(evidence, achievable(reference, evidence.high, settings.top), settings.zones)
    prompts = judge_prompts(model, settings)
    n_rows = np.full(m, n + failed)
    return prompts, judge_set(prompts, model, evidence, n_rows, settings, reference), evidence


def numbers(evidence):
    m, zones = evidence.n_prompts, JudgeSettings().zones
    model = fit(evidence, np.full(m, np.nan), zones)
    r_star = np.full(m, 1.0 if model.family == "binary" else np.nan)
    return prompt_numbers(SimpleNamespace(evidence=evidence, fair=np.ones(m, bool)), model, r_star, zones)


def rows(hits, n=64):
    return [[1.0] * h + [0.0] * (n - h) for h in hits]


def test_the_obvious_prompts_are_named():
    prompts, _, _ = judged(rows([0, 32, 64]))
    assert prompts.verdict.tolist() == ["vanishing", "learnable", "solved"]
    assert (prompts.error_probability < 0.03).all()


def test_two_samples_decide_nothing_about_zeros():
    prompts, _, _ = judged(rows([0, 0, 0, 1], n=2))
    assert prompts.verdict[:3].tolist() == ["undecided"] * 3


def test_the_kept_verdicts_err_at_most_the_target_on_average():
    rng = np.random.default_rng(0)
    p = rng.beta(0.25, 1, 400)
    rewards = (rng.random((400, 12)) < p[:, None]).astype(float)
    shares = []
    for target in (0.005, 0.03, 0.1):
        prompts, _, _ = judged(rewards, JudgeSettings(target_error=target))
        decided = ~np.isin(prompts.verdict, ["undecided", "unscored"])
        assert prompts.error_probability[decided].mean() <= target + 1e-9
        shares.append(decided.mean())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_equal_errors_stand_or_fall_together():
    prompts, _, _ = judged(rows([0] * 30 + [8] * 10, n=16))
    assert len(set(prompts.verdict[:30])) == 1


@pytest.mark.parametrize(
    ("rewards", "options", "verdict", "rule"),
    [
        (rows([20, 30, 40]), {}, "proceed", "none"),
        (rows([0, 0, 30, 40]), {}, "warm-up", "vanishing"),
        (rows([64] * 9 + [30]), {}, "fix-data", "solved"),
        (rows([20, 30, 40]), {"failed": 10}, "fix-reward", "failed"),
        (np.full((3, 8), 0.5), {}, "fix-reward", "constant"),
        (rows([0, 0, 30]), {"reference": [0.0, 0.1, 1.0]}, "fix-reward", "answers"),
        (rows([20, 30, 40]), {"reference": [0.0, 0.1, 1.0]}, "proceed", "none"),  # completions earn what the answers do not
        (rows([0, 0, 0]), {"reference": [1.0, 1.0, 1.0]}, "warm-up", "vanishing"),
        (np.full((3, 8), np.nan), {}, "fix-reward", "failed"),
        (np.full((3, 8), 5.0), {"settings": JudgeSettings(0.0, 5.0, stated=False)}, "fix-reward", "constant"),
        (np.full((3, 64), 5.0), {"settings": JudgeSettings(0.0, 5.0)}, "fix-data", "solved"),
        (np.full((3, 8), 5.0), {"settings": JudgeSettings(0.0, 5.0)}, "draw-more", "in-doubt-solved"),
    ],
)
def test_each_rule_of_the_set_fires(rewards, options, verdict, rule):
    _, judgment, _ = judged(rewards, **options)
    assert (judgment.verdict, judgment.rule) == (verdict, rule)
    reason, fired = explain_set(judgment)
    assert reason
    assert fired


def test_where_nothing_is_scored_no_setting_makes_it_proceed():
    _, judgment, _ = judged(np.full((3, 8), np.nan), JudgeSettings(failed_above=1.0))
    assert judgment.verdict == "fix-reward" and explain_set(judgment)[1] == "no completion has a reward"


def test_one_reward_is_no_top_of_a_range_that_nobody_states():
    prompts, _, _ = judged(np.full((3, 8), 5.0), JudgeSettings(0.0, 5.0, stated=False))
    assert "solved" not in prompts.verdict


def test_unscored_prompts_say_so_and_the_rest_is_judged():
    rewards = np.array(rows([0, 32, 64]))
    rewards[0] = np.nan
    prompts, _, evidence = judged(rewards)
    assert prompts.verdict.tolist() == ["unscored", "learnable", "solved"]
    assert np.isnan(prompts.error_probability[0])
    why = explain_prompts(evidence, prompts, numbers(evidence))
    assert "the column error" in why[0]


def test_an_answer_that_earns_half_makes_half_solved():
    prompts, _, _ = judged(np.full((2, 64), 0.5), reference=[0.5, np.nan])
    assert prompts.verdict.tolist() == ["solved", "vanishing"]


def test_sentences_name_what_was_seen():
    prompts, _, evidence = judged(rows([0, 32, 64]))
    vanishing, learnable, solved = explain_prompts(evidence, prompts, numbers(evidence))
    assert "all 64 rewards are 0; 8% of groups of 8 are mixed, and 1 can be earned" in vanishing
    assert "mean 0.5" in learnable and "the best of 8 gains 0.49" in learnable
    assert "Spend no completions" in solved


def test_the_sentence_names_the_question_that_decided():
    rng = np.random.default_rng(0)
    prompts, _, evidence = judged(rng.normal(0.014, 0.007, (40, 16)))
    assert set(prompts.verdict) == {"vanishing"}
    why = explain_prompts(evidence, prompts, numbers(evidence))[0]
    assert "the best of 8 gains only 0.0" in why and "what can be earned is not known" in why


def test_a_sentence_depends_on_no_other_prompt():
    prompts, _, evidence = judged(rows([0, 32, 0, 64, 32]))
    of = numbers(evidence)
    gain, r_star = np.array([-0.0, 0.49, 0.0, 0.0, 0.49]), np.array([np.nan, 1.0, 1.0, np.nan, 0.5])
    of = replace(of, gain=gain, r_star=r_star, mixed_decides=np.zeros(5, bool))
    backwards = [
        replace(part, **{f.name: value[::-1] for f in fields(part) if isinstance(value := getattr(part, f.name), np.ndarray)})
        for part in (evidence, prompts, of)
    ]
    why = explain_prompts(evidence, prompts, of)
    assert why == explain_prompts(*backwards)[::-1]
    assert len(set(why)) == 4  # of two learnable ones, what can be earned is not said
    assert "gains only 0 over" in why[0] and "not known" in why[0] and "1 can be earned" in why[2]


@pytest.mark.parametrize(
    "wrong", [{"target_error": 0.0}, {"target_error": 0.6}, {"reward_lo": 1.0, "reward_hi": 1.0}, {"failed_above": 2.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        JudgeSettings(**wrong)

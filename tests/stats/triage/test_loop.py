"""Triage end to end: what it promises, what it is invariant to, and what it does with bad input.

The statistical tests are one-sided with fixed seeds: each allows 3 standard errors of its own noise, so under fresh seeds a correct
program would fail one in about 700 of them.
"""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from truth import zero_one

from flatspot.core.errors import SettingsError
from flatspot.stats.triage.decider import Adaptive, absorb, finish, next_round, start
from flatspot.stats.triage.draws import DrawError, Draws
from flatspot.stats.triage.loop import triage
from flatspot.stats.triage.plan import Plan
from flatspot.stats.zones import STATES, Zones

INDEX = {name: i for i, name in enumerate(STATES)}


def bernoulli(p, seed=0):
    """Draws that depend on the prompt and the sample alone, not on who is asked when."""
    table = np.random.default_rng(seed).random((len(p), 64)) < np.asarray(p)[:, None]
    return from_table(table.astype(float))


def from_table(table):
    used = np.zeros(len(table), int)

    def draw(indices, k):
        rows = table[indices[:, None], used[indices][:, None] + np.arange(k)]
        used[indices] += k
        return rows

    return draw


def hard(m, seed):
    rng = np.random.default_rng(seed)
    u = rng.random(m)
    return np.where(u < 0.4, 0.0, np.where(u < 0.5, 1.0, rng.beta(0.6, 1.2, m)))


UNIT = Zones(0.05)


def wrong(t, odds, zones=UNIT):
    table = zones.loss(odds, zones.span)
    return np.array([table[x, INDEX[v]] for x, v in enumerate(t.verdict) if v in INDEX])


def test_a_worst_case_that_nobody_asked_for_costs_two_fifths_at_most(monkeypatch):
    # of a wide log-normal every limit is far above the error for as long as triage can pay for
    p = np.minimum(np.exp(np.random.default_rng(1).normal(np.log(0.03), 1.5, 300)), 1.0)

    def total(**asked):
        return int(triage(bernoulli(p, 1), len(p), target_error=0.03, **asked).n_samples.sum())

    drawn, held = total(), total(worst_case=True)
    monkeypatch.setattr("flatspot.stats.triage.decider._DRAWN_ON", 1.0)
    ended = total()
    assert 1.05 * ended < drawn < 1.4 * ended + len(p) < held


@pytest.mark.parametrize(("target", "most"), [(0.05, 9.0), (0.02, 16.0)])
def test_the_stated_error_is_met_with_few_samples(target, most):
    errors, drawn = [], []
    for seed in range(4):
        p = hard(1000, seed)
        t = triage(bernoulli(p, seed), 1000, target_error=target)
        errors.append(wrong(t, zero_one(p)).mean())
        drawn.append(t.n_samples.mean())
        assert t.predicted_error <= target + 1e-9
        assert (t.verdict != "undecided").mean() > 0.97
    assert np.mean(errors) <= target + 0.01 + 3 * np.sqrt(target / 4000)
    assert np.mean(drawn) <= most


def test_fewer_than_four_completions_are_enough_where_most_prompts_are_alike():
    rng = np.random.default_rng(0)
    p = np.where(rng.random(1000) < 0.95, 0.0, rng.random(1000))
    t = triage(bernoulli(p), 1000, target_error=0.05)
    assert t.n_samples.mean() <= 3.5 and t.worst_case_error <= 0.05
    assert wrong(t, zero_one(p)).mean() <= t.predicted_error + 3 * np.sqrt(0.05 / 1000)


def test_small_sets_and_diagnose_begin_with_four():
    assert [next_round(start(Plan(m, pilot=2))).n_completions for m in (10, 199, 200)] == [4, 4, 2]
    assert next_round(start(Plan(1000))).n_completions == 4


def test_graded_prompts_beyond_the_pilot_get_four_completions():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([2.0, 1.0, 1.0], 1200)

    def draw(indices, k):
        return np.array([0.0, 0.5, 1.0])[(rng.random((len(indices), k, 1)) > weights[indices].cumsum(-1)[:, None]).sum(-1).clip(max=2)]

    assert triage(draw, 1200, target_error=0.2).n_samples.min() >= 4


def test_flipping_the_reward_swaps_vanishing_and_solved():
    p = hard(300, 0)
    table = (np.random.default_rng(0).random((300, 64)) < p[:, None]).astype(float)
    there, back = triage(from_table(table), 300), triage(from_table(1 - table), 300)
    swap = {"vanishing": "solved", "solved": "vanishing"}
    assert [swap.get(v, v) for v in there.verdict] == back.verdict.tolist()
    np.testing.assert_array_equal(there.n_samples, back.n_samples)


def test_rescaling_the_reward_and_its_range_changes_nothing():
    table = (np.random.default_rng(1).random((300, 64)) < hard(300, 1)[:, None]).astype(float)
    there = triage(from_table(table), 300, reward_range=(0, 1))
    back = triage(from_table(3 * table - 7), 300, reward_range=(-7, -4))
    np.testing.assert_array_equal(there.verdict, back.verdict)
    np.testing.assert_array_equal(there.n_samples, back.n_samples)


def test_the_order_of_prompts_changes_nothing():
    table = (np.random.default_rng(2).random((300, 64)) < hard(300, 2)[:, None]).astype(float)
    order = np.random.default_rng(3).permutation(300)
    there, back = triage(from_table(table), 300), triage(from_table(table[order]), 300)
    np.testing.assert_array_equal(there.verdict[order], back.verdict)
    np.testing.assert_array_equal(there.n_samples[order], back.n_samples)


def test_nothing_drawn_is_lost_and_a_broken_run_goes_on_as_if_whole():
    table = (np.random.default_rng(4).random((200, 64)) < hard(200, 4)[:, None]).astype(float)
    whole = triage(from_table(table), 200)
    inner, calls = from_table(table), 0

    def breaks(indices, k):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("server gone")
        return inner(indices, k)

    with pytest.raises(DrawError, match=r"prompts .*RuntimeError: server gone") as caught:
        triage(breaks, 200)
    draws = caught.value.draws
    assert draws.total >= 800

    def still_broken(indices, k):
        raise TimeoutError

    with pytest.raises(DrawError) as caught:
        triage(still_broken, 200, resume=draws)
    assert caught.value.draws.total == draws.total
    again = triage(inner, 200, resume=draws)
    np.testing.assert_array_equal(whole.verdict, again.verdict)
    np.testing.assert_array_equal(whole.rewards, again.rewards)
    for x in range(200):
        np.testing.assert_array_equal(whole.rewards[x, : whole.n_samples[x]], table[x, : whole.n_samples[x]])


def test_steps_and_loop_agree():
    p = hard(100, 5)
    draw, state = bernoulli(p), start(Plan(100))
    while (this := next_round(state)) is not None:
        assert (np.diff(this.prompts) > 0).all()
        np.testing.assert_array_equal(this.first, state.draws.drawn[this.prompts])
        assert this.fixed == (state.draws.total == 0)
        state = absorb(state, this, draw(this.prompts, this.n_completions))
    np.testing.assert_array_equal(finish(state).verdict, triage(bernoulli(p), 100).verdict)


def test_the_decider_of_runs_and_the_steps_decide_alike():
    """And deciding twice, or asking how much there will be, changes nothing."""
    p = hard(100, 5)
    draw, state, decider = bernoulli(p), start(Plan(100)), Adaptive(Plan(100))
    while (this := next_round(state)) is not None:
        again = decider.next_round()
        for mine, other in zip((this.prompts, this.first), (again.prompts, again.first), strict=True):
            np.testing.assert_array_equal(mine, other)
        assert (this.n_completions, this.fixed) == (again.n_completions, again.fixed)
        assert decider.most_completions() >= state.draws.total + this.total and decider.next_round() is again
        rewards = draw(this.prompts, this.n_completions)
        state = absorb(state, this, rewards)
        decider.absorb(this, rewards)
    assert decider.next_round() is None and decider.most_completions() == state.draws.total


@pytest.mark.parametrize("round_size", [3, 4, 50])
def test_rounds_never_pass_the_cap(round_size):
    t = triage(bernoulli(np.full(30, 0.05)), 30, round_size=round_size, max_samples=22, target_error=0.001)
    assert t.n_samples.max() <= 22


def test_prompts_out_of_step_with_the_pilot_keep_to_the_cap():
    t = triage(bernoulli(np.full(1100, 0.05)), 1100, round_size=5, max_samples=7, target_error=0.001)
    assert t.n_samples.max() == 7


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "vanishing"), (1.0, "solved")])
def test_all_equal_sets(value, verdict):
    t = triage(lambda i, k: np.full((len(i), k), value), 50)
    assert (t.verdict == verdict).all()
    assert 4 <= t.n_samples.mean() < 40


def test_a_constant_strictly_inside_the_range_is_flagged():
    t = triage(lambda i, k: np.full((len(i), k), 0.3), 20)
    assert "every reward is 0.3" in t.caveats[0]


@pytest.mark.parametrize("m", [1, 2, 10])
def test_very_few_prompts(m):
    t = triage(bernoulli(np.full(m, 0.5)), m)
    assert (t.verdict == "learnable").all()
    assert 0 <= t.predicted_error <= 0.03


def test_what_the_budget_cannot_settle_is_undecided():
    p = np.r_[np.full(20, 0.025), np.full(20, 0.11)]
    t = triage(bernoulli(p), 40, max_samples=8, target_error=0.01)
    assert (t.verdict == "undecided").any()


def test_unscored_prompts_stop_early_and_say_so():
    table = np.full((10, 64), np.nan)
    table[:5] = 1.0
    t = triage(from_table(table), 10)
    assert (t.verdict[5:] == "unscored").all()
    assert (t.n_samples[5:] == 4).all()
    assert np.isnan(t.error_probability[5:]).all()


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda i, k: np.zeros((len(i), k + 1)), r"shape \(20, 4\).*returned shape \(20, 5\)"),
        (lambda i, k: np.where(i[:, None] == 7, 2.0, np.zeros((len(i), k))), r"prompt 7: .*reward 2, outside the reward range \[0, 1\]"),
        (lambda i, k: np.where(i[:, None] == 9, -0.5, np.zeros((len(i), k))), r"prompt 9: .*reward -0.5, outside the reward range"),
        (lambda i, k: np.where(i[:, None] == 3, np.inf, np.zeros((len(i), k))), "prompt 3: .*reward inf"),
        (lambda i, k: [["good"] * k] * len(i), "must return numbers"),
    ],
)
def test_what_is_no_reward_names_the_prompt(returned, says):
    with pytest.raises(DrawError, match=says) as caught:
        triage(returned, 20, reward_range=(0, 1))
    assert caught.value.returned is not None


def test_a_late_bad_reward_keeps_the_earlier_samples():
    inner, calls = bernoulli(np.full(20, 0.03)), []

    def draw(indices, k):
        calls.append(k)
        return inner(indices, k) + (5.0 if len(calls) == 3 else 0.0)

    with pytest.raises(DrawError, match="outside the reward range") as caught:
        triage(draw, 20, reward_range=(0, 1))
    assert caught.value.draws.total >= 80
    assert np.isfinite(caught.value.draws.rewards[:, :4]).all()


@pytest.mark.parametrize("bad", [{"n_prompts": 0}, {"target_error": 0}, {"max_completions": 0}, {"epsilon": 0.4}, {"reward_range": (1, 0)}])
def test_bad_settings(bad):
    with pytest.raises(SettingsError):
        Plan(**{"n_prompts": 10} | bad)
    with pytest.raises(SettingsError, match="max_samples must be at least 1"):
        triage(bernoulli([0.5]), 1, max_samples=0)


def test_draws_count_what_rows_say():
    rng = np.random.default_rng(0)
    draws = Draws.none(5)
    for _ in range(6):
        indices = np.sort(rng.choice(5, 3, replace=False))
        draws = draws.add(indices, rng.choice([0.0, 1.0, np.nan], (3, 2)))
    table = draws.rewards
    np.testing.assert_array_equal(draws.scored, np.isfinite(table).sum(-1))
    np.testing.assert_array_equal(draws.hits(1.0), (table == 1).sum(-1))
    np.testing.assert_array_equal(draws.hits(0.0), (table == 0).sum(-1))
    assert draws.drawn.sum() == 36


@pytest.mark.slow
def test_a_million_prompts():
    """In a process of its own: the peak of memory is that of a whole process."""
    script = f"""
import resource
import time
import numpy as np
from flatspot.stats.triage.loop import triage

{inspect.getsource(hard)}
p = hard(1_000_000, 0).astype(np.float32)
rng, inside = np.random.default_rng(0), 0.0

def draw(indices, k):
    global inside
    began = time.process_time()
    rewards = (rng.random((len(indices), k), np.float32) < p[indices, None]).astype(float)
    inside += time.process_time() - began
    return rewards

began = time.process_time()
t = triage(draw, len(p))
print((t.verdict != "undecided").mean(), time.process_time() - began - inside, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    decided, seconds, peak = map(float, done.stdout.split())
    assert decided > 0.97 and seconds < 90 and peak < 2 * 1024**2

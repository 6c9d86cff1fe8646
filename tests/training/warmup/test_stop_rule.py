"""The stop rule against brute force, on curves with a known best checkpoint, and one test per cause."""

import itertools
import math

import numpy as np
import pytest

from flatspot.core.errors import SettingsError
from flatspot.training.warmup.stop_rule import CAUSES, StopRule, choose

RULE = StopRule(max_steps=100)


def row(step, ready, sd=0.01, **more):
    return {"step": step, "ready": {"mean": ready, "sd": sd}, "vanishing": {"mean": 1 - ready}} | more


def curve(*shares, every=5, sd=0.01, **series):
    return [row(every * i, share, sd, **{name: values[i] for name, values in series.items()}) for i, share in enumerate(shares)]


def walk(rows, rule):
    """Call `choose` after each probe, as a training does: (number of probes, the choice)."""
    for n in range(1, len(rows) + 1):
        choice = choose(rows[:n], rule)
        if choice.stop:
            return n, choice
    return len(rows), choice


def test_on_smooth_curves_without_noise_it_finds_the_best_net_value():
    rng = np.random.default_rng(0)
    causes, missed = set(), []
    for _ in range(300):
        middle, slope, top = rng.uniform(5, 60), rng.uniform(0.5, 8), rng.uniform(0.3, 1.0)
        fall = rng.choice([0.0, rng.uniform(0, 0.02)])
        steps = np.arange(0, 105, 5)
        ready = top / (1 + np.exp(-(steps - middle) / slope)) - fall * np.maximum(steps - middle - 4 * slope, 0)
        rows = [row(int(s), float(max(r, 0)), 0.0) for s, r in zip(steps, ready, strict=True)]
        rule = StopRule(max_steps=100, budget_worth=float(rng.uniform(0.01, 0.1)))
        best = max(rows, key=lambda r: r["ready"]["mean"] - rule.budget_worth * r["step"] / 100)
        n, choice = walk(rows, rule)
        causes.add(choice.cause)
        best_so_far = max(rows[:n], key=lambda r: r["ready"]["mean"] - rule.budget_worth * r["step"] / 100)
        assert choice.step == best_so_far["step"]
        missed.append(rule.net(best) - rule.net(best_so_far))
    assert causes == {"plateau", "enough", "max-steps"}
    assert max(missed) < 0.05  # no substantial gain was missed


def test_with_noise_it_selects_the_earliest_within_noise_of_the_best():
    rng = np.random.default_rng(1)
    for _ in range(300):
        k = int(rng.integers(2, 9))
        shares, sds = rng.uniform(0, 0.9, k), rng.uniform(0, 0.1, k)
        rows = [row(10 * i, float(share), float(sd)) for i, (share, sd) in enumerate(zip(shares, sds, strict=True))]
        net = [share - 0.01 * i for i, share in enumerate(shares)]  # 0.1 · 10 i / 100
        top = int(np.argmax(net))
        earliest = next(i for i in range(k) if net[top] - net[i] <= math.hypot(sds[top], sds[i]) + 1e-15)
        choice = choose(rows, RULE)
        if choice.cause in ("going-on", "plateau", "enough"):
            assert choice.step == 10 * earliest
            assert choice.recovered == (earliest > 0)


def test_it_does_not_stop_before_recovery_has_begun():
    waiting = curve(*[0.01] * 12)
    assert walk(waiting, RULE)[1].cause == "going-on"
    late = curve(*[0.01] * 12, 0.2, 0.8, 0.95, 0.95, 0.95)
    assert walk(late, RULE) == (17, choose(late, RULE))
    assert choose(late, RULE).step == 70


def test_a_probe_that_is_worse_by_chance_does_not_end_it():
    dips = curve(0.0, 0.3, 0.28, 0.6, 0.58, 0.9, 0.91, 0.9)
    n, choice = walk(dips, RULE)
    assert (n, choice.step, choice.cause) == (8, 25, "plateau")


def test_it_waits_longer_if_more_is_still_to_be_gained():
    stopped = {top: walk(curve(0.0, top / 2, *[top] * 18), RULE)[0] for top in (0.3, 0.5, 0.7, 0.9)}
    # 100 steps cost 0.1, and hope is a tenth of the remaining pass@K: so the wait in steps is 100 times the remaining pass@K
    assert stopped == {0.3: 17, 0.5: 13, 0.7: 9, 0.9: 5}
    slow_start = curve(0.0, 0.05, 0.05, 0.05, 0.3, 0.9, 0.95, 0.95, 0.95)
    assert walk(slow_start, RULE)[1].step == 30
    assert walk(slow_start, StopRule(max_steps=100, hope=0.0))[1].step == 5


def test_nothing_probed():
    choice = choose([], RULE)
    assert (choice.stop, choice.step, choice.cause) == (False, 0, "no-probe")


def test_the_labels_are_solved_already():
    choice = choose([row(0, 0.1, labels_solved=0.95)], RULE)
    assert (choice.stop, choice.step, choice.cause) == (True, 0, "labels-solved")
    assert "95% of the labeled prompts" in choice.why
    assert not choose([row(0, 0.1, labels_solved=None)], RULE).stop


def test_nothing_vanishes_or_all_is_solved():
    for ready in (0.995, 1.0):
        choice = choose([row(0, ready)], RULE)
        assert (choice.stop, choice.step, choice.cause) == (True, 0, "nothing-vanishes")


def test_enough_if_no_further_step_can_pay_off():
    choice = choose(curve(0.0, 0.5, 0.997), RULE)
    assert (choice.stop, choice.step, choice.cause) == (True, 10, "enough")
    assert not choose(curve(0.0, 0.5, 0.98), RULE).stop  # 5 steps cost 0.5%


@pytest.mark.parametrize(
    ("cause", "series", "message"),
    [
        ("entropy", {"entropy": [1.0, 0.5, 0.05]}, "fell to 5%"),
        ("held-out-loss", {"heldout_loss": [2.0, 1.0, 1.3]}, "rose above its minimum by 15%"),
        ("prompts-lost", {"kept": [None, {"hi": 0.9}, {"hi": 0.7}]}, "at most 70%"),
    ],
)
def test_a_symptom_ends_it_only_if_the_net_value_does_not_improve(cause, series, message):
    choice = choose(curve(0.0, 0.6, 0.6, **series), RULE)
    assert (choice.stop, choice.step, choice.cause) == (True, 5, cause)
    assert message in choice.why
    assert not choose(curve(0.0, 0.6, 0.7, **series), RULE).stop
    healthy = {name: [values[0], values[1], values[1]] for name, values in series.items()}
    assert not choose(curve(0.0, 0.6, 0.6, **healthy), RULE).stop


def test_learnable_prompts_lost_and_none_gained_select_the_start():
    lost = [None, {"hi": 0.5}, {"hi": 0.5}]
    choice = choose(curve(0.2, 0.1, 0.1, kept=lost), RULE)
    assert (choice.stop, choice.step, choice.cause, choice.recovered) == (True, 0, "prompts-lost", False)
    assert not choose(curve(0.2, 0.1, 0.12, kept=[None, {"hi": 0.5}, {"hi": 0.9}]), RULE).stop  # a dip that passes


def test_never_recovered():
    shares = [0.01] * 21
    bare = choose(curve(*shares), RULE)
    assert (bare.stop, bare.step, bare.cause, bare.recovered) == (True, 0, "never-recovered", False)
    assert "check the answers" in bare.why and "add labels" in bare.why
    falling = choose(curve(*shares, heldout_loss=[2 - i / 20 for i in range(21)]), RULE)
    assert (falling.step, falling.cause, falling.recovered) == (100, "never-recovered", False)


def test_max_steps_while_still_recovering():
    choice = choose(curve(*[i / 25 for i in range(21)]), RULE)
    assert (choice.stop, choice.step, choice.cause, choice.recovered) == (True, 100, "max-steps", True)


def test_numbers_that_are_not_finite_select_the_last_good_checkpoint():
    good = curve(0.0, 0.3, 0.6)
    for broken in ({"step": 15, "loss": math.nan}, {"step": 15, "generations": 3}, row(15, math.nan)):
        choice = choose([*good, broken], RULE)
        assert (choice.stop, choice.step, choice.cause) == (True, 10, "not-a-number")
        assert "lower the learning rate" in choice.why
    assert choose([{"step": 0, "loss": math.nan}], RULE).cause == "not-a-number"


def test_a_checkpoint_that_no_longer_exists_is_not_selected():
    rows = curve(0.0, 0.8, 0.81)
    assert choose(rows, RULE).step == 5
    rows[1]["saved"] = False
    assert choose(rows, RULE).step == 10


def test_every_cause_is_listed_and_every_number_of_the_rule_is_checked():
    assert len(set(CAUSES)) == len(CAUSES)
    for name, wrong in itertools.chain.from_iterable(
        [(name, value) for value in values]
        for name, values in {"budget_worth": (-1, 2, math.nan), "noise": (-1,), "patience": (0,), "max_steps": (0,), "lost": (1.5,)}.items()
    ):
        with pytest.raises(SettingsError, match=name):
            StopRule(**{name: wrong})


@pytest.mark.parametrize(
    "damage",
    [
        {"ready": {"mean": "0.5", "sd": 0.02}},
        {"ready": {"mean": 0.5, "sd": "x"}},
        {"loss": "nan"},
        {"ready": {"mean": math.nan, "sd": 0.1}},
    ],
)
def test_a_probe_with_anything_but_numbers_is_not_judged(damage):
    """As in a curve.json that was edited."""
    good = curve(0.1, 0.5)
    assert choose([*good, row(10, 0.9) | damage], RULE).cause == "not-a-number"
    assert choose([row(0, 0.1) | damage, *curve(0.1, 0.5, every=7)[1:]], RULE).step == 7


def test_an_entropy_or_loss_that_is_no_number_is_not_used():
    rows = curve(0.1, 0.5, 0.5)
    assert choose([r | {"entropy": "1", "heldout_loss": "2"} for r in rows], RULE) == choose(rows, RULE)

"""One population or family, one setting: draw sets, ask flatspot, and compare what it prints with what is true.

An `Observed` collects, per set, what was claimed and what was realized, under the name of the number. What makes a claim hold is in
`judge.py`.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from functools import cache

import numpy as np
from binary_sets import BINARY
from graded_sets import GRADED
from held_back import HELD_BACK
from oracle import fewest_completions
from truths import EPSILON, GROUP, SIZES

from flatspot.stats.decide import give_verdicts, shapes_in_doubt
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.forecast import fill_batch
from flatspot.stats.intervals import weighted_share
from flatspot.stats.models.fitted import fit, spread
from flatspot.stats.triage.loop import triage
from flatspot.stats.zones import STATES, Zones
from flatspot.verdicts.caveats import FEW_PROMPTS, doubtful_error
from flatspot.verdicts.judge import PromptVerdicts
from flatspot.verdicts.settings import JudgeSettings

FAMILIES = {
    name: (kind, law) for laws in ({"binary": BINARY, "graded": GRADED}, HELD_BACK) for kind in laws for name, law in laws[kind].items()
}
TARGETS = (0.05, 0.03, 0.02, 0.01)
_LARGE = {"binary": 60_000, "graded": 6_000}  # prompts that stand for the whole family
_GRADED_ROUND = 4  # completions at a time: `diagnose` draws as many or more, and every round is a fit
_DECILES = 10
_BATCH, _PROBED = 32, 50  # mixed groups of a training batch; a warm-up probes so many prompts


class Observed:
    """Per number: a list over the sets of what was claimed and realized."""

    def __init__(self):
        self.of = defaultdict(list)

    def error(self, number, claim, realized, said):
        """`said`: whether the output itself says that it cannot promise this."""
        self.of[number].append({"claim": claim, "realized": realized, "said": said})

    def inside(self, number, truth, low, high, level, slack=5e-4):
        """One interval, of a share or an error: to three digits."""
        self.of[number].append({"claim": level, "realized": float(low - slack <= truth <= high + slack), "width": float(high - low)})

    def inside_each(self, number, truth, limits, level, slack):
        """One interval for each prompt [M, 2]: their mean coverage, and that within each tenth of the prompts by the truth."""
        held = (limits[:, 0] - slack <= truth) & (truth <= limits[:, 1] + slack)
        tenths = [float(part.mean()) for part in np.array_split(held[np.argsort(truth, kind="stable")], _DECILES)]
        width = float(np.mean(limits[:, 1] - limits[:, 0]))
        self.of[number].append({"claim": level, "realized": float(held.mean()), "width": width, "tenths": tenths})

    def cost(self, number, fewest, completions):
        self.of[number].append({"claim": fewest, "realized": completions})


def rng_of(*key):
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


@cache
def whole_family(name):
    """Of many prompts: the share of mixed groups at each size and of each state; p, the losses, and mean pass@8, of 0/1 rewards alone."""
    kind, law = FAMILIES[name]
    many = law(_LARGE[kind], rng_of("whole", name))
    if kind == "graded":
        return (*many.shares(), None, None, None)
    return (*many.shares(), many.mean, many.wrong(), float((many.mean + many.gain).mean()))


def truth_like(name, prompts):
    return prompts.like if prompts.like is not None else whole_family(name)[:2]


def fixed(name, m, completions, sets, targets=(0.05, 0.02)):
    """As many completions of each prompt: a log that `flatspot inspect` reads."""
    seen = Observed()
    for number in range(sets):
        rng = rng_of("fixed", name, m, completions, number)
        prompts = FAMILIES[name][1](m, rng)
        rewards = prompts.draw(np.arange(m), completions, rng)
        zones = _zones(prompts, rewards)
        evidence = evidence_of_rows(np.repeat(np.arange(m), completions), rewards.ravel(), m)
        model = fit(evidence, np.full(m, np.nan), zones, (*SIZES, zones.group_size), clusters=_clusters(prompts))
        for target in targets:
            _verdicts(seen, model, give_verdicts(model, target, worst_case=False), prompts, target, triaged=False)
        _set_numbers(seen, model, name, prompts)
        _prompt_numbers(seen, model, prompts)
    return seen


def adaptive(name, m, sets, targets=TARGETS, worst_case=False, advantage="centered", whole=()):
    """`flatspot diagnose`: triage decides how many completions each prompt gets. `whole`: at which targets also what is said of the set."""
    seen, fewest = Observed(), _fewest(name, targets)
    at_a_time = 1 if FAMILIES[name][0] == "binary" else _GRADED_ROUND
    for number in range(sets):
        for target in targets:
            rng = rng_of("adaptive", name, m, number)
            prompts = FAMILIES[name][1](m, rng)
            result = triage(
                lambda i, k, prompts=prompts, rng=rng: prompts.draw(i, k, rng).astype(float),
                m,
                epsilon=EPSILON,
                target_error=target,
                reward_range=(prompts.low, prompts.high) if prompts.stated else None,
                round_size=at_a_time,
                advantage=advantage,
                worst_case=worst_case,
            )
            _verdicts(seen, result.fitted, result.decisions, prompts, target, True, worst_case, advantage)
            if not worst_case and advantage == "centered":
                seen.cost(f"completions, {target:.0%} target", fewest[target], float(result.n_samples.mean()))
            if target in whole:
                _set_numbers(seen, spread(result.fitted, result.fitted.n > 0, _clusters(prompts)), name, prompts)
            if m <= _PROBED:
                _probe_numbers(seen, result.fitted, name, prompts)
    return seen


def _fewest(name, targets):
    p, wrong = whole_family(name)[2:4]
    return dict.fromkeys(targets, np.nan) if p is None else fewest_completions(p, wrong, targets)


def _clusters(prompts):
    """What `--cluster-col` names, where the prompts stand for those of other tasks."""
    return prompts.task if prompts.like is None else None


def _zones(prompts, rewards):
    low, high = (prompts.low, prompts.high) if prompts.stated else (float(rewards.min()), float(rewards.max()))
    return Zones(EPSILON, low, high, stated=prompts.stated)


def _verdicts(seen, model, decisions, prompts, target, triaged, worst_case=False, advantage="centered"):
    state, limit = decisions.state, model.worst_case_error(decisions.state, realized=True)
    given = np.flatnonzero(state >= 0)
    wrong = prompts.wrong(advantage == "normalized")
    realized = float(wrong[given, state[given]].mean()) if len(given) else 0.0
    verdicts = PromptVerdicts(decisions.verdict, decisions.error_probability, decisions.leaning, limit)
    doubt = doubtful_error(verdicts, JudgeSettings(target_error=target)) if not worst_case else []
    shapes = model.family not in ("binary", "few-valued") and shapes_in_doubt(decisions.error[given])
    said = bool(model.misfit) or bool(doubt) or shapes or len(state) < FEW_PROMPTS
    undecided = float((state < 0).mean())
    how = ", worst case" if worst_case else ", normalized" if advantage == "normalized" else ""
    if triaged:
        seen.error(f"error, {target:.0%} target{how}", target, realized, said)
        seen.of[f"undecided, {target:.0%} target{how}"].append({"claim": 0.0, "realized": undecided})
    if len(given) and not worst_case:  # which promises a limit
        seen.error(f"predicted error, {target:.0%} target{how}", decisions.predicted_error, realized, said)
    if np.isfinite(limit):
        seen.inside(f"worst-case error, {target:.0%} target{how}", realized, 0.0, limit, 0.975)


def _set_numbers(seen, model, name, prompts):
    mixed, states = truth_like(name, prompts)
    own_mixed, own_states = prompts.shares()
    wrong = prompts.wrong()
    for i, state in enumerate(STATES):
        _, low, high = model.shares[i]
        seen.inside(f"share {state}", states[i], low, high, 0.95)
        seen.inside(f"share {state}, of this set", own_states[i], low, high, 0.95)
        least, most = model.set_limits(i)  # at least so many may be called so, at most so many must be
        may, must = float((~wrong[:, i]).mean()), float(np.delete(wrong, i, 1).all(1).mean())
        seen.of[f"called {state}"].append(
            {"claim": 0.95, "realized": float(least <= may + 1e-9 and must <= most + 1e-9), "width": most - least}
        )
    for k, truth, own, (_, low, high) in zip(SIZES, mixed, own_mixed, model.forecast(SIZES), strict=True):
        seen.inside(f"mixed groups of {k}", truth, low, high, 0.9)
        seen.inside(f"mixed groups of {k}, of this set", own, low, high, 0.9)
    if mixed[1] > 0:
        _, low, high = fill_batch(model, GROUP, _BATCH).groups
        seen.inside(f"groups that fill a batch of {_BATCH}", _BATCH / mixed[1], low, high, 0.9, slack=0.05)


def _probe_numbers(seen, model, name, prompts):
    """What a warm-up prints at each probe, as of prompts drawn from one stratum of the run."""
    if prompts.like is not None:
        return
    stratum, of_run, scored = np.zeros(len(prompts), np.int64), np.array([1.0, 0.0, 0.0]), model.n > 0
    share = weighted_share(model.states[scored, 0], stratum[scored], of_run, model.shares[0])
    seen.inside("share vanishing of a probe", whole_family(name)[1][0], share.lo, share.hi, 0.95)
    if (best := whole_family(name)[4]) is not None:
        share = weighted_share(model.pass_at(GROUP)[0][scored], stratum[scored], of_run)
        seen.inside("pass@8 of a probe", best, share.lo, share.hi, 0.95)


def _prompt_numbers(seen, model, prompts):
    slack, limits = 5e-4 * (prompts.high - prompts.low if prompts.stated else prompts.scale), model.limits
    for what, truth, interval in (
        ("std", prompts.std, model.std_limits),
        ("mean", prompts.mean, limits.mean),
        ("mixed", prompts.mixed(), limits.mixed),
        ("gain", prompts.gain, limits.gain),
    ):
        seen.inside_each(f"{what} of a prompt", truth, interval, 0.95, slack if what != "mixed" else 1e-6)

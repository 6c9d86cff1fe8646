"""A look at a policy on a few prompts of a judged run: how many RL could use now, by adaptive triage."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.errors import EngineError, SettingsError
from flatspot.core.protocols import Engine, Reward
from flatspot.core.records import Completion, Prompt, Sampling
from flatspot.planning.failing import drawn_order
from flatspot.rollouts.completions import block_of, draw_completions, rewards_of
from flatspot.rollouts.rounds import Round, run_rounds
from flatspot.runs.run import Run, as_run
from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.intervals import stratum_weights, weighted_share
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.triage.decider import Adaptive
from flatspot.stats.triage.plan import Plan
from flatspot.stats.triage.result import evidence_of_draws

STRATA = ("vanishing", "learnable", "solved")
_GUARDS = 0.25  # of the probed prompts: those that could be lost
_ENTROPY_ROWS = 64
_ROUND_ROWS = 128
_SURE = 64  # completions of a labeled prompt, at most: whether it is solved takes more of them than whether it recovered


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How closely to look.

    prompts         prompts that are probed, at most: three in four of those that vanish, the rest of those that do not
    max_completions of each, at most
    target_error    of triage: the smaller, the more completions of prompts in doubt
    every           steps between probes; None: a twentieth of the trainer's
    held_back       share of the labels kept out of training, for their loss; none of fewer than 10 labels
    group_size      completions per prompt in the planned RL run; None: the run's
    max_new_tokens, temperature   of the completions; None: the run's
    seed            draws the prompts and their completions: the same at every probe, so that what differs is the policy
    """

    prompts: int = 64
    max_completions: int = 16
    target_error: float = 0.1
    every: int | None = None
    held_back: float = 0.1
    group_size: int | None = None
    max_new_tokens: int | None = None
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("prompts", "max_completions", "every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} of a probe must be at least 1, got {value}")
        if not 0 <= self.held_back < 1:
            raise SettingsError(f"held_back must lie in [0, 1), got {self.held_back}")


@dataclass(frozen=True)
class Probed:
    """The prompts that every probe looks at, and how it judges them.

    stratum  [M] what the run said of each: 0 vanishing, 1 learnable, 2 solved
    of_run   [3] share of the run's prompts in each
    r_star   [M] achievable reward, NaN where the reference has none
    """

    prompts: tuple[Prompt, ...]
    stratum: Ints
    of_run: Floats
    r_star: Floats
    epsilon: float
    reward_range: tuple[float, float]
    group_size: int
    sampling: Sampling
    settings: ProbeSettings


def probed_prompts(run: str | Path | Run, settings: ProbeSettings, *, without: Sequence[str] = ()) -> Probed:
    """Choose them from a judged run; `without` names texts of prompts, those with labels, which would look better than the rest.

    Raises RunFolderError where the run is not judged, SettingsError where nothing is left to probe.
    """
    run = as_run(run)
    state = _states(run)
    every_text = run.prompts["prompt"].to_pylist()
    taken = set(without)
    open_ = np.array([state[i] >= 0 and every_text[i] not in taken for i in range(len(state))], bool)
    if not open_.any():
        raise SettingsError(f"{run.folder}: every prompt has a label or no reward, so none is left to see whether the others recover")
    chosen = _stratified(run.ids, state, open_, settings)
    prompts = tuple(run.prompt(int(i)) for i in chosen)
    counts = np.array([(state == s).sum() for s in range(3)], float)
    of_run = counts / counts.sum()
    r_star = np.asarray(run.prompts["reference_reward"].to_numpy(), float)[chosen]
    sampling = _sampling(run.summary.sampling, settings)
    size = settings.group_size or run.summary.group_size
    return Probed(prompts, state[chosen], of_run, r_star, run.summary.epsilon, run.summary.reward.range, size, sampling, settings)


def _states(run: Run) -> Ints:
    """[M] the likeliest state of each prompt, −1 where it is unscored."""
    p = np.stack([run.numbers(f"p_{name}") for name in STRATA], -1)
    known = np.asarray(np.isfinite(p).all(-1))
    return np.where(known, np.where(known[:, None], p, 0.0).argmax(-1), -1)


def _stratified(ids: Sequence[str], state: Ints, open_: Any, settings: ProbeSettings) -> Ints:
    order = drawn_order(ids, settings.seed)
    by = [[int(i) for i in order if open_[i] and state[i] == s] for s in range(3)]
    guards = min(len(by[1]) + len(by[2]), max(settings.prompts - len(by[0]), round(_GUARDS * settings.prompts)))
    learnable = min(len(by[1]), max(guards - len(by[2]), -(-guards * 2 // 3)))
    counts = (settings.prompts - guards, learnable, guards - learnable)
    return np.sort(np.array([i for part, n in zip(by, counts, strict=True) for i in part[: max(n, 0)]], np.int64))


def _sampling(said: Mapping[str, Any], settings: ProbeSettings) -> Sampling:
    known = {name: said[name] for name in ("temperature", "top_p", "top_k", "max_new_tokens") if said.get(name) is not None}
    own = {name: getattr(settings, name) for name in ("temperature", "max_new_tokens") if getattr(settings, name) is not None}
    return Sampling(**(known | own))


@dataclass(frozen=True)
class ProbeDraws:
    """What was drawn of some prompts, and the model fitted to it.

    n_completions  [M] of each prompt
    some           a few (prompt, completion) pairs
    error          the reward's first
    """

    n_completions: Ints
    evidence: Evidence
    model: FittedModel
    some: tuple[tuple[Prompt, Completion], ...]
    error: str | None


def draw(engine: Engine, reward: Reward, probed: Probed) -> ProbeDraws:
    """Draw and score until every prompt is settled."""
    settings, n = probed.settings, len(probed.prompts)
    plan = Plan(
        n_prompts=n,
        epsilon=probed.epsilon,
        target_error=settings.target_error,
        max_completions=settings.max_completions,
        reward_range=probed.reward_range,
        r_star=probed.r_star,
        references=True,
        pilot_prompts=n,
        round_rows=_ROUND_ROWS,
    )
    decider, some, errors = Adaptive(plan), list[tuple[Prompt, Completion]](), list[str]()

    def rewards(this: Round) -> Floats:
        scored = draw_completions(block_of(probed.prompts, this), engine, reward, probed.sampling, seed=settings.seed)
        errors.extend(one.score.error for one in scored if one.score.error)
        if not some:
            some.extend((one.prompt, one.completion) for one in scored[:: this.n_completions][:_ENTROPY_ROWS])
        return rewards_of(scored, this)

    run_rounds(decider, rewards)
    draws, model = decider.state.draws, decider.state.model
    return ProbeDraws(draws.drawn, evidence_of_draws(draws, plan.zones(draws)), model, tuple(some), errors[0] if errors else None)


def shares_of(drawn: ProbeDraws, probed: Probed) -> dict[str, Any]:
    """The numbers of a probe that rewards alone give, as curve.json has them; no key but `generations` where nothing was scored."""
    generations = int(drawn.n_completions.sum())
    known = drawn.model.n > 0
    if not known.any():
        return {"generations": generations, "scored": 0.0, "error": drawn.error}
    states, stratum = drawn.model.states[known], probed.stratum[known]
    of_run = np.where(np.bincount(stratum, minlength=3) > 0, probed.of_run, 0.0)
    weights = stratum_weights(stratum, of_run)
    numbers: dict[str, Any] = {"generations": generations, "scored": float(known.mean())}
    for i, name in enumerate(STRATA):
        numbers[name] = asdict(weighted_share(states[:, i], stratum, of_run))
    usable = states[:, 1] + states[:, 2]
    numbers["recovered"] = asdict(weighted_share(usable, stratum, of_run))
    # the standard error is for these very prompts, so that two probes of them can be compared
    mean, variance = (values[known] for values in drawn.model.pass_at(probed.group_size))
    sd = float(np.sqrt((weights**2 * variance).sum()))
    numbers["ready"] = asdict(weighted_share(mean, stratum, of_run)) | {"sd": sd}
    was = stratum == STRATA.index("learnable")
    numbers["kept"] = asdict(weighted_share(usable[was], stratum[was], np.array([0.0, 1.0, 0.0]))) if was.any() else None
    numbers["reward"] = float(weights @ drawn.evidence.mean[known])
    return numbers


def read_rows(policy: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]], *, rows_at_once: int = 16) -> dict[str, float | None]:
    """Mean loss and mean entropy per token, in nats, of completions (prompt ids, completion ids); None without any token."""
    import torch

    from flatspot.engines.sequences import log_prob_and_entropy, token_logits

    loss, entropy, tokens = 0.0, 0.0, 0
    rows = [row for row in rows if row[1]]
    for begin in range(0, len(rows), rows_at_once):
        part = rows[begin : begin + rows_at_once]
        places = [(i, j) for i, (_, ids) in enumerate(part) for j in range(len(ids))]
        at = (np.array([i for i, _ in places]), np.array([j for _, j in places]))
        with torch.no_grad():
            logits = token_logits(policy, [list(p) for p, _ in part], [list(c) for _, c in part], at)
            log_p, spread = log_prob_and_entropy(logits, [part[i][1][j] for i, j in places])
        loss, entropy, tokens = loss - float(log_p.sum()), entropy + float(spread.sum()), tokens + len(places)
    if not tokens:
        return {"loss": None, "entropy": None}
    return {"loss": loss / tokens, "entropy": entropy / tokens}


def probe(engine: Any, reward: Reward, probed: Probed, held_back: Sequence[tuple[Sequence[int], Sequence[int]]] = ()) -> dict[str, Any]:
    """One row of curve.json, but for its step: shares, ready, kept, reward, entropy, heldout_loss, generations, seconds.

    engine     `HfEngine`, whose policy is read again for entropy and loss
    held_back  token ids of labels that are not learned: (prompt, answer)

    A policy whose logits are no numbers gives a row with `loss` NaN, which no rule takes for a good one.
    """
    from flatspot.training.warmup.examples import with_end

    begun = time.monotonic()
    try:
        drawn = draw(engine, reward, probed)
    except EngineError as error:
        if not isinstance(error.__cause__, FloatingPointError):
            raise
        return {"generations": 0, "seconds": round(time.monotonic() - begun, 3), "loss": math.nan}
    found = shares_of(drawn, probed)
    said = read_rows(engine.policy, [with_end(engine.policy, p.text, c) for p, c in drawn.some])
    kept = read_rows(engine.policy, held_back) if held_back else {"loss": None}
    found |= {"entropy": said["entropy"], "heldout_loss": kept["loss"]}
    return found | {"seconds": round(time.monotonic() - begun, 3)}


def labels_solved(engine: Any, reward: Reward, probed: Probed, prompts: Sequence[Prompt], r_star: Floats) -> tuple[float | None, int]:
    """Share of labeled prompts that the policy solves already, at most 16 of them looked at; and how many completions that took."""
    few = list(prompts[:16])
    if not few:
        return None, 0
    own = replace(
        probed,
        prompts=tuple(few),
        stratum=np.zeros(len(few), np.int64),
        r_star=np.asarray(r_star[: len(few)], float),
        settings=replace(probed.settings, max_completions=_SURE, target_error=0.05),
    )
    done = draw(engine, reward, own)
    solved = done.model.states[:, 2]
    return (float(np.nanmean(solved)) if np.isfinite(solved).any() else None), int(done.n_completions.sum())

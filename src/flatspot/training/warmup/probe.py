"""A probe of a warm-up: how many prompts of a judged run RL could use now, by adaptive triage on a few of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import EngineError, SettingsError
from flatspot.core.plain import Json, JsonObject
from flatspot.core.protocols import Engine, Reward
from flatspot.core.records import Completion, Prompt, Sampling
from flatspot.core.renamed import old_keywords
from flatspot.planning.failing import drawn_order
from flatspot.rollouts.completions import block_of, draw_completions, rewards_of
from flatspot.rollouts.rounds import Round, run_rounds
from flatspot.runs.run import Run, as_run
from flatspot.runs.zones import top_of, zones_of
from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.intervals import Share, stratum_weights, weighted_share
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.triage.decider import Adaptive
from flatspot.stats.triage.plan import Plan
from flatspot.stats.triage.result import evidence_of_draws
from flatspot.stats.zones import Zones
from flatspot.training.warmup.curve import ProbeRow, ShareLimits
from flatspot.training.warmup.template_values import template_values

if TYPE_CHECKING:
    from flatspot.engines.policy import Policy

TokenRows = Sequence[tuple[Sequence[int], Sequence[int]]]
"""The token ids of (prompt, completion) pairs."""

PROBE_ENGINES = ("hf", "vllm")
STRATA = ("vanishing", "learnable", "solved")
_GUARDS = 0.25  # share of the probed prompts that could be lost: learnable and solved ones
_ENTROPY_ROWS = 64
_ROUND_ROWS = 128
_LABEL_COMPLETIONS = 64  # at most, of a labeled prompt: "solved" takes more of them than "recovered"
_LABELS = 16  # labeled prompts that are checked, at most


@old_keywords
@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How often and how precisely a warm-up probes. Raises `SettingsError` for a value that is out of its range.

    prompts          maximum number of probed prompts: three in four of the vanishing ones, the others from the rest
    max_completions  maximum number of completions per prompt
    target_error     of triage: the smaller, the more completions of prompts in doubt
    every            steps between probes; None: a twentieth of the trainer's
    held_out         share of the labels held out of the training, for their loss; none of fewer than 10 labels
    group_size       completions per prompt in the planned RL run; None: the run's
    max_new_tokens, temperature   of the completions; None: the run's
    engine           hf samples the model in training itself; vllm has the weights again, on the GPU only while it samples
    memory_gib       of vllm's cache; None: 4
    seed             of the prompts and their completions: the same at every probe, so that probes differ by the policy alone

    >>> ProbeSettings(prompts=32, max_completions=8).target_error
    0.1
    """

    prompts: int = 64
    max_completions: int = 16
    target_error: float = 0.1
    every: int | None = None
    held_out: float = 0.1
    group_size: int | None = None
    max_new_tokens: int | None = None
    temperature: float | None = None
    seed: int = 0
    engine: str = "hf"
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        if self.engine not in PROBE_ENGINES:
            raise SettingsError(f"--probe-engine must be {' or '.join(PROBE_ENGINES)}, got {self.engine!r}")
        if self.memory_gib is not None and self.engine == "hf":
            raise SettingsError("--probe-memory-gib is for vLLM's cache: add --probe-engine vllm, or leave it out")
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise SettingsError(f"--probe-memory-gib must be a finite number above 0, got {self.memory_gib:g}")
        for name in ("prompts", "max_completions", "every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} of a probe must be at least 1, got {value}")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out must lie in [0, 1), got {self.held_out}")

    def identity(self) -> JsonObject:
        """What the numbers of a probe depend on."""
        without = ("memory_gib", *(("engine",) if self.engine == "hf" else ()))  # as before there was another engine
        return {name: value for name, value in asdict(self).items() if name not in without}


@dataclass(frozen=True)
class Probed:
    """The prompts of every probe, and how they are judged.

    stratum  [M] the run's verdict on each: 0 vanishing, 1 learnable, 2 solved
    of_run   [3] share of the run's prompts with each verdict
    answers  [M] what real answers earn, NaN where nobody named any
    zones    the limits of the run, and
    top      what every prompt can earn; None where that is not known

    template_kwargs    values for the policy's chat template
    """

    prompts: tuple[Prompt, ...]
    stratum: Ints
    of_run: Floats
    answers: Floats
    zones: Zones
    top: float | None
    sampling: Sampling
    settings: ProbeSettings
    template_kwargs: Mapping[str, Json] = field(default_factory=dict)


def probed_prompts(
    run: str | Path | Run,
    settings: ProbeSettings,
    *,
    without: Sequence[str] = (),
    template_kwargs: Mapping[str, Json] | None = None,
) -> Probed:
    """The prompts of a judged run to probe. `without` has the texts of labeled prompts, which would look better than the rest.

    template_kwargs    as `template_values` takes them

    Raises RunFolderError if the run is not judged, SettingsError if no prompt remains.
    """
    run = as_run(run)
    state = _states(run)
    values = template_values(run, template_kwargs)
    labeled = set(without)
    usable = (state >= 0) & np.array([text not in labeled for text in run.prompts["prompt"].to_pylist()], bool)
    if not usable.any():
        raise SettingsError(f"{run.folder}: every prompt has a label or no reward, so none is left to see whether the others recover")
    rows = _stratified(run.ids, state, usable, settings)
    prompts = tuple(run.prompt(int(i)) for i in rows)
    counts = np.array([(state == s).sum() for s in range(3)], float)
    of_run = counts / counts.sum()
    answers = np.asarray(run.prompts["answer_reward"].to_numpy(), float)[rows]
    sampling = _sampling(run.summary.sampling, settings)
    zones = zones_of(run.summary)
    zones = replace(zones, group_size=settings.group_size or zones.group_size)
    return Probed(prompts, state[rows], of_run, answers, zones, top_of(run.summary), sampling, settings, values)


def _states(run: Run) -> Ints:
    """[M] the most probable state of each prompt, −1 if it is unscored."""
    p = np.stack([run.numbers(f"p_{name}") for name in STRATA], -1)
    scored = np.asarray(np.isfinite(p).all(-1))
    return np.where(scored, np.where(scored[:, None], p, 0.0).argmax(-1), -1)


def _stratified(ids: Sequence[str], state: Ints, usable: NDArray[np.bool_], settings: ProbeSettings) -> Ints:
    order = drawn_order(ids, settings.seed)
    by = [[int(i) for i in order if usable[i] and state[i] == s] for s in range(3)]
    guards = min(len(by[1]) + len(by[2]), max(settings.prompts - len(by[0]), round(_GUARDS * settings.prompts)))
    learnable = min(len(by[1]), max(guards - len(by[2]), -(-guards * 2 // 3)))
    counts = (settings.prompts - guards, learnable, guards - learnable)
    return np.sort(np.array([i for part, n in zip(by, counts, strict=True) for i in part[: max(n, 0)]], np.int64))


def _sampling(of_run: Mapping[str, object], settings: ProbeSettings) -> Sampling:
    names = ("temperature", "top_p", "top_k", "max_new_tokens")
    own = {name: getattr(settings, name) for name in ("temperature", "max_new_tokens") if getattr(settings, name) is not None}
    return Sampling(**({name: of_run[name] for name in names if of_run.get(name) is not None} | own))  # type: ignore[arg-type]  # its own fields


@dataclass(frozen=True)
class ProbeDraws:
    """The completions of some prompts, and the model fitted to their rewards.

    n_completions  [M] of each prompt
    some           a few (prompt, completion) pairs
    error          the first error of the reward
    """

    n_completions: Ints
    evidence: Evidence
    model: FittedModel
    some: tuple[tuple[Prompt, Completion], ...]
    error: str | None


def draw(engine: Engine, reward: Reward, probed: Probed) -> ProbeDraws:
    """Sample and score until every prompt has a verdict."""
    settings, zones, n = probed.settings, probed.zones, len(probed.prompts)
    plan = Plan(
        n_prompts=n,
        epsilon=zones.epsilon,
        group_size=zones.group_size,
        advantage=zones.advantage,
        target_error=settings.target_error,
        max_completions=settings.max_completions,
        reward_range=(zones.lo, zones.hi),
        typical=zones.typical,
        r_star=probed.answers,
        top_reachable=probed.top is not None,
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


def shares_of(draws: ProbeDraws, probed: Probed) -> ProbeRow:
    """The numbers of a probe that follow from rewards alone; if nothing was scored, only `generations`, `scored` and `error`."""
    generations = int(draws.n_completions.sum())
    scored = draws.model.n > 0
    if not scored.any():
        return ProbeRow(generations=generations, scored=0.0, error=draws.error)
    states, stratum = draws.model.states[scored], probed.stratum[scored]
    of_run = np.where(np.bincount(stratum, minlength=3) > 0, probed.of_run, 0.0)
    weights = stratum_weights(stratum, of_run)
    of_fit = draws.model.shares
    shares = [_limits(weighted_share(states[:, i], stratum, of_run, of_fit[i])) for i in range(len(STRATA))]
    usable, of_usable = states[:, 1] + states[:, 2], 1 - of_fit[0][[0, 2, 1]]
    mean, variance = (values[scored] for values in draws.model.pass_at(probed.zones.group_size))
    ready = _limits(weighted_share(mean, stratum, of_run))
    ready["sd"] = float(np.sqrt((weights**2 * variance).sum()))  # for these very prompts, so that two probes can be compared
    was = stratum == STRATA.index("learnable")
    return ProbeRow(
        generations=generations,
        scored=float(scored.mean()),
        vanishing=shares[0],
        learnable=shares[1],
        solved=shares[2],
        recovered=_limits(weighted_share(usable, stratum, of_run, of_usable)),
        ready=ready,
        kept=_limits(weighted_share(usable[was], stratum[was], np.array([0.0, 1.0, 0.0]), of_usable)) if was.any() else None,
        reward=float(weights @ draws.evidence.mean[scored]),
    )


def _limits(share: Share) -> ShareLimits:
    return ShareLimits(mean=share.mean, lo=share.lo, hi=share.hi)


def read_rows(policy: Policy, rows: TokenRows, *, rows_at_once: int = 16) -> dict[str, float | None]:
    """Mean loss and mean entropy per token, in nats, of the completions of `rows`; None without any token."""
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


def probe(engine: Engine, policy: Policy, reward: Reward, probed: Probed, held_out: TokenRows = ()) -> ProbeRow:
    """A row of curve.json without its step: shares, ready, kept, reward, entropy, heldout_loss, generations, seconds.

    engine    samples the policy, whose forward pass tells entropy and loss
    held_out  token ids (prompt, answer) of labels that are not in the training

    If the policy's logits are not finite, `loss` is NaN, and the stop rule does not use the row.
    """
    from flatspot.training.warmup.examples import with_end

    begun = time.monotonic()
    try:
        draws = draw(engine, reward, probed)
    except EngineError as error:
        if not isinstance(error.__cause__, FloatingPointError):
            raise
        return ProbeRow(generations=0, seconds=round(time.monotonic() - begun, 3), loss=math.nan)
    row = shares_of(draws, probed)
    row["entropy"] = read_rows(policy, [with_end(policy, p.text, c) for p, c in draws.some])["entropy"]
    row["heldout_loss"] = read_rows(policy, held_out)["loss"] if held_out else None
    row["seconds"] = round(time.monotonic() - begun, 3)
    return row


def labels_solved(engine: Engine, reward: Reward, probed: Probed, prompts: Sequence[Prompt]) -> tuple[float | None, int]:
    """(share of labeled prompts that the policy already solves, from at most 16 of them; the number of completions that it took)."""
    few = list(prompts[:_LABELS])
    if not few:
        return None, 0
    own = replace(
        probed,
        prompts=tuple(few),
        stratum=np.zeros(len(few), np.int64),
        answers=np.full(len(few), np.nan),
        settings=replace(probed.settings, max_completions=_LABEL_COMPLETIONS, target_error=0.05),
    )
    draws = draw(engine, reward, own)
    solved = draws.model.states[:, 2]
    return (float(np.nanmean(solved)) if np.isfinite(solved).any() else None), int(draws.n_completions.sum())

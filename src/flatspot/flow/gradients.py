"""`flatspot diagnose --gradients`: fresh completions per prompt, differentiated, into gradients.parquet of the run folder.

The completions are drawn anew and not taken from the run: how many the run drew may depend on what it saw, and an unbiased estimate
needs a number fixed beforehand. The table is rewritten whole after each prompt, so that a stopped pass resumes where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.errors import EngineError, SettingsError
from flatspot.core.plain import JsonObject
from flatspot.core.records import Prompt, Sampling
from flatspot.core.schema import GRADIENTS, arrow_schema
from flatspot.core.seeds import row_seed
from flatspot.core.settings import Settings
from flatspot.rollouts.store import as_json, write_table
from flatspot.rollouts.tables import read_table
from flatspot.stats.evidence import reward_std

if TYPE_CHECKING:
    from flatspot.rewards import LoadedReward
    from flatspot.theory.gradients import GradientEstimate

Row = JsonObject
_FORMAT = 2  # of what the numbers mean; a change leaves older tables behind


def check_weights(policy: Any, settings: Settings) -> None:
    """Raise EngineError if gradients are asked of a policy without weights, before anything is drawn."""
    if settings.gradients:
        from flatspot.engines.token_rows import refuse_without_weights

        refuse_without_weights(settings.engine, policy)


def check_groups(reward: LoadedReward, settings: Settings) -> None:
    """Raise SettingsError if gradients are asked of a reward that compares whole groups, with a number of completions that holds none."""
    size = reward.group_size
    if settings.gradients and reward.compares and (size is None or settings.gradient_completions % size):
        raise SettingsError(
            f"--gradient-completions must be a multiple of --group-size {settings.group_size}, for the reward compares the completions of "
            f"a group; got {settings.gradient_completions}"
        )


def measure_gradients(
    folder: Path, prompts: Sequence[Prompt], policy: Any, reward: LoadedReward, settings: Settings, say: Callable[[str], None]
) -> None:
    """Measure the prompts that gradients.parquet lacks, where gradients are asked for; loads nothing where none is left.

    A prompt that cannot be measured is a row with an `error`. Raises EngineError for a policy without weights.
    """
    from flatspot.engines.token_rows import weights_of

    if not settings.gradients:
        return
    request = as_json({"samples": settings.gradient_completions, "seed": settings.seed, "format": _FORMAT, "range": settings.reward_range})
    rows = _stored_rows(folder / "gradients.parquet", request)
    measured = {row["prompt_id"] for row in rows}
    left = [p for p in prompts if p.id not in measured]
    if not left:
        return
    values = settings.chat_template_kwargs
    weights, mode = weights_of(settings.engine, policy, dtype=settings.dtype, device=settings.device, template_kwargs=values)
    # the policy itself, without the tails that top-p and top-k cut: the theorems are about a softmax
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    start = time.perf_counter()
    for done, prompt in enumerate(left):
        rows.append(_row(prompt, weights, mode, reward, sampling, settings))
        _write(rows, request, folder / "gradients.parquet")
        spent = time.perf_counter() - start
        say(f"gradients: {len(rows)} of {len(prompts)} prompts, about {spent / (done + 1) * (len(left) - done - 1):.0f} s left")


def _row(prompt: Prompt, weights: Any, mode: Any, reward: LoadedReward, sampling: Sampling, settings: Settings) -> Row:
    started = time.perf_counter()
    row: Row = dict.fromkeys(c.name for c in GRADIENTS)
    row |= {"prompt_id": prompt.id, "n_samples": settings.gradient_completions}
    try:
        row |= _measured(prompt, weights, mode, reward, sampling, settings)
    except (SettingsError, EngineError, FloatingPointError) as error:
        row["error"] = str(error)
    row["seconds"] = time.perf_counter() - started
    return row


def _measured(prompt: Prompt, weights: Any, mode: Any, reward: LoadedReward, sampling: Sampling, settings: Settings) -> Row:
    from flatspot.engines.prompts import check_fits, encode, to_completion
    from flatspot.engines.sequences import draw_batch
    from flatspot.engines.token_rows import completion_logits, trainable
    from flatspot.theory.gradients import estimate_gradient, gamma_lower

    ids = encode(weights, prompt.text)
    check_fits(weights, prompt.text, ids, sampling)
    # seeds of their own: these completions share nothing with the run's
    seeds = [row_seed(settings.seed, f"gradients\x1f{prompt.id}", i) for i in range(settings.gradient_completions)]
    drawn = [row.ids for row in draw_batch(weights, [ids], seeds, sampling, mode, copies=[len(seeds)])]
    scores = reward.score([prompt] * len(drawn), [to_completion(weights, tokens, sampling.max_new_tokens) for tokens in drawn])
    rewards = np.array([np.nan if s.reward is None else s.reward for s in scores], np.float64)
    scored = rewards[np.isfinite(rewards)]
    limits = settings.reward_range or reward.range
    if limits is None or not limits[0] < limits[1]:
        limits = (min(0.0, *scored), max(1.0, *scored)) if len(scored) else (0.0, 1.0)
    logits_of = completion_logits(weights, ids, temperature=sampling.temperature)
    estimate = estimate_gradient(trainable(weights), logits_of, drawn, rewards, reward_range=limits, max_length=sampling.max_new_tokens)
    gamma = gamma_lower(trainable(weights), logits_of, max(drawn, key=len))
    return _numbers(estimate, gamma) | _bounds(estimate, gamma, scored, limits)


def _numbers(estimate: GradientEstimate, gamma: float) -> Row:
    row: Row = {"n_scored": estimate.n, "grad_norm_sq": estimate.norm_sq.mean, "max_length": estimate.length, "gamma": gamma}
    parts = {"grad_norm": estimate.norm, "score_second_moment": estimate.score_second_moment, "collision": estimate.collision}
    for name, part in parts.items():
        row |= {name: part.mean, f"{name}_lo": part.lo, f"{name}_hi": part.hi}
    return row


def _bounds(estimate: GradientEstimate, gamma: float, rewards: Any, limits: tuple[float, float]) -> Row:
    """The bounds at upper limits of what they take; Theorem 1 at half the range, as moving a reward does not change its gradient."""
    from flatspot.theory.bounds import collision_bound, lipschitz_bound, median_bound, score_bound, theorem_1_kl
    from flatspot.theory.unseen import deviation_upper

    std = estimate.std_hi
    size = {"length": estimate.length, "gamma": gamma}
    return {
        "std": float(reward_std(rewards)),
        "std_hi": std,
        "bound_score": score_bound(std, score_second_moment=estimate.score_second_moment.hi),
        "bound_collision": collision_bound(std, gamma=gamma, collision=estimate.collision.hi),
        "bound_lipschitz": lipschitz_bound(std, **size),
        "bound_median": median_bound(deviation_upper(rewards, limits), **size),
        "bound_theorem_1": theorem_1_kl(std, **size, reward_bound=(limits[1] - limits[0]) / 2),
    }


def _stored_rows(path: Path, request: Mapping[str, Any]) -> list[Row]:
    """The rows on disk, if they answer the same question; rows of errors are measured again."""
    if not path.exists():
        return []
    table = read_table(path, [column.name for column in GRADIENTS], optional=("std_hi",))  # older tables lack it
    stored = json.loads((table.schema.metadata or {}).get(b"flatspot_gradients", b"{}"))
    return [row for row in table.to_pylist() if row["error"] is None] if stored == request else []


def _write(rows: Sequence[Row], request: Mapping[str, Any], path: Path) -> None:
    import pyarrow as pa

    schema = arrow_schema(GRADIENTS)
    schema = schema.with_metadata({**(schema.metadata or {}), b"flatspot_gradients": json.dumps(request).encode()})
    write_table(pa.Table.from_pylist(list(rows), schema=schema), path)

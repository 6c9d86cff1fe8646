"""Completions of prompts, drawn by an engine and scored by a reward: the one place where both are asked, for runs and for probes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from flatspot.core.protocols import Engine, OnTokens, Reward
from flatspot.core.records import Completion, Prompt, PromptRequest, Sampling, Score
from flatspot.core.seeds import row_seed
from flatspot.rollouts.known_scores import KnownScores, Row
from flatspot.rollouts.rounds import Floats, Round

Block = Sequence[tuple[Prompt, range]]
"""Prompts, and which of their completions by index."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The completion of a prompt with this index, and what the reward gives it; `copied` from an equal one that was drawn before."""

    prompt: Prompt
    index: int
    completion: Completion
    score: Score
    copied: bool = False


def block_of(prompts: Sequence[Prompt], this: Round, part: slice = slice(None)) -> Block:
    """What a round, or this part of it, draws of a run's prompts."""
    return [(prompts[i], range(first, first + this.n_completions)) for i, first in zip(this.prompts[part], this.first[part], strict=True)]


def rewards_of(scored: Sequence[Scored], this: Round) -> Floats:
    """[m, k] rewards of a round's completions in the order drawn, NaN where there is none."""
    values = [np.nan if one.score.reward is None else one.score.reward for one in scored]
    return np.array(values, float).reshape(len(this.prompts), this.n_completions)


def draw_completions(
    block: Block,
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    *,
    seed: int,
    on_tokens: OnTokens | None = None,
    known: KnownScores | None = None,
) -> list[Scored]:
    """Draw and score a block, in one call of the engine and one of the reward; prompt after prompt, completions by index.

    known  as in `score_completions`

    Each completion has a seed of its own, by its prompt's id and its index, so that the same one is drawn whatever else is in the block.

    >>> from flatspot.engines.scripted import ScriptedEngine
    >>> from flatspot.rewards import load_reward
    >>> block = [(Prompt("a", "2+2=", {"reference": "4"}), range(2))]
    >>> with load_reward("exact_match") as reward:
    ...     rows = draw_completions(block, ScriptedEngine({"2+2=": {"4": 1.0}}), reward, Sampling(), seed=0)
    >>> [(row.index, row.completion.text, row.score.reward) for row in rows]
    [(0, '4', 1.0), (1, '4', 1.0)]
    """
    return score_completions(block, engine.sample(requests_of(block, seed), sampling, on_tokens), reward, known=known)


def requests_of(block: Block, seed: int) -> list[PromptRequest]:
    """What an engine is asked for: each completion with its own seed."""
    return [PromptRequest(prompt.text, tuple(row_seed(seed, prompt.id, i) for i in indices)) for prompt, indices in block]


def draw_parts(
    parts: Iterable[Sequence[PromptRequest]], engine: Engine, sampling: Sampling, on_tokens: OnTokens | None = None
) -> Generator[Sequence[Sequence[Completion]], None, None]:
    """The completions of each part, in order; an engine that can draws the next parts meanwhile."""
    if not hasattr(engine, "sample_parts"):
        for part in parts:
            yield engine.sample(part, sampling, on_tokens)
        return
    with closing(engine.sample_parts(parts, sampling, on_tokens)) as drawn:
        yield from drawn


def score_completions(
    block: Block, completions: Sequence[Sequence[Completion]], reward: Reward, *, known: KnownScores | None = None
) -> list[Scored]:
    """Score what was drawn of a block, in one call of the reward.

    known  the scores so far, under a reward that repeats itself; None: every completion is scored
    """
    rows = [
        (prompt, i, completion)
        for (prompt, indices), several in zip(block, completions, strict=True)
        for i, completion in zip(indices, several, strict=True)
    ]
    scores = iter(_scores([row for row in rows if row[2].error is None], reward, known))
    return [Scored(*row, *(next(scores) if row[2].error is None else (_unscored(reward, row[2].error), False))) for row in rows]


def _scores(rows: Sequence[Row], reward: Reward, known: KnownScores | None) -> list[tuple[Score, bool]]:
    """(the score, whether it was copied) of each row."""
    if known is None or getattr(reward, "compares", False) or getattr(reward, "noisy", False):
        return [(score, False) for score in _asked(reward, rows)]
    scored = known.to_score(rows)
    filled = known.filled(rows, _asked(reward, [row for row, now in zip(rows, scored, strict=True) if now]), scored)
    lacking = [row for row, (score, _) in zip(rows, filled, strict=True) if score is None]  # the first one failed
    missing = _asked(reward, lacking)
    for (prompt, _, completion), score in zip(lacking, missing, strict=True):
        known.remember(prompt.id, completion.text, completion.truncated, score)
    given = iter(missing)
    return [(next(given), False) if score is None else (score, copied) for score, copied in filled]


def _asked(reward: Reward, rows: Sequence[Row]) -> Sequence[Score]:
    return reward.score([prompt for prompt, *_ in rows], [completion for *_, completion in rows]) if rows else ()


def _unscored(reward: Reward, error: str) -> Score:
    """The score of a row without a completion: the reward is not asked."""
    return Score(None, dict.fromkeys(reward.names), error)

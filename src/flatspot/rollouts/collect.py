"""Draw rounds into a run folder: completions, scored and written part by part, so that a run may be stopped and resumed at any time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from flatspot.core.protocols import Engine, Reward
from flatspot.core.records import Completion, Prompt, PromptRequest, Rollout, Sampling
from flatspot.rollouts.compaction import WINDOW
from flatspot.rollouts.completeness import Replay
from flatspot.rollouts.completions import Block, Scored, block_of, draw_parts, requests_of, score_completions
from flatspot.rollouts.known_scores import KnownScores
from flatspot.rollouts.notes import read_notes
from flatspot.rollouts.parts import scored_rows
from flatspot.rollouts.progress import Meter, OnProgress
from flatspot.rollouts.rounds import Floats, Round, Seen, run_rounds
from flatspot.rollouts.store import RunFolder, prompt_text


def collect(
    run: RunFolder,
    prompts: Sequence[Prompt],
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    replay: Replay,
    *,
    seed: int,
    policy: str,
    known: KnownScores | None = None,
    on_scored: Callable[[], None] = lambda: None,
    on_progress: OnProgress | None = None,
) -> None:
    """Draw the rounds of a run that are missing, or missing in part, until its decider has enough.

    replay     of the run, as far as it was drawn when the replay was made
    known      of a reward that repeats itself: what an earlier start scored is taken into it
    on_scored  called after each part is scored, before it is written

    A round is written down before it is drawn, and the next one is decided from the rewards on disk. Each completion has its own seed, and
    parts hold the same rows after any interruption, so a run killed at any moment ends with the rows it would have had.
    """
    getattr(reward, "start_counting", lambda: None)()
    meter = Meter(replay.decider, len(prompts), on_progress)
    if known is not None and known.remembers:
        for row in scored_rows(run.path):
            known.remember(*row)
    drawing = _Drawing(run, prompts, engine, reward, sampling, seed, policy, known, on_scored, meter, run.parts_done())
    decided, numbers = run.rounds(), itertools.count()

    def draw(this: Round) -> tuple[Floats, Seen | None]:
        number = next(numbers)
        if number == len(decided):
            run.write_round(number, this)
            decided.append(this)
        drawing.complete(number, this)
        proves = replay.decider.proves and not getattr(reward, "compares", False) and not read_notes(run.path).noisy
        seen = run.seen(number, this) if proves else None
        return run.rewards(number, this), seen

    for this in decided[: replay.whole]:  # which the decider has absorbed: the engine is to read them, too
        drawing.complete(next(numbers), this)
    run_rounds(replay.decider, draw, decided=decided[replay.whole :])


@dataclass(frozen=True)
class _Drawing:
    """What parts are drawn with.

    done    (round, part) of each part on disk when this start began
    unread  those of them that the engine has not read: it is brought there before it draws the next one
    """

    run: RunFolder
    prompts: Sequence[Prompt]
    engine: Engine
    reward: Reward
    sampling: Sampling
    seed: int
    policy: str
    known: KnownScores | None
    on_scored: Callable[[], None]
    meter: Meter
    done: set[tuple[int, int]]
    unread: list[Block] = field(default_factory=list)

    def complete(self, number: int, this: Round) -> None:
        """Draw the parts of a round that are not on disk, and join small ones."""
        self.meter.round_begins(this)
        with closing(self._drawn(number, this)) as drawn:
            for i, block, completions in drawn:
                scored = score_completions(block, completions, self.reward, known=self.known)
                self.on_scored()
                self.run.write_part(number, i, [_rollout(one, self.policy, this.fixed) for one in scored])
                self.meter.part_done(len(block), len(scored), new=True)
                if i % WINDOW == WINDOW - 1:
                    self.run.join_parts(number, closed=False)
        self.run.join_parts(number, closed=True)

    def _drawn(self, number: int, this: Round) -> Generator[tuple[int, Block, Sequence[Sequence[Completion]]], None, None]:
        """The completions of each part that is not on disk, in order; of an engine that can, while it draws the next ones."""
        begun: deque[tuple[int, Block]] = deque()

        def requests() -> Iterator[list[PromptRequest]]:
            for i, block in self._lacking(number, this):
                begun.append((i, block))
                self.meter.part_begins(len(block) * this.n_completions)
                yield requests_of(block, self.seed)

        with closing(draw_parts(requests(), self.engine, self.sampling, self.meter)) as parts:
            for completions in parts:
                yield (*begun.popleft(), completions)

    def _lacking(self, number: int, this: Round) -> Iterator[tuple[int, Block]]:
        """The parts of a round that are not on disk, each when it is to be drawn."""
        for i, part in enumerate(this.parts(self.run.record.rows_per_part)):
            block = block_of(self.prompts, this, part)
            if (number, i) in self.done:
                self.unread.append(block)
                self.meter.part_done(len(block), len(block) * this.n_completions, new=False)
                continue
            self._recall()
            yield i, block

    def _recall(self) -> None:
        """Bring an engine that remembers prompts to where it was after the parts that an earlier start drew."""
        if self.unread and hasattr(self.engine, "recall"):
            self.engine.recall([[PromptRequest(p.text, ()) for p, _ in block] for block in self.unread], self.sampling)
        self.unread.clear()


def _rollout(scored: Scored, policy: str, fixed: bool) -> Rollout:
    prompt, completion, score = scored.prompt, scored.completion, scored.score
    drawn = completion.error is None
    return Rollout(
        prompt_id=prompt.id,
        prompt=prompt.text,
        completion=completion.text if drawn else None,
        sample_idx=scored.index,
        reward=score.reward,
        rewards=score.rewards,
        error=score.error,
        step=None,
        policy=policy,
        truncated=completion.truncated if drawn else None,
        n_tokens=completion.n_tokens if drawn else None,
        fixed=fixed,
        logprob=completion.logprob,
        copied=scored.copied or None,
    )


def visit_cost(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> float:
    """What reading a prompt costs the engine, in completions: mean prompt tokens times `engine.prompt_token_cost`, over completion tokens.

    The cost of a prompt token is that of a completion token where a CPU computes both, and all but nothing where the engine keeps prompts
    between calls. A token is taken for four characters, a completion for half of its limit: beforehand there is nothing better.
    """
    cost = float(getattr(engine, "prompt_token_cost", 0.0))
    characters = float(np.mean([len(prompt_text(p.text)) for p in prompts])) if prompts else 0.0
    return cost * characters / 4 / (sampling.max_new_tokens / 2)

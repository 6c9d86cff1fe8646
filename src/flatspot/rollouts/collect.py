"""Draw completions, score them, keep the rows: part by part, so that stopping and going on is free."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flatspot.core.protocols import Engine, Reward
from flatspot.core.records import Prompt, Request, Rollout, Sampling
from flatspot.core.seeds import row_seed
from flatspot.rollouts.compaction import WINDOW
from flatspot.rollouts.rounds import Decider, Ints, Round
from flatspot.rollouts.store import RunFolder, prompt_text


@dataclass(frozen=True, slots=True)
class Progress:
    """How far collecting has come: completions and prompts done of those asked, tokens and seconds of this start alone.

    rows_done  with the completions of the running part that are whole, though their rows are not on disk yet
    rows_now   those of this start; 0 before its first part is done
    at_most  whether rows_total is only a limit: the rewards decide, and it shrinks as prompts are settled
    """

    rows_done: int
    rows_total: int
    prompts_done: int
    prompts_total: int
    tokens: int
    seconds: float
    rows_now: int
    at_most: bool = False

    @property
    def tokens_per_second(self) -> float:
        """The rate of this start."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """From the rate of this start; None before its first part is done."""
        return self.seconds / self.rows_now * (self.rows_total - self.rows_done) if self.rows_now else None


OnProgress = Callable[[Progress], None]
_TELL_EVERY_S = 0.5
_Block = Sequence[tuple[Prompt, range]]


def collect(
    run: RunFolder,
    prompts: Sequence[Prompt],
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    decider: Decider,
    *,
    seed: int,
    policy: str,
    on_scored: Callable[[], None] = lambda: None,
    on_progress: OnProgress | None = None,
) -> None:
    """Draw round after round, as the decider asks, and of each round the parts that are not on disk yet.

    on_scored  called after each part is scored, before it is written

    A round is written down before it is drawn, and the next one is decided from the rewards on disk. Each row has its own seed, and parts
    hold the same rows after any interruption, so a run killed at any moment goes on to the rows it would have had.
    """
    getattr(reward, "start_counting", lambda: None)()
    done = run.parts_done()
    meter = _Meter(decider, len(prompts), on_progress)
    drawn = np.zeros(len(prompts), np.int64)
    recalled: list[_Block] = []
    for round_idx in itertools.count():
        asked = run.round(round_idx) or _decided(run, round_idx, decider, drawn)
        if asked is None:
            return
        meter.round_begins(asked)
        for part_idx, part in enumerate(asked.parts(run.record.rows_per_part)):
            block = [
                (prompts[i], range(first, first + asked.samples)) for i, first in zip(asked.prompts[part], asked.first[part], strict=True)
            ]
            if (round_idx, part_idx) in done:
                recalled.append(block)
                meter.part_done(len(block), len(block) * asked.samples, new=False)
                continue
            _recall(recalled, engine, sampling)
            meter.part_begins(len(block) * asked.samples)
            rows = _draw(block, engine, reward, sampling, seed, policy, asked.fixed, meter)
            on_scored()
            run.write_part(round_idx, part_idx, rows)
            meter.part_done(len(block), len(rows), new=True)
            if part_idx % WINDOW == WINDOW - 1:
                run.join_parts(round_idx, closed=False)
        run.join_parts(round_idx, closed=True)
        decider.absorb(asked.prompts, run.rewards(round_idx, asked))
        drawn[asked.prompts] += asked.samples


def _recall(blocks: list[_Block], engine: Engine, sampling: Sampling) -> None:
    """Bring an engine that remembers prompts to where it was after these parts, which an earlier start drew."""
    if blocks and hasattr(engine, "recall"):
        engine.recall([[Request(p.text, ()) for p, _ in block] for block in blocks], sampling)
    blocks.clear()


def visit_cost(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> float:
    """What reading a prompt costs the engine, in completions: mean prompt tokens times `engine.prompt_token_cost`, over completion tokens.

    The cost of a prompt token is that of a completion token where a CPU computes both, and all but nothing where the engine keeps prompts
    between calls. A token is taken for four characters, a completion for half of its limit: beforehand nothing else is known.
    """
    cost = float(getattr(engine, "prompt_token_cost", 0.0))
    characters = float(np.mean([len(prompt_text(p.text)) for p in prompts])) if prompts else 0.0
    return cost * characters / 4 / (sampling.max_new_tokens / 2)


def _decided(run: RunFolder, round_idx: int, decider: Decider, drawn: Ints) -> Round | None:
    """The next round, written down."""
    found = decider.next_round()
    if found is None:
        return None
    prompts, samples, fixed = found
    asked = Round(prompts, drawn[prompts], samples, fixed)
    run.write_round(round_idx, asked)
    return asked


def _draw(
    block: _Block,
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    seed: int,
    policy: str,
    fixed: bool,
    meter: _Meter,
) -> list[Rollout]:
    requests = [Request(p.text, tuple(row_seed(seed, p.id, i) for i in samples)) for p, samples in block]
    answers = engine.sample(requests, sampling, meter)
    pairs = [(p, i, c) for (p, samples), found in zip(block, answers, strict=True) for i, c in zip(samples, found, strict=True)]
    scores = reward.score([p for p, _, _ in pairs], [c for _, _, c in pairs])
    return [
        Rollout(
            prompt_id=p.id,
            prompt=p.text,
            completion=c.text,
            sample_idx=i,
            reward=score.reward,
            rewards=score.rewards,
            error=score.error,
            step=None,
            policy=policy,
            truncated=c.truncated,
            n_tokens=c.n_tokens,
            fixed=fixed,
        )
        for (p, i, c), score in zip(pairs, scores, strict=True)
    ]


class _Meter:
    """Counts what is done and tells `on_progress`, at most about twice a second."""

    def __init__(self, decider: Decider, n_prompts: int, on_progress: OnProgress | None) -> None:
        self.decider = decider
        self.on_progress = on_progress
        self.started = time.monotonic()
        self.last = 0.0
        self.tokens = self.rows_now = self.rows_done = self.prompts_done = self.rows_total = 0
        self.rows_whole = self.rows_of_part = 0  # of the running part
        self.prompts_total = n_prompts

    def round_begins(self, asked: Round) -> None:
        """Prompts that a round leaves out are settled, as far as is known; a round of a fixed number settles its own as it goes."""
        self.prompts_done = self.prompts_total - len(asked.prompts)
        self.rows_total = max(self.decider.most_rows(), self.rows_done + asked.rows)

    def part_begins(self, rows: int) -> None:
        self.rows_whole, self.rows_of_part = 0, rows

    def __call__(self, n: int) -> None:
        """So many new tokens; this makes it the `OnTokens` of an engine."""
        self.tokens += n
        if time.monotonic() - self.last >= _TELL_EVERY_S:
            self._tell()

    def completed(self, n: int) -> None:
        """So many completions of the part are whole; a batch that is drawn again says so of its rows again."""
        self.rows_whole = min(self.rows_of_part, self.rows_whole + n)

    def part_done(self, prompts: int, rows: int, *, new: bool) -> None:
        self.rows_whole = self.rows_of_part = 0
        self.rows_done += rows
        self.rows_now += rows if new else 0
        self.prompts_done += 0 if self.decider.adaptive else prompts
        if new:
            self._tell()

    def _tell(self) -> None:
        self.last = time.monotonic()
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    self.rows_done + self.rows_whole,
                    self.rows_total,
                    self.prompts_done,
                    self.prompts_total,
                    self.tokens,
                    self.last - self.started,
                    self.rows_now + self.rows_whole if self.rows_now else 0,
                    self.decider.adaptive,
                )
            )

"""Draw completions, score them, keep the rows: part by part, so that stopping and going on is free."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flatspot.core.protocols import Engine, Reward
from flatspot.core.records import Prompt, Request, Rollout, Sampling
from flatspot.core.seeds import row_seed
from flatspot.rollouts.store import RunFolder


@dataclass(frozen=True, slots=True)
class Progress:
    """How far collecting has come: completions and prompts done of those asked, tokens and seconds of this start alone."""

    rows_done: int
    rows_total: int
    prompts_done: int
    prompts_total: int
    tokens: int
    seconds: float
    rows_now: int

    @property
    def tokens_per_second(self) -> float:
        """The rate of this start."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """From the rate of this start; None before its first part is done."""
        return self.seconds / self.rows_now * (self.rows_total - self.rows_done) if self.rows_now else None


OnProgress = Callable[[Progress], None]


def collect(
    run: RunFolder,
    prompts: Sequence[Prompt],
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    *,
    seed: int,
    policy: str,
    on_progress: OnProgress | None = None,
) -> None:
    """Draw every part of the run that is not on disk yet.

    What is drawn depends on the run's record alone: each row has its own seed, and parts hold the same prompts after any interruption.
    """
    done = run.parts_done()
    meter = _Meter(run, len(prompts), done, on_progress)
    for round_idx, ((first, end), size) in enumerate(zip(run.record.rounds, run.record.prompts_per_part, strict=True)):
        for part_idx, start in enumerate(range(0, len(prompts), size)):
            if (round_idx, part_idx) in done:
                continue
            block = prompts[start : start + size]
            rows = _draw(block, range(first, end), engine, reward, sampling, seed, policy, meter.on_tokens)
            run.write_part(round_idx, part_idx, rows)
            meter.part_done(len(rows), len(block) if end == run.record.rounds[-1][1] else 0)


def _draw(
    prompts: Sequence[Prompt],
    samples: range,
    engine: Engine,
    reward: Reward,
    sampling: Sampling,
    seed: int,
    policy: str,
    on_tokens: Callable[[int], None],
) -> list[Rollout]:
    requests = [Request(p.text, tuple(row_seed(seed, p.id, i) for i in samples)) for p in prompts]
    answers = engine.sample(requests, sampling, on_tokens)
    pairs = [(p, i, c) for p, completions in zip(prompts, answers, strict=True) for i, c in zip(samples, completions, strict=True)]
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
        )
        for (p, i, c), score in zip(pairs, scores, strict=True)
    ]


class _Meter:
    """Counts what is done and tells `on_progress`, at most about twice a second."""

    def __init__(self, run: RunFolder, n_prompts: int, done: set[tuple[int, int]], on_progress: OnProgress | None) -> None:
        self.on_progress = on_progress
        self.started = time.monotonic()
        self.last = 0.0
        self.tokens = self.rows_now = self.rows_done = self.prompts_done = 0
        self.prompts_total = n_prompts
        self.rows_total = sum(end - first for first, end in run.record.rounds) * n_prompts
        final = len(run.record.rounds) - 1
        for round_idx, part_idx in done:
            (first, end), size = run.record.rounds[round_idx], run.record.prompts_per_part[round_idx]
            block = min(size, n_prompts - part_idx * size)
            self.rows_done += block * (end - first)
            self.prompts_done += block if round_idx == final else 0

    def on_tokens(self, n: int) -> None:
        self.tokens += n
        if time.monotonic() - self.last > 0.5:
            self._tell()

    def part_done(self, rows: int, prompts: int) -> None:
        self.rows_done += rows
        self.rows_now += rows
        self.prompts_done += prompts
        self._tell()

    def _tell(self) -> None:
        self.last = time.monotonic()
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    self.rows_done,
                    self.rows_total,
                    self.prompts_done,
                    self.prompts_total,
                    self.tokens,
                    self.last - self.started,
                    self.rows_now,
                )
            )

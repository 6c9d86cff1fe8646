"""How far drawing has come, told about twice a second to whoever wants to see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flatspot.rollouts.rounds import Decider, Round

_EVERY_S = 0.5
_ENOUGH = 0.05  # of the first part


@dataclass(frozen=True, slots=True)
class Progress:
    """How far drawing has come: completions and prompts done of those planned, tokens and seconds of this start alone.

    rows_done  with the completions of running parts that are whole, though their rows are not on disk yet
    rows_now   those of this start; 0 before a twentieth of its first part is whole: its shortest rows say little of the others
    at_most    whether rows_total is only a limit: the rewards decide, and it shrinks as prompts are settled
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
        """From the rate of this start; None before there is one."""
        return self.seconds / self.rows_now * (self.rows_total - self.rows_done) if self.rows_now else None


OnProgress = Callable[[Progress], None]


def progress_line(progress: Progress) -> str:
    """Prompts and completions done, tokens/s where any are drawn, time left.

    >>> progress_line(Progress(512, 640, 32, 40, 24_000, 50.0, 512))
    '32/40 prompts  512/640 completions  480 tokens/s  0:12 left'
    >>> progress_line(Progress(512, 640, 32, 40, 24_000, 50.0, 512, at_most=True))
    '32/40 prompts settled  512 of at most 640 completions  480 tokens/s  at most 0:12 left'
    """
    left, most = progress.seconds_left, progress.at_most
    clock = "" if left is None else f"  {'at most ' if most else ''}{int(left) // 60}:{int(left) % 60:02d} left"
    counts = f"{progress.prompts_done}/{progress.prompts_total} prompts{' settled' if most else ''}  "
    counts += f"{progress.rows_done}{' of at most ' if most else '/'}{progress.rows_total} completions"
    rate = f"  {progress.tokens_per_second:.0f} tokens/s" if progress.tokens else ""
    return f"{counts}{rate}{clock}"


class Meter:
    """Counts what is done and calls `on_progress`; called with a number of new tokens, it is the `OnTokens` of an engine."""

    def __init__(self, decider: Decider, n_prompts: int, on_progress: OnProgress | None) -> None:
        self.decider = decider
        self.on_progress = on_progress
        self.started = time.monotonic()
        self.last = 0.0
        self.tokens = self.rows_now = self.rows_done = self.prompts_done = self.rows_total = 0
        self.rows_whole = self.rows_of_parts = 0  # of those that run
        self.prompts_total = n_prompts

    def round_begins(self, this: Round) -> None:
        """Prompts that a round leaves out are settled so far; a round of a fixed number settles its own as it goes."""
        self.prompts_done = self.prompts_total - len(this.prompts)
        self.rows_total = max(self.decider.most_completions(), self.rows_done + this.total)

    def part_begins(self, rows: int) -> None:
        """So many completions are drawn, too."""
        self.rows_of_parts += rows

    def __call__(self, n: int) -> None:
        """So many new tokens."""
        self.tokens += n
        if time.monotonic() - self.last >= _EVERY_S:
            self._tell()

    def completed(self, n: int) -> None:
        """So many completions are whole; those of a batch that is drawn again are counted again, up to the number that is drawn."""
        self.rows_whole = min(self.rows_of_parts, self.rows_whole + n)

    def part_done(self, prompts: int, rows: int, *, new: bool) -> None:
        """A part is on disk: drawn now, or by an earlier start."""
        self.rows_done += rows
        self.prompts_done += 0 if self.decider.adaptive else prompts
        if new:
            self.rows_now += rows
            self.rows_of_parts -= rows
            self.rows_whole = min(max(0, self.rows_whole - rows), self.rows_of_parts)
            self._tell()

    def _tell(self) -> None:
        self.last = time.monotonic()
        begun = self.rows_now or self.rows_whole >= _ENOUGH * self.rows_of_parts
        if self.on_progress is not None:
            self.on_progress(
                Progress(
                    self.rows_done + self.rows_whole,
                    self.rows_total,
                    self.prompts_done,
                    self.prompts_total,
                    self.tokens,
                    self.last - self.started,
                    self.rows_now + self.rows_whole if begun else 0,
                    self.decider.adaptive,
                )
            )

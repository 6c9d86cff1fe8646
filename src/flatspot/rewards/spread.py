"""Rewards that are too slow for one process: their rows are scored on the workers that draw them, each under a guard of its own.

Up to a millisecond a row, this process scores; how long a row takes is measured on the first rows of the run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flatspot.core.errors import FlatspotError, RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.guard import Guard
from flatspot.rewards.resolve import resolve
from flatspot.rewards.spec import Address, Builtin
from flatspot.rewards.unguarded import Unguarded
from flatspot.rewards.values import Value

_HERE_S = 1e-3  # what a row may take here
SLICE = 64  # rows of a call elsewhere, and of the calls that are measured together

Answer = tuple[list[Value], int, tuple[int, float] | None]  # values; how many rows were late; a call that was too slow as a whole
Load = Callable[[], Callable[[Sequence[Prompt], Sequence[Completion]], Answer]]
Elsewhere = Callable[[Load, Sequence[Sequence[Any]]], list[Answer]]
"""What `load()` of each worker answers to each of some calls: `spread` of an engine."""


class _Scores(Protocol):
    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]: ...


class Spread:
    """Scores rows here or elsewhere, wherever they are in time.

    here     scores in this process, or from it
    load     makes the same in a worker
    why_not  why the workers do not score; None where they do, or were not asked
    """

    def __init__(self, here: _Scores, load: Load, elsewhere: Elsewhere) -> None:
        self.here, self.load, self.elsewhere = here, load, elsewhere
        self.why_not: str | None = None
        self._row_s: float | None = None  # the first call may load a model: it is not measured
        self._called = False
        self._rows, self._seconds = 0, 0.0  # of the calls since it was last measured

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> tuple[list[Value], list[slice]]:
        """One value per row; and the rows of each call."""
        values, calls = list[Value](), list[slice]()
        while (start := len(values)) < len(prompts):
            if self._row_s is not None and self._row_s > _HERE_S and self.why_not is None:
                spread = [slice(at, min(at + SLICE, len(prompts))) for at in range(start, len(prompts), SLICE)]
                answer = self._elsewhere([(prompts[rows], completions[rows]) for rows in spread])
                if answer is not None:
                    return values + answer, calls + spread
            rows = slice(start, len(prompts) if self._row_s is not None else min(start + SLICE, len(prompts)))
            calls.append(rows)
            values += self._here(prompts[rows], completions[rows])
        return values, calls

    def _here(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        began = time.monotonic()
        values = self.here.score(prompts, completions)
        if self._called:
            self._rows, self._seconds = self._rows + len(prompts), self._seconds + time.monotonic() - began
        if self._rows >= SLICE:
            self._row_s, self._rows, self._seconds = self._seconds / self._rows, 0, 0.0
        self._called = True
        return values

    def _elsewhere(self, calls: Sequence[Sequence[Any]]) -> list[Value] | None:
        """None where the workers cannot load the reward, or be sent the rows."""
        try:
            answers = self.elsewhere(self.load, calls)
        except FlatspotError as error:
            self.why_not = str(error)
            return None
        if isinstance(self.here, Guard):
            self.here.late_rows += sum(late for _, late, _ in answers)
            self.here.late_call = self.here.late_call or next((call for _, _, call in answers if call is not None), None)
        return [value for values, _, _ in answers for value in values]


def load_guarded(what: Builtin | Address | bytes, timeout_s: float, sha256: str | None, path: Sequence[str]) -> Callable[..., Answer]:
    """In a worker: a guarded reward, as `Guard` of the process that draws has it.

    Raises `RewardLoadError` where it cannot be loaded there, or has another source.
    """
    sys.path += [entry for entry in path if entry not in sys.path]
    guard = Guard(what, timeout_s)
    if isinstance(what, Address) and guard.sha256 != sha256:
        guard.close()
        raise RewardLoadError(f"{what.place} is another file on a worker")

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Answer:
        late = guard.late_rows
        values = guard.score(prompts, completions)
        return values, guard.late_rows - late, guard.late_call

    return score


def load_unguarded(what: Builtin) -> Callable[..., Answer]:
    """In a worker: a built-in reward that needs no guard."""
    scores = Unguarded(resolve(what).score)
    return lambda prompts, completions: (scores.score(prompts, completions), 0, None)

"""How long a call of a reward may take: what one row may, more with every further row, and more again for a worker's first call."""

from __future__ import annotations

from dataclasses import dataclass

_SLACK = 3.0  # a call may take this many times as long as its rows took before
_FIRST_CALL_S = 120.0  # a reward model that is loaded at the first call takes a minute
_FIRST_CALL_FACTOR = 12.0  # but with a limit of a second nobody waits for two minutes
_FORGET = 0.7


@dataclass(slots=True)
class Pace:
    """The time limit of calls, from what calls have taken so far.

    timeout_s  what a row alone may take
    row_s      seconds a row took of late, the slower calls counting longer; of rows that came alone only where no others tell, for what
               a call takes whatever it holds is most of theirs
    first_s    seconds the first call of a worker took, in which rewards load their models; None before there was one
    patience   how many first calls may still take much longer

    >>> pace = Pace(10.0)
    >>> pace.limit(1, fresh=True), pace.limit(1, fresh=False)
    (120.0, 10.0)
    >>> pace.answered(1, 30.0, fresh=True); pace.answered(8, 4.0, fresh=False)
    >>> pace.limit(1, fresh=True), pace.limit(101, fresh=False)
    (70.0, 160.0)
    """

    timeout_s: float
    row_s: float = 0.0
    first_s: float | None = None
    patience: int = 2  # of a batch in which a row hangs, and of its first row
    several: bool = False  # whether row_s is of calls of several rows

    def limit(self, n_rows: int, *, fresh: bool) -> float:
        """Seconds a call of so many rows may take; `fresh` where its worker has not answered a call yet."""
        usual = self.timeout_s + _SLACK * (n_rows - 1) * self.row_s
        if not fresh:
            return usual
        if self.first_s is None and self.patience > 0:
            return max(usual, min(_FIRST_CALL_S, _FIRST_CALL_FACTOR * self.timeout_s))
        return usual + 2 * (self.first_s or 0.0)

    def answered(self, n_rows: int, seconds: float, *, fresh: bool) -> None:
        """A call was answered after so many seconds."""
        if fresh:
            self.first_s = max(self.first_s or 0.0, seconds)
        elif self.several == (n_rows > 1):
            self.row_s = max(seconds / n_rows, _FORGET * self.row_s)
        elif n_rows > 1:
            self.row_s, self.several = seconds / n_rows, True

    def unanswered(self, n_rows: int, *, fresh: bool) -> None:
        """A call got no answer: how long several rows take is not known, or not any more."""
        self.patience -= fresh
        self.several = self.several and n_rows == 1

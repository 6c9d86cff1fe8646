"""Whether what a reward says of a completion hangs on the other completions of its call, as a rank within a group does.

A reward that does is only right when it is called with the groups that training will call it with (design/0018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from flatspot.rewards.process import Failure
from flatspot.rewards.values import Value

Ask = Callable[[Sequence[int]], "list[Value] | Failure"]  # the rows of one call → their values
Finding = Literal["same", "other", "noise", "unknown"]

COMPARES = "it compares the completions of a call, so they cannot be scored in smaller calls"
WINDOW = 16  # rows that are called again
_TOLERANCE = 0.1  # of the spread of the values: a reward model in 16 bits rounds otherwise in another batch


def compare(values: Sequence[Value], ask: Ask) -> Finding:
    """Whether the rows of one call have the same values in smaller calls: some of them together, and single ones.

    "unknown" where the values tell nothing: they are all equal, or a call got no answer. "other" only where the values of both calls come
    back when both are repeated; else the reward gives equal questions different answers, which is "noise".

    >>> ranks = lambda rows: [Value(rank / len(rows)) for rank in range(len(rows))]
    >>> compare(ranks(range(4)), ranks), compare(ranks(range(4)), lambda rows: [Value(row / 4) for row in rows])
    ('other', 'same')
    """
    window = _varied(values)
    if not window:
        return "unknown"
    numbers = {row: values[row].number for row in window}
    ends = (min(window, key=lambda row: numbers[row] or 0.0), max(window, key=lambda row: numbers[row] or 0.0))
    for rows in (*([end] for end in dict.fromkeys(ends)), window):
        if len(rows) == len(values):
            continue
        answer = ask(rows)
        if isinstance(answer, Failure) and answer.lost:
            return "unknown"
        if not equal([values[row] for row in rows], answer, values):
            return _repeated(rows, answer, values, ask)
    return "same"


def compare_alone(values: Sequence[Value], ask: Ask) -> Finding:
    """The same for values that come from small calls: whether one call of several rows gives them too."""
    rows = [row for row, value in enumerate(values) if value.number is not None][:WINDOW]
    if len(rows) < 2:
        return "unknown"
    together = ask(rows)
    if isinstance(together, Failure):
        together = ask(rows := rows[:2])
    if isinstance(together, Failure):
        return "unknown"
    scale = [*values, *together]
    if equal([values[row] for row in rows], together, scale):
        return "same" if _varied(together) else "unknown"
    again = ask(rows)
    if isinstance(again, Failure) or not equal(together, again, scale):
        return "noise"
    apart = [row for row, value in zip(rows, together, strict=True) if not equal([values[row]], [value], scale)][:3]
    alone = [ask([row]) for row in apart]
    same = all(equal([values[row]], answer, scale) for row, answer in zip(apart, alone, strict=True))
    return "other" if same else "noise"


def _repeated(rows: Sequence[int], answer: list[Value] | Failure, values: Sequence[Value], ask: Ask) -> Finding:
    """Both calls once more: a reward that is drawn at random, or an unsteady judge, does not say the same again."""
    for _ in range(2):
        if not equal(answer, ask(rows), values):
            return "noise"
    return "other" if equal(values, ask(range(len(values))), values) else "noise"


def _varied(values: Sequence[Value]) -> list[int]:
    """Up to `WINDOW` rows in a row whose numbers are not all equal; empty where there are none."""
    scored = [row for row, value in enumerate(values) if value.number is not None]
    change = next((i for i, row in enumerate(scored) if values[row].number != values[scored[0]].number), None)
    return scored[max(0, change - WINDOW // 2) : change + WINDOW // 2] if change is not None else []


def equal(a: Sequence[Value] | Failure, b: Sequence[Value] | Failure, scale: Sequence[Value]) -> bool:
    """Whether two calls gave the same values, up to a share of the spread of `scale`; two calls that failed did."""
    if isinstance(a, Failure) or isinstance(b, Failure):
        return isinstance(a, Failure) and isinstance(b, Failure)
    numbers = [value.number for value in scale if value.number is not None]
    most = _TOLERANCE * (max(numbers) - min(numbers)) if numbers else 0.0
    return all(
        (x.number is None) == (y.number is None) and (x.number is None or y.number is None or abs(x.number - y.number) <= most)
        for x, y in zip(a, b, strict=True)
    )

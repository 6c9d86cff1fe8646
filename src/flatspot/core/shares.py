"""How a number is written: a share for a person, not 0% or 100% where it is neither; a counted noun; a number in a command, exactly."""

from __future__ import annotations

import math

MISSING = "–"


def number(value: object) -> float | None:
    """The value as a finite float; None where it is absent, not a number, NaN or infinite."""
    if type(value) is float:  # nearly all are, of hundreds of thousands
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def percent(value: object) -> str:
    """A share in per cent; never 0% or 100% for a share that is neither.

    >>> percent(0.384), percent(0.0001), percent(0.9999), percent(-0.0), percent(None)
    ('38%', '<1%', '>99%', '0%', '–')
    """
    share = number(value)
    if share is None:
        return MISSING
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share + 0.0:.0f}%"  # of -0.0 too, which would be "-0%"


def count(value: object) -> str:
    """A whole number with thousands separated, with a dash where there is none."""
    x = number(value)
    return MISSING if x is None else f"{x:,.0f}"


def noun(n: object, one: str, many: str | None = None) -> str:
    """A counted noun.

    >>> noun(1, "prompt"), noun(2000, "prompt")
    ('1 prompt', '2,000 prompts')
    """
    return f"{count(n)} {one if number(n) == 1 else many or one + 's'}"


def exact(value: float) -> str:
    """A finite number as a command needs it: as it was given, in the fewest digits that are read back as the same number.

    >>> exact(1.0), exact(0.7), exact(1048576), exact(1 / 3)
    ('1', '0.7', '1048576', '0.3333333333333333')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def percents_apart(share: object, limit: object) -> tuple[str, str]:
    """Two shares in per cent, with as many decimals as it takes to tell them apart.

    >>> percents_apart(0.204, 0.2), percents_apart(0.34, 0.2), percents_apart(0.2, 0.2)
    (('20.4%', '20.0%'), ('34%', '20%'), ('20%', '20%'))
    """
    first, second = percent(share), percent(limit)
    a, b = number(share), number(limit)
    if first != second or a is None or b is None or a == b:
        return first, second
    for places in (1, 2, 3):
        first, second = f"{100 * a:.{places}f}%", f"{100 * b:.{places}f}%"
        if first != second:
            break
    return first, second


def short(number: float) -> str:
    """A reward in three digits, or in as many as stand before its point.

    >>> short(-1005.0), short(0.12345), short(-57.76), short(3e7)
    ('-1005', '0.123', '-57.8', '3e+07')
    """
    return f"{number:.0f}" if 1e3 <= abs(number) < 1e6 else f"{number:.3g}"

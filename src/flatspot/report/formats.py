"""How a number, a share, an interval or a stranger's text is written, in every output alike."""

from __future__ import annotations

import textwrap

from flatspot.core.shares import MISSING as MISSING
from flatspot.core.shares import count as count
from flatspot.core.shares import noun as noun
from flatspot.core.shares import number as number
from flatspot.core.shares import percent as percent
from flatspot.core.visible import visible as visible


def decimal(value: object, places: int = 2) -> str:
    """A reward or a std, with a dash where there is none.

    >>> decimal(0.3456), decimal(None), decimal(0.0004), decimal(12345.6), decimal(-0.0)
    ('0.35', '–', '0.0004', '12,346', '0.00')
    """
    x = number(value)
    if x is None:
        return MISSING
    size = abs(x)
    if size >= 1000:
        return f"{x:,.0f}" if size < 1e9 else f"{x:.2e}"
    if 0 < size < 0.5 * 10**-places:
        return f"{x:.1g}"
    return f"{x + 0.0 if x else 0.0:.{places}f}"


def signed(value: object, places: int = 2) -> str:
    """A change, with its sign; 0 has none.

    >>> signed(0.034), signed(-1.0), signed(0.0), signed(-0.0004), signed(None)
    ('+0.03', '−1.00', '0.00', '−0.0004', '–')
    """
    x = number(value)
    if x is None:
        return MISSING
    return ("+" if x > 0 else "−" if x < 0 else "") + decimal(abs(x), places)


def fine_percent(value: object) -> str:
    """A small share, with one decimal under 10%.

    >>> fine_percent(0.0284), fine_percent(0.31), fine_percent(0.0002), fine_percent(0)
    ('2.8%', '31%', '<0.1%', '0%')
    """
    x = number(value)
    if x is not None and 0 < x < 0.0005:
        return "<0.1%"
    return f"{100 * x:.1f}%" if x is not None and 0.0005 <= x < 0.0995 else percent(value)


def percent_range(lo: object, hi: object) -> str:
    """An interval of shares; empty where a limit is missing. No limit is written 0 or 100% that is neither.

    >>> percent_range(0.27, 0.51), percent_range(None, 0.5), percent_range(0, 0.003)
    ('27–51%', '', '0–0.3%')
    >>> percent_range(0.002, 0.998), percent_range(1e-6, 0.99999), percent_range(0.5, 1)
    ('0.2–99.8%', '<0.1% to >99.9%', '50–100%')
    """
    low, high = number(lo), number(hi)
    if low is None or high is None:
        return ""
    first, last = _limit(low), _limit(high)
    return f"{first}% to {last}%" if last.startswith(">") else f"{first}–{last}%"


def _limit(share: float) -> str:
    """A limit in per cent, to whole ones; to a tenth where those would be 0 or 100, or it is small."""
    if share <= 0 or share >= 1:
        return "0" if share <= 0 else "100"
    if 0.01 <= share < 0.995:
        return f"{100 * share:.0f}"
    return "<0.1" if share < 0.0005 else ">99.9" if share >= 0.9995 else f"{100 * share:.1f}"


def wrap_labeled(label: str, text: str, width: int) -> list[str]:
    """Text in lines of at most `width` columns, beside its label.

    >>> wrap_labeled("Size", "8 is the smallest", 20)
    ['Size    8 is the', '        smallest']
    """
    return textwrap.wrap(text, width, initial_indent=f"{label:<8}", subsequent_indent=" " * 8, break_on_hyphens=False)

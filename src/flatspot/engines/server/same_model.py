"""Whether the model that servers have now is the one that a run was begun with: the same first tokens' log-probabilities, then and now."""

from __future__ import annotations

from typing import Any

from flatspot.engines.server.check import comparable, same_tops

SAME_LIMIT = 0.1  # nats, on average: twice what rounding to bfloat16 moved them by (design/0028)


def why_another(before: Any, now: Any, *, known_weights: bool) -> str | None:
    """Why the first tokens `now` are of another model than those `before`; None where they are not, or one of the two has none.

    Each is a list of `{"prompt": …, "top": {token: log-probability}}`. Raises ValueError, TypeError or KeyError for another shape.

    >>> a, b = [{"prompt": "The", "top": {"x": -0.1}}], [{"prompt": "The", "top": {"x": -0.9}}]
    >>> why_another(a, a, known_weights=False), why_another(a, b, known_weights=False)[:62]
    (None, 'log-probabilities of first tokens differ by 0.8 nats on averag')
    """
    tops = [(_floats(one["top"]), _floats(other["top"])) for one in before for other in now if one["prompt"] == other["prompt"]]
    if not tops:
        return None
    first, last = [one for one, _ in tops], [other for _, other in tops]
    if not comparable(first, last):
        return (
            None
            if known_weights
            else "its tokens were named otherwise (by id there, by text now, or the reverse), so it cannot be compared"
        )
    gap = same_tops(first, last)
    return None if gap <= SAME_LIMIT else f"log-probabilities of first tokens differ by {gap:.2g} nats on average (limit {SAME_LIMIT:g})"


def _floats(top: Any) -> dict[str, float]:
    if not top:
        raise ValueError("a prompt has no tokens")
    return {str(token): float(p) for token, p in top.items()}

"""Of a large set, which prompts and completions one HTML file carries, so that a browser handles it well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_PROMPTS = 50_000
_WITH_COMPLETIONS = 3000


def shown_prompts(n: int) -> NDArray[np.int64]:
    """The places of the prompts shown: all of a small set, of a large one so many at even distances.

    >>> len(shown_prompts(0)), len(shown_prompts(7)), len(shown_prompts(10**6))
    (0, 7, 50000)
    """
    return np.unique(np.linspace(0, n - 1, min(n, _PROMPTS)).astype(np.int64)) if n else np.zeros(0, np.int64)


def with_completions(verdicts: pa.Table) -> list[str]:
    """The ids of the prompts whose completions are shown: all of a small set, of a large one those that need a look first."""
    ids, names = verdicts["prompt_id"].to_pylist(), verdicts["verdict"].to_pylist()
    order = {name: i for i, name in enumerate(("vanishing", "undecided", "unscored", "learnable", "solved"))}
    return [ids[i] for i in sorted(range(len(ids)), key=lambda i: order[names[i]])[:_WITH_COMPLETIONS]]

"""One BLAS thread for fits: it splits products and factors of a few hundred rows, and its threads wait longer than they work.

On two cores that others use as well, a Newton step of `fit_npmle` took 0.13 ms with one thread and 180 ms with two (40 kinds of prompts);
6 ms and 180 ms with 5,000 kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")


@cache
def _pools() -> ThreadpoolController:
    import numpy as np
    import scipy.linalg
    from threadpoolctl import ThreadpoolController

    _ = np, scipy  # each has a BLAS of its own, and only those loaded by now are limited
    return ThreadpoolController()


_ONE_FIT = RLock()  # of those that overlap, the last would put the limit of the first back for good


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with BLAS limited to one thread while it runs; calls from several threads run one after the other.

    >>> one_thread(sum)([1, 2])
    3
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _ONE_FIT, _pools().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited

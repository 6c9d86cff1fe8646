"""How many threads numbers take: one in BLAS, and a few over blocks of prompts.

One BLAS thread for fits: it splits products and factors of a few hundred rows, and its threads wait longer than they work.

On two cores that others use as well, a Newton step of `fit_npmle` took 0.13 ms with one thread and 180 ms with two (40 kinds of prompts);
6 ms and 180 ms with 5,000 kinds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, wraps
from itertools import chain, islice
from threading import RLock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@cache
def _pools() -> ThreadpoolController:
    import numpy as np
    import scipy.linalg
    from threadpoolctl import ThreadpoolController

    _ = np, scipy  # each has a BLAS of its own, and only those loaded by now are limited
    return ThreadpoolController()


_MOST = 4  # threads over blocks: each holds one of tens of megabytes, and what is made of it
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


def over_blocks(function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
    """What the function, of arrays and not of Python loops, makes of each block, in their order; several blocks in up to four threads.

    The blocks are made in the caller's thread, and no more of them are held than there are threads, and one.

    >>> list(over_blocks(lambda x: x * x, iter(range(4))))
    [0, 1, 4, 9]
    """
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    threads, running = min(cores(), _MOST), deque[Future[R]]()
    with ThreadPoolExecutor(threads) as pool:
        for block in chain(first, rest):
            running.append(pool.submit(function, block))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Threads of BLAS during a fit, as threadpoolctl sees them."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from flatspot.stats.models import npmle
from flatspot.stats.models.npmle import fit_mixture
from flatspot.stats.threads import one_thread


def blas_threads():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_fit_has_one_thread_and_leaves_the_others_as_they_were(monkeypatch):
    during, em = [], npmle._em.__wrapped__

    def watched(*args, **kwargs):
        during.append(blas_threads())
        return em(*args, **kwargs)

    monkeypatch.setattr(npmle, "_em", one_thread(watched))
    npmle._fit.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        fit_mixture(np.array([4, 4]), np.array([0, 4]))
        assert set(blas_threads().values()) == {2}
    assert during and all(set(threads.values()) == {1} for threads in during)


def test_an_error_gives_the_threads_back():
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ZeroDivisionError):
            one_thread(lambda: 1 / 0)()
        assert set(blas_threads().values()) == {2}

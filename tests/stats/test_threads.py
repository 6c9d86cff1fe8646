"""Threads of BLAS during a fit, as threadpoolctl sees them."""

from threading import Event, Thread

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

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


def test_fits_in_two_threads_give_the_threads_back():
    first_runs, second_runs, first_is_over = Event(), Event(), Event()
    during = []

    @one_thread
    def first():
        first_runs.set()
        second_runs.wait(0.3)

    @one_thread
    def second():
        second_runs.set()
        assert first_is_over.wait(10)
        during.append(set(blas_threads().values()))

    with threadpool_limits(2, user_api="blas"):
        for pool in ThreadpoolController().lib_controllers:  # newer versions leave the limits to the thread that set one
            getattr(pool, "clear_controlling_thread", lambda: None)()
        threads = [Thread(target=first), Thread(target=second)]
        threads[0].start()
        assert first_runs.wait(10)
        threads[1].start()
        threads[0].join()
        first_is_over.set()
        threads[1].join()
        assert during == [{1}]
        assert set(blas_threads().values()) == {2}

"""Work on several threads that never keep a process from ending: those of concurrent.futures are waited for at exit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def start(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that ends with the process."""
    thread = threading.Thread(target=work, daemon=True, name=name)
    thread.start()
    return thread


def each(work: Callable[[T], R], items: Sequence[T], width: int, end: Callable[[], None] = lambda: None) -> list[R]:
    """`work` of each item, in order, on so many threads; the first error is raised, and the items that are left are left.

    end  called on each thread at its end

    >>> each(lambda x: x * x, [1, 2, 3], 2)
    [1, 4, 9]
    """
    waiting: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()
    for numbered in enumerate(items):
        waiting.put(numbered)

    def run() -> None:
        try:
            while not stop.is_set():
                i, item = waiting.get_nowait()
                try:
                    done.put((i, work(item), None))
                except BaseException as error:
                    done.put((i, None, error))
        except queue.Empty:
            pass
        finally:
            end()

    threads = [start(run, "flatspot server") for _ in range(min(width, len(items)))]
    results: dict[int, R] = {}
    try:
        while len(results) < len(items):
            i, result, error = done.get()
            if error is not None:
                raise error
            results[i] = result  # type: ignore[assignment]
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    return [results[i] for i in range(len(items))]

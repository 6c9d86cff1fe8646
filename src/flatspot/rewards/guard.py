"""Run a user's reward function in a process of its own, so that it can hang, crash or exit without taking the run along.

A call that fails as a whole is repeated in smaller ones, and the failure lands on the row it belongs to; unless the reward compares the
completions of a call, when the smaller calls would say something else. A worker that hangs or dies is replaced. After `GIVE_UP_AFTER`
rows in a row without an answer a prompt's other rows are not tried, and after as many such prompts in a row the rest of the call is not.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import cloudpickle

from flatspot.core.errors import ExtensionError, FlatspotError, MissingExtra, RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.composition import COMPARES, compare_alone
from flatspot.rewards.pace import Pace
from flatspot.rewards.process import Failure, Worker
from flatspot.rewards.spec import Address, Builtin
from flatspot.rewards.values import Value, describe_exception, is_broken

GIVE_UP_AFTER = 3
_KINDS: Mapping[object, type[FlatspotError]] = {"MissingExtra": MissingExtra, "ExtensionError": ExtensionError}
_LOAD_TIMEOUT_S = 120.0  # importing a deep-learning stack takes 10 s on a slow disk
_ROW_BY_ROW = 64  # a failed call of at most so many rows is repeated row by row, a larger one in about as many calls as rows in each


class Guard:
    """A reward function in its worker. `score` is safe to call from several threads; calls are served one after another.

    what       a parsed spec, or a Python function, which is sent as a pickle, or is one
    timeout_s  seconds a row may take before its worker is killed; calls of many rows, and the first of a worker, may take more (`Pace`)

    Raises `RewardLoadError` where the function cannot be loaded in the worker.
    """

    def __init__(self, what: Builtin | Address | bytes | Callable[..., object], timeout_s: float) -> None:
        self.pace = Pace(timeout_s)
        self.late_rows = 0  # completions that got no answer in time
        self.late_call: tuple[int, float] | None = None  # rows and limit of a call that was too slow as a whole, though no row of it was
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._fresh = True  # whether the worker has not answered a call yet
        self._strikes = 0  # rows in a row that got no answer, over all calls
        self._lost_prompts: list[str] = []  # the prompts of these rows
        self._may_split = False  # whether smaller calls were seen to give the same values
        self.what: Builtin | Address | bytes = what if isinstance(what, Builtin | Address | bytes) else _pickled(what)
        try:
            self.name, self.sha256, self.range = self._start()
        except RewardLoadError:
            if isinstance(what, Builtin | Address | bytes):
                raise
            # a function of a module that only this process can import: send its code instead of its address
            self.what = _pickled(what, by_value=True)
            self.name, self.sha256, self.range = self._start()

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One value per row. Never raises for what the function does."""
        with self._lock:
            return self._score(prompts, completions)

    def ask(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value] | Failure:
        """One call, as it is: where it fails it is not repeated."""
        with self._lock:
            return self._call(prompts, completions)

    def close(self) -> None:
        """End the worker. A later `score` starts another."""
        with self._lock:
            if self._worker is not None:
                self._worker.close()
                self._worker = None

    def _score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        values: list[Value] = []
        spans, whole = [(0, len(prompts))], None  # what is still to be called, the next one last; how the first call failed
        while spans:
            start, end = len(values), spans.pop()[1]
            if start >= end:  # not tried
                continue
            if self._strikes and end - start > 1:
                spans.append((start + 1, end))
                end = start + 1
            answer = self._call(prompts[start:end], completions[start:end])
            if isinstance(answer, list):
                values += answer
                self._strikes, self._lost_prompts = 0, []
            elif end - start > 1:
                whole = whole or (start, end, answer, self.pace.limit(end - start, fresh=False))
                spans += reversed(_pieces(start, end))
            else:
                values.append(Value(error=answer.message, broken=is_broken(answer.message)))
                self.late_rows += answer.late
                values += self._after_a_failure(answer, prompts, start)
        if whole is not None:
            self._check_pieces(values, whole, prompts, completions)
        return values

    def _check_pieces(
        self, values: list[Value], whole: tuple[int, int, Failure, float], prompts: Sequence[Prompt], completions: Sequence[Completion]
    ) -> None:
        """Keep the values of smaller calls only where the call as a whole would have given them too."""
        start, end, failed, limit = whole
        if not self._may_split:
            finding = compare_alone(
                values[start:end], lambda rows: self._call([prompts[start + i] for i in rows], [completions[start + i] for i in rows])
            )
            self._may_split = finding == "same"
            if finding == "other":
                values[start:end] = [value if value.error else Value(error=f"{failed.message}; {COMPARES}") for value in values[start:end]]
                return
        if failed.late and not any(value.error for value in values[start:end]):
            self.late_call = self.late_call or (end - start, limit)

    def _after_a_failure(self, answer: Failure, prompts: Sequence[Prompt], row: int) -> list[Value]:
        """What becomes of the rows after one that failed alone: nothing yet, its prompt's others not tried, or all not tried.

        A prompt is given up after three rows in a row without an answer, the call after three such prompts in a row.
        """
        if not answer.lost:
            self._strikes, self._lost_prompts = 0, []
            return []
        self._strikes += 1
        own = prompts[row].id
        self._lost_prompts.append(own)
        if len(set(self._lost_prompts)) >= GIVE_UP_AFTER:
            return self._not_tried(answer, len(prompts) - row - 1)
        if self._lost_prompts.count(own) < GIVE_UP_AFTER:
            return []
        same = next((i for i, prompt in enumerate(prompts[row + 1 :]) if prompt.id != own), len(prompts) - row - 1)
        return self._not_tried(answer, same)

    def _not_tried(self, last: Failure, rows: int) -> list[Value]:
        self.late_rows += rows if last.late else 0
        return [Value(error=f"not tried: {self._strikes} rows in a row got no answer, the last one with {last.message}")] * rows

    def _call(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value] | Failure:
        try:
            request = cloudpickle.dumps({"prompts": list(prompts), "completions": list(completions)})
        except Exception as error:
            return Failure(f"the prompt's columns cannot be sent to the reward's process: {describe_exception(error)}", lost=False)
        try:
            # a worker that ended while nobody asked it anything is no row's fault
            if self._worker is None or not self._worker.is_alive():
                self._start()
        except FlatspotError as error:
            return Failure(f"the reward's process could not be started again: {error}", lost=True)
        assert self._worker is not None
        began = time.monotonic()  # the start of a worker is no row's time
        reply = self._worker.ask(request, self.pace.limit(len(prompts), fresh=self._fresh))
        if isinstance(reply, Failure):
            self.pace.unanswered(len(prompts), fresh=self._fresh)
            self._worker = None
            return reply
        self.pace.answered(len(prompts), time.monotonic() - began, fresh=self._fresh)
        self._fresh = False
        if "values" in reply:
            return [Value(*parts) for parts in reply["values"]]
        return Failure(reply.get("raised") or reply["failed"], lost=False)

    def _start(self) -> tuple[str, str | None, tuple[float, float] | None]:
        if self._worker is not None:
            self._worker.close()
        worker = Worker()
        request = {"load": self.what, "path": [str(Path.cwd()), *(entry for entry in sys.path if entry)]}
        reply = worker.ask(cloudpickle.dumps(request), max(_LOAD_TIMEOUT_S, self.pace.timeout_s))
        if isinstance(reply, Failure):
            raise RewardLoadError(f"the reward's process ended while it imported the reward: {reply.message}")
        if "ready" not in reply:
            worker.close()
            kind = _KINDS.get(reply.get("kind"), RewardLoadError)
            raise kind(reply.get("failed") or f"the reward cannot be loaded in its process: {reply['raised']}")
        self._worker, self._fresh = worker, True
        limits = reply["range"]
        return reply["ready"], reply["sha256"], limits and (float(limits[0]), float(limits[1]))


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    """A failed call in smaller ones: rows, or, of many rows, about as many calls as there are rows in each.

    >>> _pieces(0, 3), [end - start for start, end in _pieces(0, 100)]
    ([(0, 1), (1, 2), (2, 3)], [10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    size = 1 if end - start <= _ROW_BY_ROW else math.ceil(math.sqrt(end - start))
    return [(at, min(at + size, end)) for at in range(start, end, size)]


def _pickled(function: object, *, by_value: bool = False) -> bytes:
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    if by_value and module is not None and module.__name__ != "__main__":
        cloudpickle.register_pickle_by_value(module)
    try:
        return cast(bytes, cloudpickle.dumps(function))
    except Exception as error:
        raise RewardLoadError(
            f"the reward {getattr(function, '__name__', function)!r} cannot be sent to its own process ({describe_exception(error)}): "
            f"put it in a file and give file.py:function, or run it unguarded with load_reward(…, isolate=False)"
        ) from None
    finally:
        if by_value and module is not None and module.__name__ != "__main__":
            cloudpickle.unregister_pickle_by_value(module)

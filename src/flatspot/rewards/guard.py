"""Run a user's reward function in a process of its own, so that it can hang, crash or exit without taking the run along.

A call that fails as a whole is repeated row by row, and the failure lands on the row it belongs to. A worker that hangs or dies
is replaced. After `GIVE_UP_AFTER` rows in a row without an answer a prompt's other rows are not tried,
and after as many such prompts in a row the rest of the call is not.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import cloudpickle

from flatspot.core.errors import FlatspotError, MissingExtra, RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.frames import read_frame, write_frame
from flatspot.rewards.spec import Address, Builtin
from flatspot.rewards.values import Value, describe_exception

GIVE_UP_AFTER = 3
_LOAD_TIMEOUT_S = 120.0  # importing a deep-learning stack takes 10 s on a slow disk


@dataclass(frozen=True, slots=True)
class Failed:
    """A call without values. `lost` where the worker hung or died, and had to be replaced; else the function raised."""

    message: str
    lost: bool


class Guard:
    """A reward function in its worker. `score` is safe to call from several threads; calls are served one after another.

    what       a parsed spec, or a Python function, which is sent as a pickle
    timeout_s  seconds a call may take before its worker is killed

    Raises `RewardLoadError` where the function cannot be loaded in the worker.
    """

    def __init__(self, what: Builtin | Address | Callable[..., Any], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._strikes = 0  # rows in a row that got no answer, over all calls
        self._lost_prompts: list[str] = []  # the prompts of these rows
        self._rows_per_call = sys.maxsize
        self._load: Builtin | Address | bytes = what if isinstance(what, Builtin | Address) else _pickled(what)
        try:
            self.name, self.sha256 = self._start()
        except RewardLoadError:
            if not isinstance(self._load, bytes):
                raise
            # a function of a module that only this process can import: send its code instead of its address
            self._load = _pickled(what, by_value=True)
            self.name, self.sha256 = self._start()

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One value per row. Never raises for what the function does."""
        with self._lock:
            return self._score(prompts, completions)

    def close(self) -> None:
        """End the worker. A later `score` starts another."""
        with self._lock:
            if self._worker is not None:
                self._worker.close()
                self._worker = None

    def _score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        values: list[Value] = []
        n_rows = len(prompts)
        alone_until, slowest_s, lost_alone, timed_out = 0, 0.0, False, False
        while (start := len(values)) < n_rows:
            alone = start < alone_until or self._strikes > 0
            end = start + 1 if alone else min(n_rows, start + self._rows_per_call)
            began = time.monotonic()
            answer = self._call(prompts[start:end], completions[start:end])
            slowest_s = max(slowest_s, time.monotonic() - began) if start < alone_until else 0.0
            if isinstance(answer, list):
                values += answer
                self._strikes, self._lost_prompts = 0, []
            elif end - start > 1:
                alone_until, lost_alone, timed_out = end, False, answer.message.startswith("TimeoutError")
            else:
                values.append(Value(error=answer.message))
                lost_alone |= answer.lost
                values += self._after_a_failure(answer, prompts, start)
            if len(values) == alone_until and timed_out and not lost_alone and slowest_s > 0:
                # no row was at fault, there were only too many for one call: ask for fewer from now on
                self._rows_per_call = max(1, int(0.5 * self._timeout_s / slowest_s))
                timed_out = False
        return values

    def _after_a_failure(self, answer: Failed, prompts: Sequence[Prompt], row: int) -> list[Value]:
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
            return [self._not_tried(answer)] * (len(prompts) - row - 1)
        if self._lost_prompts.count(own) < GIVE_UP_AFTER:
            return []
        same = next((i for i, prompt in enumerate(prompts[row + 1 :]) if prompt.id != own), len(prompts) - row - 1)
        return [self._not_tried(answer)] * same

    def _not_tried(self, last: Failed) -> Value:
        return Value(error=f"not tried: {self._strikes} rows in a row got no answer, the last one with {last.message}")

    def _call(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value] | Failed:
        try:
            request = cloudpickle.dumps({"prompts": list(prompts), "completions": list(completions)})
        except Exception as error:
            return Failed(f"the prompt's columns cannot be sent to the reward's process: {describe_exception(error)}", lost=False)
        try:
            # a worker that ended while nobody asked it anything is no row's fault
            if self._worker is None or not self._worker.is_alive():
                self._start()
        except FlatspotError as error:
            return Failed(f"the reward's process could not be started again: {error}", lost=True)
        assert self._worker is not None
        reply = self._worker.ask(request, self._timeout_s)
        if isinstance(reply, Failed):
            self._worker = None
            return reply
        if "values" in reply:
            return [Value(number, error) for number, error in reply["values"]]
        return Failed(reply.get("raised") or reply["failed"], lost=False)

    def _start(self) -> tuple[str, str | None]:
        if self._worker is not None:
            self._worker.close()
        worker = _Worker()
        request = {"load": self._load, "path": [str(Path.cwd()), *(entry for entry in sys.path if entry)]}
        reply = worker.ask(cloudpickle.dumps(request), max(_LOAD_TIMEOUT_S, self._timeout_s))
        if isinstance(reply, Failed):
            raise RewardLoadError(f"the reward's process ended while it imported the reward: {reply.message}")
        if "ready" not in reply:
            worker.close()
            kind = MissingExtra if reply.get("kind") == "MissingExtra" else RewardLoadError
            raise kind(reply.get("failed") or f"the reward cannot be loaded in its process: {reply['raised']}")
        self._worker = worker
        return reply["ready"], reply["sha256"]


class _Worker:
    """The process and its pipes. After an answer of `Failed` it is gone."""

    def __init__(self) -> None:
        # -P: nothing of the working directory may stand in for a module that the worker itself imports
        command = [sys.executable, "-P", "-m", "flatspot.rewards.worker"]
        self._lifeline: int | None = None
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        if os.name == "posix":
            theirs, self._lifeline = os.pipe()
            # a session of its own: Ctrl-C in the terminal is for us, and a kill takes along whatever the function started
            self._process = subprocess.Popen([*command, str(theirs)], pass_fds=(theirs,), start_new_session=True, **pipes)
            os.close(theirs)
        else:
            self._process = subprocess.Popen(command, **pipes)
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read_replies, args=(self._process.stdout, self._replies), daemon=True)
        self._reader.start()
        self._end = weakref.finalize(self, _end_process, self._process, self._lifeline, self._reader)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, timeout_s: float) -> dict[str, Any] | Failed:
        """The worker's answer; where it gives none in time, or dies, it is killed and the answer is `Failed`."""
        try:
            write_frame(cast(BinaryIO, self._process.stdin), request)
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._end()
            return Failed(f"TimeoutError: no answer within {timeout_s:g} s", lost=True)
        except OSError:  # a broken pipe: it died before it read the request
            reply = None
        except BaseException:  # Ctrl-C: the answer to this question must not be taken for the answer to the next
            self._end()
            raise
        if reply is not None:
            return json.loads(reply)  # type: ignore[no-any-return]
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            code = 0
        self._end()
        return Failed(f"the reward's process {_how_it_ended(code)}", lost=True)

    def close(self) -> None:
        self._end()


def _read_replies(stream: BinaryIO, replies: queue.SimpleQueue[bytes | None]) -> None:
    payload: bytes | None = b""
    while payload is not None:
        try:
            payload = read_frame(stream)
        except (OSError, ValueError):
            payload = None
        replies.put(payload)


def _end_process(process: subprocess.Popen[bytes], lifeline: int | None, reader: threading.Thread) -> None:
    """Kill the worker and what it started, and close our ends; also runs at interpreter exit."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass  # gone already
    process.wait()
    if lifeline is not None:
        os.close(lifeline)
    reader.join(1)
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:
            pass  # unsent bytes to a dead process


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _pickled(function: Any, *, by_value: bool = False) -> bytes:
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

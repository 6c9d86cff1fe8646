"""The worker process of a reward: its start, one question and one answer at a time, and its end, however that comes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from typing import BinaryIO, cast

from flatspot.rewards.frames import Reply, read_frame, write_frame


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that gave no values.

    lost  the worker hung or died, and had to be replaced; else the function raised
    late  it was killed because its time was up
    """

    message: str
    lost: bool
    late: bool = False


class Worker:
    """The process and its pipes. After an answer of `Failure` it is gone."""

    def __init__(self) -> None:
        # -P: nothing of the working directory may stand in for a module that the worker itself imports
        command = [sys.executable, "-P", "-m", "flatspot.rewards.worker"]
        self._lifeline: int | None = None
        if os.name == "posix":
            theirs, self._lifeline = os.pipe()
            # a session of its own: Ctrl-C in the terminal is for us, and a kill takes along whatever the function started
            self._process = subprocess.Popen(
                [*command, str(theirs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(theirs,), start_new_session=True
            )
            os.close(theirs)
        else:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read_replies, args=(self._process.stdout, self._replies), daemon=True)
        self._reader.start()
        self._end = weakref.finalize(self, _end_process, self._process, self._lifeline, self._reader)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, request: bytes, timeout_s: float) -> Reply | Failure:
        """The worker's answer; where it gives none in time, or dies, it is killed and the answer is `Failure`."""
        try:
            write_frame(cast(BinaryIO, self._process.stdin), request)
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._end()
            return Failure(f"TimeoutError: no answer within {_shown(timeout_s)} s (--reward-timeout)", lost=True, late=True)
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
        return Failure(f"the reward's process {_how_it_ended(code)}", lost=True)

    def close(self) -> None:
        """End the process; repeatable."""
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


def _shown(seconds: float) -> str:
    return f"{round(seconds, 2 if seconds < 10 else 0):g}"

"""The process that runs a user's reward function: `python -m flatspot.rewards.worker`, started by `guard`.

It reads length-prefixed pickles from standard input and answers with length-prefixed JSON on standard output; both are moved away
before any of the user's code runs, so what that code prints goes to standard error and what it reads is empty.

    request  {"load": …, "path": [...]}                     reply  {"ready": name, "sha256": …, "range": …} or {"failed": message}
    request  {"prompts": [...], "completions": [...]}       reply  {"values": [[number, error, …], …]} or {"raised": message}
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from typing import BinaryIO

from flatspot.core.errors import FlatspotError
from flatspot.core.recording import OFF
from flatspot.rewards.frames import Load, Reply, read_frame, write_frame
from flatspot.rewards.resolve import ReadyReward, resolve
from flatspot.rewards.values import describe_exception


def main() -> None:
    """Answer requests until the other side closes the pipe."""
    requests, replies = _take_pipes()
    os.environ[OFF] = "1"  # a reward that a training records is asked here, too: what we score is not of the training
    if len(sys.argv) > 1:
        _end_with_parent(int(sys.argv.pop()))  # popped: the user's code finds no arguments of ours
    reward: ReadyReward | None = None
    while (payload := read_frame(requests)) is not None:
        reply: Reply
        try:
            request = pickle.loads(payload)
            if "load" in request:
                reward = _load(request)
                reply = {"ready": reward.name, "sha256": reward.sha256, "range": reward.range}
            elif reward is None:
                reply = {"failed": "the first request to a reward's process must load the reward"}
            else:
                values = reward.score(request["prompts"], request["completions"])
                reply = {"values": [(v.number, v.error, v.broken, v.unanswered) for v in values]}
        except FlatspotError as error:
            reply = {"failed": str(error), "kind": type(error).__name__}
        except (Exception, SystemExit) as error:  # a MemoryError and sys.exit() too: the row is at fault, not the run
            reply = {"raised": describe_exception(error)}
        sys.stdout.flush()
        write_frame(replies, json.dumps(reply).encode())


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep our two pipes on descriptors of their own; standard input becomes empty, standard output becomes standard error."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return requests, replies


def _load(request: Load) -> ReadyReward:
    sys.path[:0] = [entry for entry in request["path"] if entry not in sys.path]
    load = request["load"]
    # a function of the main process comes as a pickle of its own, so that its failure to load is told from a damaged message
    return resolve(pickle.loads(load) if isinstance(load, bytes) else load)


def _end_with_parent(lifeline: int) -> None:
    """Exit as soon as the parent is gone, however it went: nothing is ever written to this pipe, it can only close.

    The thread serves while Python code runs; the signal also ends a worker that hangs inside a C function such as `re.search`,
    where no other thread gets its turn. Its default action is to end the process.
    """

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    try:
        import fcntl
        import signal

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError, OSError):
        pass  # not on this system: the thread alone has to do


if __name__ == "__main__":
    main()

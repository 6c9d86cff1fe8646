"""Rows to servers: every row is asked until it has one completion, by whichever server is free."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from flatspot.core.connection import NoReply
from flatspot.core.errors import EngineError
from flatspot.core.records import Sampling
from flatspot.engines.server.fleet import Fleet
from flatspot.engines.server.server import Forms, Rejected, Server
from flatspot.engines.server.threads import start
from flatspot.engines.server.wire import Answer, NoCompletion

_STRIKES = 6  # a request that a server fails on so often, though it answers others, is a row with an error
_POLL_S = 0.2


@dataclass
class Job:
    """A row to ask for: its place in the result, its prompt, its seed, and how often a server failed on it."""

    place: tuple[int, int]
    forms: Forms
    seed: int
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no completion."""

    reason: str


Outcome = Answer | Failure


class Dispatch:
    """Draws the rows of one call. Each server has threads of its own, which take rows from one queue; a row that failed goes back there.

    A server that fails is asked for nothing until it has answered a probe, and is left out when it has not for `fleet.give_up_s`.
    """

    def __init__(self, fleet: Fleet, sampling: Sampling, jobs: Sequence[Job]) -> None:
        self.fleet, self.sampling, self.n_jobs = fleet, sampling, len(jobs)
        self.waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Job | None, Outcome | BaseException]] = queue.SimpleQueue()
        self.ended = threading.Event()
        self._served: set[str] = set()
        for server in fleet.refresh():
            server.doubt()
        for job in jobs:
            self.waiting.put(job)

    def run(self, on_answer: Callable[[Job, Outcome], None]) -> None:
        """Draw every row, telling of each on this thread. Raises EngineError where no server is left."""
        left = self.n_jobs
        try:
            while left:
                self._serve()
                try:
                    job, outcome = self.done.get(timeout=1.0)
                except queue.Empty:
                    continue
                if isinstance(outcome, BaseException):
                    raise outcome
                if job is not None:
                    on_answer(job, outcome)
                    left -= 1
        finally:
            self.ended.set()
            for _ in range(len(self._served) * self.fleet.options.concurrency):
                self.waiting.put(None)  # wakes threads that wait for a row

    def _serve(self) -> None:
        """Start the threads of servers that are new; raises EngineError where there is none."""
        servers = self.fleet.refresh()
        if not servers:
            why = "; ".join(note for note in self.fleet.notes if "left out" in note) or "none is named any more"
            raise EngineError(f"no server is left: {why}. The rows so far are kept: start a server and run the same command to resume")
        for server in servers:
            if server.url not in self._served:
                self._served.add(server.url)
                start(partial(self._guarded, self._begin, server), f"flatspot {server.url}")

    def _begin(self, server: Server) -> None:
        """Check a server that is new, then start its other threads."""
        while not server.admitted:
            if not self._may_ask(server):
                return
            try:
                self.fleet.admit(server)
            except NoReply as error:
                self._failed(server, error, of_probe=True)
        for _ in range(self.fleet.options.concurrency - 1):
            start(partial(self._guarded, self._work, server), f"flatspot {server.url}")
        self._work(server)

    def _work(self, server: Server) -> None:
        """Ask a server for rows until there are none, or it is left out."""
        while self._may_ask(server):
            if server.suspect:
                with server.probing:
                    if server.suspect and server.wait_s() <= 0:
                        self._revive(server)
                continue
            try:
                job = self.waiting.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if job is None:
                return
            outcome = self._attempt(server, job)
            if outcome is None:
                self.waiting.put(job)
            else:
                self.done.put((job, outcome))

    def _may_ask(self, server: Server) -> bool:
        """Wait until a server may be asked; False where it is not to be asked any more."""
        while not (self.ended.is_set() or server.left_out) and self.fleet.is_listed(server):
            wait = server.wait_s()
            if wait <= 0:
                return True
            self.ended.wait(min(wait, _POLL_S))
        return False

    def _attempt(self, server: Server, job: Job) -> Outcome | None:
        """A completion, or why there is none; None where the row is to be asked again."""
        try:
            answer = server.ask(job.forms, self.sampling, job.seed)
        except NoReply as error:
            known = server.suspect
            self._failed(server, error)
            # rows in flight when a server went down say nothing of themselves
            job.strikes += error.reached and not known
            return Failure(f"{error}, {job.strikes} times") if job.strikes >= _STRIKES else None
        except NoCompletion as error:
            job.strikes += 1
            return Failure(str(error)) if job.strikes >= _STRIKES else None
        except Rejected as error:
            return self._rejected(server, error)
        return answer

    def _rejected(self, server: Server, error: Rejected) -> Outcome | None:
        """Of a request that is refused: the prompt's fault where the server still takes the check's."""
        if error.status in (401, 403):
            self.fleet.leave_out(server, f"it refuses the key: {error}")
            return None
        with server.probing:
            self._revive(server)
        return None if server.suspect or server.left_out else Failure(f"the server rejects it: {error}")

    def _revive(self, server: Server) -> None:
        """Ask a server for a probe."""
        try:
            self.fleet.revive(server)
        except NoReply as error:
            self._failed(server, error, of_probe=True)
        except EngineError as error:
            self.fleet.leave_out(server, str(error))

    def _failed(self, server: Server, error: NoReply, *, of_probe: bool = False) -> None:
        seconds = server.failed(error, of_probe=of_probe)
        if seconds > self.fleet.give_up_s:
            self.fleet.leave_out(server, f"it has not answered for {seconds:.0f} s ({error})")

    def _guarded(self, work: Callable[[Server], None], server: Server) -> None:
        """Run the work of a thread: a server that does not pass its check is left out, and a fault of ours ends the call."""
        try:
            work(server)
        except EngineError as error:
            self.fleet.leave_out(server, str(error))
        except BaseException as error:
            self.done.put((None, error))
        finally:
            server.close()

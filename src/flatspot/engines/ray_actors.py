"""Actors of Ray that wait for tasks: hired as far as there is work, replaced where they die, so that no task is lost or done twice."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flatspot.core.errors import EngineError, FlatspotError, last_line
from flatspot.core.optional import require

_MOST_DEATHS = 3  # of actors at one task: then it is the task
_CONNECT_S = 10.0
_WAIT_S = 0.25  # until new tasks, and actors that are to be there, are looked for again

Make = Callable[[], tuple[Any, Callable[..., Any]]]
"""Makes, in an actor, what it holds: what is to be known of it here, and a function of a task's arguments."""


@dataclass(frozen=True)
class RayOptions:
    """What the pool is.

    engine   the name of the engine that each worker holds
    workers  how many there are to be
    address  of a cluster; None: of this machine, or what RAY_ADDRESS says
    """

    engine: str = "auto"
    workers: int = 2
    address: str | None = None


@dataclass
class Work:
    """Tasks that wait, with their arguments, and that run (future → task and actor); how often an actor died of each."""

    waiting: deque[int] = field(default_factory=deque)
    arguments: dict[int, Sequence[Any]] = field(default_factory=dict)
    running: dict[Any, tuple[int, Any]] = field(default_factory=dict)
    deaths: Counter[int | None] = field(default_factory=Counter)

    @property
    def unfinished(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.running)

    def add(self, task: int, arguments: Sequence[Any]) -> None:
        """One more."""
        self.arguments[task] = arguments
        self.waiting.append(task)


class Actors:
    """So many actors that hold the same.

    ray      the package, connected
    number   of actors, while there are tasks for them
    make     what each of them holds
    options  of a new actor: CPUs, GPUs, place
    known    called with what is to be known of a new one; it raises where that is another than it should be
    doing    what they do, for messages: "drew", "scored"
    """

    def __init__(
        self, ray: Any, number: int, make: Make, options: Callable[[], dict[str, Any]], known: Callable[[Any], None], doing: str
    ) -> None:
        self._ray, self._number, self._make, self._options, self._known, self._doing = ray, number, make, options, known, doing
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}

    def start_one(self) -> None:
        """Start the first and wait for it. Raises EngineError where it dies."""
        actor = self._new()
        self._known(self._answer(actor.load.remote(self._make, str(Path.cwd()))))
        self._idle.append(actor)

    @contextlib.contextmanager
    def work(self) -> Iterator[Work]:
        """`with actors.work() as work: work.add(…); actors.step(work)`; actors that still run a task at the end are ended."""
        work = Work()
        try:
            yield work
        finally:
            for _, actor in work.running.values():
                self._ray.kill(actor)

    def map(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """What the actors' function gives for each of these arguments. Raises as `step` does."""
        done: dict[int, Any] = {}
        with self.work() as work:
            for number, arguments in enumerate(calls):
                work.add(number, arguments)
            while work.unfinished:
                done.update(self.step(work))
        return [done[number] for number in range(len(calls))]

    def step(self, work: Work) -> list[tuple[int, Any]]:
        """Hire actors, give them tasks, and wait a moment: the tasks that are done, with what they gave.

        Raises EngineError where an actor does, and where actors die of one task again and again.
        """
        self._hire(work)
        while work.waiting and self._idle:
            actor, task = self._idle.pop(), work.waiting.popleft()
            work.running[actor.ask.remote(*work.arguments[task])] = (task, actor)
        futures, done = [*work.running, *self._starting], list[tuple[int, Any]]()
        ready, _ = self._ray.wait(futures, num_returns=1, timeout=_WAIT_S) if futures else ([], [])
        for future in ready:
            if future in self._starting:
                actor = self._starting.pop(future)
                answer = self._answer(future, died=partial(self._died, work, None))
                if answer is not None:
                    self._known(answer)
                    self._idle.append(actor)
            else:
                task, actor = work.running.pop(future)
                answer = self._answer(future, died=partial(self._died, work, task))
                if answer is not None:
                    del work.arguments[task]
                    done.append((task, answer[0]))
                    self._idle.append(actor)
        return done

    def _hire(self, work: Work) -> None:
        """Start as many actors as there are tasks and places for; one that died leaves its place."""
        free = len(self._idle) + len(self._starting)
        for _ in range(min(len(work.waiting) - free, self._number - free - len(work.running))):
            actor = self._new()
            self._starting[actor.load.remote(self._make, str(Path.cwd()))] = actor

    def _new(self) -> Any:
        return self._ray.remote(_Actor).options(max_restarts=0, **self._options()).remote()

    def _died(self, work: Work, task: int | None) -> None:
        """An actor died, of this task or while it started: the task waits again, first in line."""
        work.deaths[task] += 1
        if work.deaths[task] > _MOST_DEATHS:
            what = "while they loaded" if task is None else f"while they {self._doing} the same rows"
            raise EngineError(f"{_MOST_DEATHS + 1} workers of Ray died {what}: it is probably the memory. Lower --memory-gib or --workers")
        if task is not None:
            work.waiting.appendleft(task)

    def _answer(self, future: Any, died: Callable[[], None] | None = None) -> Any:
        """What an actor answers; None where it died and `died` took that. Raises EngineError where the actor does."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(future)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, FlatspotError):
                raise cause from error
            raise EngineError(f"a worker of Ray failed: {last_line(cause or error)}") from error
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            if died is None:
                raise EngineError(f"the first worker of Ray died: {last_line(error)}. Does its node have the memory?") from error
            died()
            return None


class _Actor:
    """What it holds, and a function of it."""

    def load(self, make: Make, folder: str) -> Any:
        """Make it; what is to be known of it. In the folder of the process that called, where this node has it: names are of there."""
        with contextlib.suppress(OSError):
            os.chdir(folder)
        about, self.function = make()
        return about

    def ask(self, *arguments: Any) -> tuple[Any]:
        """What the function gives; in a tuple, for it may be None."""
        return (self.function(*arguments),)


class Tally:
    """An actor that counts tokens and completions of tasks that run, so that they can be told before a task ends."""

    def __init__(self) -> None:
        self.counts = (0, 0)

    def add(self, tokens: int, completions: int) -> None:
        """So many more."""
        self.counts = (self.counts[0] + tokens, self.counts[1] + completions)

    def take(self) -> tuple[int, int]:
        """How many came since the last call."""
        counts, self.counts = self.counts, (0, 0)
        return counts


class Tallied:
    """A `Tally` as the process sees it that tells of what is counted there: asked without waiting, and silent once it is gone."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.actor = ray.remote(Tally).options(num_cpus=0).remote()
        self._asked = self.actor.take.remote()

    def news(self) -> tuple[int, int]:
        """Tokens and completions since the last news, as far as an answer is there."""
        ready, _ = self._ray.wait([self._asked], timeout=0)
        if not ready:
            return 0, 0
        try:
            counts: tuple[int, int] = self._ray.get(self._asked)
        except self._ray.exceptions.RayError:
            return 0, 0
        self._asked = self.actor.take.remote()
        return counts


def whole_cpus(ray: Any, number: int, gpus: int) -> int:
    """The CPUs of each of so many actors: its share, but no more than the smallest node has that can hold it, or it would never start.

    Raises EngineError where no node can.
    """
    every = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [node["CPU"] for node in every if node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= 1]
    if not cpus:
        raise EngineError(f"no node of the cluster has a CPU and the {gpus} GPUs of a worker: see --tensor-parallel and --device")
    return max(1, int(min(sum(cpus) // number, min(cpus))))


def started(options: RayOptions) -> Any:
    """Ray, connected to a cluster or started on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", purpose="the ray engine")
    if not ray.is_initialized():
        address = options.address or os.environ.get("RAY_ADDRESS", "")
        host, colon, port = address.partition("://")[2 if "://" in address else 0].rpartition(":")
        try:
            if colon and port.isdecimal():  # Ray itself waits for minutes for a cluster that is not there
                socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
            ray.init(address=options.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            raise EngineError(
                f"there is no Ray cluster at {address or 'this machine'}: {last_line(error)}. Start one (ray start --head), or give its "
                "--ray-address HOST:PORT; without one, workers run on this machine"
            ) from error
    return ray

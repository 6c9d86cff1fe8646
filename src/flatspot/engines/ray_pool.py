"""The engine on Ray: a pool of actors, each of which holds another engine.

The rows of a call are cut into tasks of a fixed number, whatever the number of workers. Which worker draws a task, how many there are, and
how many of them die meanwhile change no row: the seeds are the rows' own. The run folder, the rounds and the decisions stay with the
process that called.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flatspot.core.errors import EngineError, FlatspotError, last_line
from flatspot.core.optional import require
from flatspot.core.plain import Json
from flatspot.core.protocols import Engine, OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, Sampling

_MOST_TASK_ROWS = 4096
_ROWS_PER_CALL = 16_384  # a part of a run: many tasks, so that few workers wait for the last of them
_MOST_DEATHS = 3  # of workers at one task: then it is the task
_WAIT_S = 1.0  # until workers that are to be there are looked for again


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


Load = Callable[..., Engine]


class RayEngine:
    """Samples with another engine on several workers.

    load      makes the engine of a worker, called with `settings`; what it needs must be there on every node
    settings  of each engine, tensor_parallel among them: as many GPUs belong to a worker of vllm
    """

    name = "ray"
    rows_per_call = _ROWS_PER_CALL

    def __init__(self, load: Load, options: RayOptions, *, gpus: int = 0, **settings: Any) -> None:
        if isinstance(settings.get("model"), tuple):
            raise EngineError("workers read a policy from its files, got a model in memory: save it, or use --engine hf")
        self._ray = _started(options)
        self._load, self._options, self._settings, self._gpus = load, options, settings, gpus
        self.notes: list[str] = []
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        first = self._new_worker()
        self._of, rows = self._answer(first.load.remote(load, settings))
        self.task_rows = min(rows, _MOST_TASK_ROWS)
        self._idle.append(first)

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests.

        Raises EngineError where a worker does, and where workers die of one task again and again.
        """
        tasks = tasks_of(requests, self.task_rows)
        drawing = _Drawing(deque(range(len(tasks))))
        while drawing.unfinished:
            self._hire(drawing)
            while drawing.waiting and self._idle:
                worker, number = self._idle.pop(), drawing.waiting.popleft()
                rows = [PromptRequest(requests[i].text, requests[i].seeds[at]) for i, at in tasks[number]]
                drawing.running[worker.sample.remote(rows, sampling)] = (number, worker)
            self._collect(drawing, on_tokens)
        completions: list[list[Completion]] = [[] for _ in requests]
        for number, task in enumerate(tasks):
            for (i, _), drawn in zip(task, drawing.done[number], strict=True):
                completions[i] += drawn
        return completions

    def describe(self) -> Mapping[str, Json]:
        """That of the workers' engine, and how many rows it draws at a time."""
        return {"engine": self.name, "workers_engine": dict(self._of), "task_rows": self.task_rows}

    def _new_worker(self) -> Any:
        """On any node that has the GPUs; its share of the CPUs is no more than the smallest of these has, or it would never start."""
        every = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        nodes = [node for node in every if node.get("GPU", 0) >= self._gpus and node.get("CPU", 0) >= 1]
        if not nodes:
            raise EngineError(f"no node of the cluster has a CPU and the {self._gpus} GPUs of a worker: see --tensor-parallel and --device")
        cpus = [node["CPU"] for node in nodes]
        share, gpus = min(sum(cpus) // self._options.workers, min(cpus)), {"num_gpus": self._gpus} if self._gpus else {}
        return self._ray.remote(_Worker).options(num_cpus=max(1, int(share)), max_restarts=0, **gpus).remote()

    def _hire(self, drawing: _Drawing) -> None:
        """Start as many workers as there are tasks and places for; one that died leaves its place."""
        free = len(self._idle) + len(self._starting)
        for _ in range(min(len(drawing.waiting) - free, self._options.workers - free - len(drawing.running))):
            worker = self._new_worker()
            self._starting[worker.load.remote(self._load, self._settings)] = worker

    def _collect(self, drawing: _Drawing, on_tokens: OnTokens | None) -> None:
        """Take in what is finished: tasks, workers that are ready, workers that died."""
        futures = [*drawing.running, *self._starting]
        ready, _ = self._ray.wait(futures, num_returns=1, timeout=_WAIT_S)
        for future in ready:
            if future in self._starting:
                worker = self._starting.pop(future)
                answer = self._answer(future, died=partial(drawing.died, None))
                if answer is not None and self._same(answer[0]):
                    self._idle.append(worker)
            else:
                number, worker = drawing.running.pop(future)
                answer = self._answer(future, died=partial(drawing.died, number))
                if answer is not None:
                    drawing.done[number], notes = answer
                    self._idle.append(worker)
                    self._tell(drawing.done[number], notes, on_tokens)

    def _tell(self, drawn: Sequence[Sequence[Completion]], notes: Sequence[str], on_tokens: OnTokens | None) -> None:
        self.notes += [note for note in notes if note not in self.notes]
        tell_completed(on_tokens, sum(map(len, drawn)))
        if on_tokens is not None:
            on_tokens(sum(one.n_tokens for several in drawn for one in several))

    def _same(self, about: Mapping[str, Json]) -> bool:
        """Raise EngineError where a worker holds another engine than the first one."""
        if about != self._of:
            differ = ", ".join(sorted(name for name in {*about, *self._of} if about.get(name) != self._of.get(name)))
            raise EngineError(
                f"the workers do not sample alike: their engines differ in {differ}. Give all nodes the same model and packages"
            )
        return True

    def _answer(self, future: Any, died: Callable[[], None] | None = None) -> Any:
        """What a worker answers; None where it died and `died` took that. Raises EngineError where the worker does."""
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


@dataclass
class _Drawing:
    """One call: tasks that wait, that run (future → task and worker) and that are done, and how often a worker died of each."""

    waiting: deque[int]
    running: dict[Any, tuple[int, Any]] = field(default_factory=dict)
    done: dict[int, Any] = field(default_factory=dict)
    deaths: Counter[int | None] = field(default_factory=Counter)

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self.running)

    def died(self, task: int | None) -> None:
        """A worker died, of this task or while it started: the task waits again."""
        self.deaths[task] += 1
        if self.deaths[task] > _MOST_DEATHS:
            what = "while they loaded the policy" if task is None else "while they drew the same rows"
            raise EngineError(f"{_MOST_DEATHS + 1} workers of Ray died {what}: it is probably the memory. Lower --memory-gib or --workers")
        if task is not None:
            self.waiting.appendleft(task)


class _Worker:
    """An actor: the engine of one worker."""

    def load(self, load: Load, settings: Mapping[str, Any]) -> tuple[dict[str, Json], int]:
        """Load it; what the rows depend on, and how many it takes at a time."""
        self.engine = load(**settings)
        return dict(self.engine.describe()), self.engine.rows_per_call  # type: ignore[arg-type]  # plain JSON by contract

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling) -> tuple[list[list[Completion]], list[str]]:
        """The completions, and the engine's notes."""
        return self.engine.sample(requests, sampling), list(getattr(self.engine, "notes", ()))


def tasks_of(requests: Sequence[PromptRequest], rows: int) -> list[list[tuple[int, slice]]]:
    """The rows of some requests in tasks of so many: each a list of (request, which of its seeds), in order.

    >>> [[(i, at.start, at.stop) for i, at in task] for task in tasks_of([PromptRequest("a", (1, 2, 3)), PromptRequest("b", (4, 5))], 4)]
    [[(0, 0, 3), (1, 0, 1)], [(1, 1, 2)]]
    """
    tasks: list[list[tuple[int, slice]]] = []
    room = 0
    for i, request in enumerate(requests):
        start = 0
        while start < len(request.seeds):
            if room == 0:
                tasks.append([])
                room = rows
            stop = min(start + room, len(request.seeds))
            tasks[-1].append((i, slice(start, stop)))
            room -= stop - start
            start = stop
    return tasks


def _started(options: RayOptions) -> Any:
    """Ray, connected to a cluster or started on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", purpose="the ray engine")
    if not ray.is_initialized():
        try:
            ray.init(address=options.address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EngineError(f"there is no Ray cluster at {options.address or 'RAY_ADDRESS'}: {last_line(error)}") from error
    return ray

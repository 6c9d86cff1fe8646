"""The engine on Ray: a pool of actors, each of which holds another engine.

The rows of a part are cut into tasks of a fixed number, whatever the number of workers. Which worker draws a task, how many there are, how
many of them die meanwhile, and which parts are drawn at the same time changes no row: the seeds are the rows' own. The run folder, the
rounds and the decisions stay with the process that called.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from flatspot.core.errors import EngineError, FlatspotError, last_line
from flatspot.core.plain import Json
from flatspot.core.protocols import Engine, OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, Sampling
from flatspot.engines.ray_actors import Actors, RayOptions, Tallied, started, whole_cpus

_MOST_TASK_ROWS = 4096
_ROWS_PER_CALL = 16_384  # a part of a run: many tasks, so that few workers wait for the last of them
_AHEAD = 3  # tasks per worker that may be begun, or done, and not handed over: they are in memory
_TELL_S = 0.5

Load = Callable[..., Engine]
Rows = list[list[Completion]]
Item = tuple[int, Sequence[Any]]  # a task, and what its worker is called with


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
        self._ray = ray = started(options)
        self._options = options
        self.notes: list[str] = []
        self._of: Mapping[str, Json] | None = None
        self._tallied = Tallied(ray)
        self._scoring: dict[Callable[[], Callable[..., Any]], Actors] = {}
        make = partial(_sampler, load, settings, self._tallied.actor)
        of_gpus = {"num_gpus": gpus} if gpus else {}
        self._actors = Actors(
            ray, options.workers, make, lambda: {"num_cpus": whole_cpus(ray, options.workers, gpus)} | of_gpus, self._known, "drew"
        )
        self._actors.start_one()

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> Rows:
        """One completion per seed, in the order of the requests.

        Raises EngineError where a worker does, and where workers die of one task again and again.
        """
        [completions] = self.sample_parts([requests], sampling, on_tokens)
        return completions

    def sample_parts(
        self, parts: Iterable[Sequence[PromptRequest]], sampling: Sampling, on_tokens: OnTokens | None = None
    ) -> Iterator[Rows]:
        """`sample` of each part, in order; the next ones are drawn while the slowest rows of one are, and while it is scored and written.

        Close it where it is not used up: the workers then stop. Raises as `sample` does.
        """
        tasks, results = SimpleQueue[Item | None](), SimpleQueue[tuple[int, Any] | BaseException]()
        worker = threading.Thread(target=self._draw, args=(tasks, results), daemon=True)
        worker.start()
        coming, begun, told, more = iter(parts), _Begun(), _Told(on_tokens), True
        try:
            while True:
                while more and begun.tasks < max(1, _AHEAD * self._options.workers):
                    part = next(coming, None)
                    if more := part is not None:
                        begun.add(part, self.task_rows, lambda task, rows: tasks.put((task, (rows, sampling))))
                if (whole := begun.whole()) is not None:
                    yield whole
                elif not begun.parts:
                    return
                else:
                    self._take(results.get(), begun, told)
        finally:
            tasks.put(None)
            worker.join()

    def spread(self, load: Callable[[], Callable[..., Any]], calls: Sequence[Sequence[Any]]) -> list[Any]:
        """What `load()(*call)` gives for each call, in actors beside the workers, which load once.

        Raises FlatspotError where `load` or a call does, and EngineError where they die, or cannot be sent what is asked.
        """
        if load not in self._scoring:
            options = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}
            self._scoring[load] = Actors(self._ray, self._options.workers, partial(_held, load), lambda: options, lambda _: None, "scored")
        try:
            return self._scoring[load].map(calls)
        except FlatspotError:
            raise
        except Exception as error:  # of what is pickled, whose functions raise anything
            raise EngineError(f"workers cannot be sent it: {last_line(error)}") from error

    def describe(self) -> Mapping[str, Json]:
        """That of the workers' engine, and how many rows it draws at a time."""
        return {"engine": self.name, "workers_engine": dict(self._of or {}), "task_rows": self.task_rows}

    def _draw(self, tasks: SimpleQueue[Item | None], results: SimpleQueue[tuple[int, Any] | BaseException]) -> None:
        """Hand out tasks until None comes; in a thread, so that workers find the next one while parts are scored."""
        try:
            with self._actors.work() as work:
                while True:
                    try:
                        while (item := tasks.get(block=not work.unfinished)) is not None:
                            work.add(*item)
                        return
                    except Empty:
                        pass
                    for done in self._actors.step(work):
                        results.put(done)
                    if any(news := self._tallied.news()):
                        results.put((-1, news))
        except BaseException as error:  # raised where the parts are taken
            results.put(error)

    def _take(self, result: tuple[int, Any] | BaseException, begun: _Begun, told: _Told) -> None:
        """Take in what came of a task, or news of those that run."""
        if isinstance(result, BaseException):
            raise result
        task, came = result
        if task < 0:
            told.running(*came)
            return
        rows, notes = came
        begun.done(task, rows)
        self.notes += [note for note in notes if note not in self.notes]
        told.done(sum(one.n_tokens for several in rows for one in several), sum(map(len, rows)))

    def _known(self, of_worker: tuple[Mapping[str, Json], int]) -> None:
        """Raise EngineError where a worker holds another engine than the first one."""
        about, rows = of_worker
        if self._of is None:
            self._of, self.task_rows = about, min(rows, _MOST_TASK_ROWS)
        elif about != self._of:
            differ = ", ".join(sorted(name for name in {*about, *self._of} if about.get(name) != self._of.get(name)))
            raise EngineError(
                f"the workers do not sample alike: their engines differ in {differ}. Give all nodes the same model and packages"
            )


@dataclass
class _Part:
    """A part: its tasks, the number of the first one, and the rows of those that are done."""

    requests: Sequence[PromptRequest]
    tasks: list[list[tuple[int, slice]]]
    first: int
    drawn: dict[int, Rows] = field(default_factory=dict)

    def rows(self) -> Rows:
        """One list per request."""
        completions: Rows = [[] for _ in self.requests]
        for number, task in enumerate(self.tasks):
            for (i, _), several in zip(task, self.drawn[number], strict=True):
                completions[i] += several
        return completions


@dataclass
class _Begun:
    """The parts that are not handed over, in order, how many tasks these have, and the number of the next task."""

    parts: deque[_Part] = field(default_factory=deque)
    tasks: int = 0
    next_task: int = 0

    def add(self, requests: Sequence[PromptRequest], task_rows: int, put: Callable[[int, list[PromptRequest]], None]) -> None:
        """Begin a part."""
        part = _Part(requests, tasks_of(requests, task_rows), self.next_task)
        self.parts.append(part)
        for number, task in enumerate(part.tasks, self.next_task):
            put(number, [PromptRequest(requests[i].text, requests[i].seeds[at]) for i, at in task])
        self.tasks += len(part.tasks)
        self.next_task += len(part.tasks)

    def done(self, task: int, rows: Rows) -> None:
        """These are the rows of a task."""
        part = next(part for part in self.parts if task < part.first + len(part.tasks))
        part.drawn[task - part.first] = rows

    def whole(self) -> Rows | None:
        """The rows of the first part, which is not kept, where they are all there."""
        if not self.parts or len(self.parts[0].drawn) < len(self.parts[0].tasks):
            return None
        part = self.parts.popleft()
        self.tasks -= len(part.tasks)
        return part.rows()


@dataclass
class _Told:
    """What an `OnTokens` is told: the tokens and completions of each task once, those of tasks that run ahead of their end.

    ahead  how many were told that belong to no task that is done; a task that dies leaves its own to the one that draws its rows again
    """

    on_tokens: OnTokens | None
    ahead: tuple[int, int] = (0, 0)

    def running(self, tokens: int, completions: int) -> None:
        """So many more came of tasks that run."""
        self.ahead = self.ahead[0] + tokens, self.ahead[1] + completions
        self._tell(tokens, completions)

    def done(self, tokens: int, completions: int) -> None:
        """A task is done that had so many in all."""
        tokens, completions = tokens - self.ahead[0], completions - self.ahead[1]
        self.ahead = max(0, -tokens), max(0, -completions)
        self._tell(max(0, tokens), max(0, completions))

    def _tell(self, tokens: int, completions: int) -> None:
        tell_completed(self.on_tokens, completions)
        if self.on_tokens is not None and (tokens or completions):
            self.on_tokens(tokens)


@dataclass
class _Count:
    """An `OnTokens` in a worker: tokens and completions of a task, and how many of these the tally was told of, twice a second."""

    tally: Any
    tokens: int = 0
    completions: int = 0
    told: tuple[int, int] = (0, 0)
    last: float = field(default_factory=time.monotonic)

    def __call__(self, n: int) -> None:
        """So many new tokens."""
        self.tokens += n
        if time.monotonic() - self.last >= _TELL_S:
            self.tally.add.remote(self.tokens - self.told[0], self.completions - self.told[1])
            self.told, self.last = (self.tokens, self.completions), time.monotonic()

    def completed(self, n: int) -> None:
        """So many completions are whole."""
        self.completions += n


def _sampler(load: Load, settings: Mapping[str, Any], tally: Any) -> tuple[Any, Callable[..., Any]]:
    """In a worker: what its rows depend on, and how many it takes at a time; and its sampling: the completions, and the engine's notes."""
    engine = load(**settings)

    def sample(requests: Sequence[PromptRequest], sampling: Sampling) -> tuple[Rows, list[str]]:
        return engine.sample(requests, sampling, _Count(tally)), list(getattr(engine, "notes", ()))

    return (dict(engine.describe()), engine.rows_per_call), sample


def _held(load: Callable[[], Callable[..., Any]]) -> tuple[str, Callable[..., Any]]:
    return "", load()


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

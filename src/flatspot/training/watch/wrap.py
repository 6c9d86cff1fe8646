"""`watch`: record the calls of a trainer's reward functions in a run folder, without changing them."""

from __future__ import annotations

import atexit
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.request import IN_MEMORY, Request
from flatspot.rollouts.parts import part_files, parts_of
from flatspot.rollouts.store import RunFolder, open_run
from flatspot.training.ranks import rank
from flatspot.training.watch.calls import Value
from flatspot.training.watch.live import Live
from flatspot.training.watch.recorder import Recorder
from flatspot.training.watch.resume import completion_counts

RewardFunction = Callable[..., Any]
"""`f(prompts, completions, **columns) -> list[float | None]`, or the same as a coroutine function."""
_open: dict[Path, Recorder] = {}


def watch(
    reward_funcs: RewardFunction | Sequence[RewardFunction],
    *,
    out: str | Path,
    reward_range: tuple[float, float] | None = None,
) -> list[RewardFunction]:
    """Reward functions for TRL's GRPOTrainer or RLOOTrainer that return the same values as yours and record them.

    reward_funcs  TRL's callables `f(prompts, completions, **columns) -> list[float | None]`, sync or async; names are preserved
    out           the run folder; a resumed training continues in the same one
    reward_range  (lo, hi) of the weighted sum; None: [0, 1], or the observed range if it is wider

    Each generation batch adds its rows to `out` (`flatspot inspect OUT` judges them) and its metrics, `flatspot/…`, to the trainer's log.
    Pass `FlatspotCallback` to the trainer too: it raises the alarms, prints a summary at the end, and sets aside the rows that a training
    samples again when it resumes from a checkpoint. Unwatched rewards of the trainer are included in the total if the trainer logs them.
    Raises `SettingsError` for anything but a function (pass a reward model to TRL directly, in addition to the watched functions), and
    `RunFolderError` if `out` contains the rows of other rewards.

    >>> def length(completions, **columns):
    ...     return [float(len(text)) for text in completions]
    >>> [watched] = watch(length, out=getfixture("tmp_path") / "run")
    >>> watched.__name__, watched(prompts=["a", "a"], completions=["bb", "c"], completion_ids=[[1, 1], [1]])
    ('length', [2.0, 1.0])
    """
    functions = [_function(value) for value in (reward_funcs if isinstance(reward_funcs, list | tuple) else [reward_funcs])]
    if not functions:
        raise SettingsError("watch got no reward function: pass at least one")
    names = _distinct([_name(function) for function in functions])
    path = Path(out)
    if (older := _open.pop(path.resolve(), None)) is not None:
        older.release()
    recorder = _start(path, names, [_sha256(function) for function in functions], reward_range)
    _open[path.resolve()] = recorder
    return [_watched(function, recorder, i) for i, function in enumerate(functions)]


def _function(value: object) -> RewardFunction:
    if not callable(value) or hasattr(value, "forward"):
        raise SettingsError(
            f"watch expects functions, got {value!r:.60} (a {type(value).__name__}). A reward model is called by the trainer itself: pass "
            "it to the trainer in addition to the functions that watch returns, and it is included in the total; or wrap it in a function "
            "that scores the completions."
        )
    return value


def recorder_of(watched: object = None) -> Recorder | None:
    """The recorder of watched functions, of a run folder, or the latest one; None if nothing is watched.

    Raises `SettingsError` if `watched` is not a watch.
    """
    if watched is None:
        return next(reversed(_open.values()), None)
    if isinstance(watched, str | Path):
        recorder: object = _open.get(Path(watched).resolve())
    else:
        some = watched if isinstance(watched, list | tuple) else [watched]
        recorder = next((f.flatspot_recorder for f in some if hasattr(f, "flatspot_recorder")), None)
    if not isinstance(recorder, Recorder):
        raise SettingsError(f"{watched!r:.80} is not watched: pass the functions that flatspot.watch returned, or its run folder")
    return recorder


def _start(path: Path, names: Sequence[str], hashes: Sequence[str | None], reward_range: tuple[float, float] | None) -> Recorder:
    number = rank()
    folder: RunFolder | None = None
    identity = {"reward": {"names": list(names), "sha256": list(hashes)}}
    if number == 0:
        request = Request(rewards=tuple(f"{name}{IN_MEMORY}" for name in names), reward_range=reward_range, out=str(path))
        folder = open_run(path, kind="watch", request=request, identity=identity)
    recorder = Recorder(path, tuple(names), Live(names, reward_range), folder, number)
    recorder.part = max((part for owner, part in parts_of(path) if owner == number), default=-1) + 1
    if (path / "prompts.parquet").exists():
        _continue(recorder)
    recorder.older = frozenset(part.file.name for part in part_files(path))
    recorder.caveats = list(dict.fromkeys([POOLED, *_caveats_of(path)]))
    recorder.note(caveats=recorder.caveats)
    return recorder


POOLED = "These rows were drawn while the policy was trained: early and late ones are of different policies."
"""The caveat of every watched run as a whole."""


def _caveats_of(path: Path) -> list[str]:
    """The caveats of an earlier part of the training; empty if they cannot be read, which the recorder reports when it writes."""
    try:
        return [str(text) for text in json.loads((path / "notes.json").read_text("utf-8"))["caveats"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _continue(recorder: Recorder) -> None:
    """Read the prompts and counts that an earlier part of this training wrote to the run folder."""
    from flatspot.rollouts.rescore import stored_prompts

    recorder.prompts = {prompt.id: (i, prompt) for i, prompt in enumerate(stored_prompts(recorder.path))}
    recorder.counts, recorder.stored = completion_counts(recorder.path), len(recorder.prompts)


def _watched(function: RewardFunction, recorder: Recorder, component: int) -> RewardFunction:
    def call_of(args: Sequence[object], columns: Mapping[str, object]) -> dict[str, object]:
        return dict(zip(("prompts", "completions"), args, strict=False)) | dict(columns)

    def record(values: Sequence[Value], args: Sequence[object], columns: Mapping[str, object]) -> None:
        recorder.record(component, values, call_of(args, columns), getattr(function, "flatspot_errors", ()))

    if _is_async(function):

        @functools.wraps(function)
        async def watched(*args: object, **columns: object) -> Sequence[Value]:
            try:
                values = _sized(await function(*args, **columns))
            except Exception as error:
                recorder.record_failure(component, error, call_of(args, columns))
                raise
            record(values, args, columns)
            return values

    else:

        @functools.wraps(function)
        def watched(*args: object, **columns: object) -> Sequence[Value]:
            try:
                values = _sized(function(*args, **columns))
            except Exception as error:
                recorder.record_failure(component, error, call_of(args, columns))
                raise
            record(values, args, columns)
            return values

    watched.__name__ = _name(function)
    vars(watched).update(flatspot_recorder=recorder, flatspot_component=component)
    return watched


def _sized(values: Sequence[Value]) -> Sequence[Value]:
    """The values that a function returned; an iterator, which can be read only once, as a list."""
    return values if hasattr(values, "__len__") else list(values)


def _is_async(function: RewardFunction) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(function: RewardFunction) -> str:
    """The name under which TRL logs a function."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of components: those of the functions, with -2 appended for the second of the same name."""
    return [name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _sha256(function: RewardFunction) -> str | None:
    from flatspot.rewards.resolve import function_sha256

    return function_sha256(function)


@atexit.register
def _release_all() -> None:
    for recorder in _open.values():
        recorder.release()

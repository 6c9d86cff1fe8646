"""`watch`: look on while a trainer's reward functions are called, change nothing, and keep what they see in a run folder."""

from __future__ import annotations

import atexit
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.provenance import provenance
from flatspot.rollouts.parts import part_files, parts_of
from flatspot.rollouts.store import RunFolder, open_run
from flatspot.training.ranks import rank
from flatspot.training.watch.live import Live
from flatspot.training.watch.recorder import Recorder
from flatspot.training.watch.resume import drawn_so_far

RewardFunction = Callable[..., Any]
_open: dict[Path, Recorder] = {}


def watch(
    reward_funcs: RewardFunction | Sequence[RewardFunction],
    *,
    out: str | Path,
    reward_range: tuple[float, float] | None = None,
) -> list[RewardFunction]:
    """Reward functions for TRL's GRPOTrainer or RLOOTrainer that return what yours return, and record it.

    reward_funcs  TRL's callables `f(prompts, completions, **columns) -> list[float | None]`, sync or async; names are kept
    out           the run folder; a training that goes on writes into the one it had
    reward_range  (lo, hi) of the weighted sum; None: [0, 1], or what is seen where that is wider

    Each generation batch adds its rows to `out` (`flatspot inspect OUT` judges them) and its metrics, `flatspot/…`, to the trainer's log.
    Give `FlatspotCallback` to the trainer too: it raises the alarms, sums up at the end, and sets aside the rows that a training draws
    again when it goes on from a checkpoint. Rewards of the trainer that are not watched count in the total where the trainer logs them.
    Raises `SettingsError` for what is no function (a reward model, which TRL calls by itself, stays beside the watched ones), and
    `RunFolderError` where `out` holds the rows of other rewards.

    >>> def length(completions, **columns):
    ...     return [float(len(text)) for text in completions]
    >>> [watched] = watch(length, out=getfixture("tmp_path") / "run")
    >>> watched.__name__, watched(prompts=["a", "a"], completions=["bb", "c"], completion_ids=[[1, 1], [1]])
    ('length', [2.0, 1.0])
    """
    given: list[Any] = list(reward_funcs) if isinstance(reward_funcs, list | tuple) else [reward_funcs]
    if not given:
        raise SettingsError("watch got no reward function: give at least one")
    for function in given:
        if not callable(function) or hasattr(function, "forward"):
            raise SettingsError(
                f"watch takes functions, got {function!r:.60} (a {type(function).__name__}). A reward model is called by the trainer "
                "itself: give it to the trainer beside what watch returns, and it counts in the total; or wrap it in a function that "
                "scores the completions."
            )
    names = _distinct([_name(function) for function in given])
    path = Path(out)
    if (older := _open.pop(path.resolve(), None)) is not None:
        older.release()
    recorder = _start(path, names, [_sha256(function) for function in given], reward_range)
    _open[path.resolve()] = recorder
    return [_watched(function, recorder, i) for i, function in enumerate(given)]


def recorder_of(watched: object = None) -> Recorder | None:
    """The recorder of watched functions, of a run folder, or the last one opened; None where nothing is watched.

    Raises `SettingsError` where what is given was never watched.
    """
    if watched is None:
        return next(reversed(_open.values()), None)
    if isinstance(watched, str | Path):
        recorder: object = _open.get(Path(watched).resolve())
    else:
        some = watched if isinstance(watched, Sequence) else [watched]
        recorder = next((f.flatspot_recorder for f in some if hasattr(f, "flatspot_recorder")), None)
    if not isinstance(recorder, Recorder):
        raise SettingsError(f"{watched!r:.80} is not watched: give what flatspot.watch returned, or the run folder it got as out")
    return recorder


def _start(path: Path, names: Sequence[str], hashes: Sequence[str | None], reward_range: tuple[float, float] | None) -> Recorder:
    number = rank()
    folder: RunFolder | None = None
    identity = {"reward": {"names": list(names), "sha256": list(hashes)}}
    if number == 0:
        folder = open_run(path, kind="watch", asked=identity, identity=identity, rows_per_part=1, provenance=provenance())
    recorder = Recorder(path, tuple(names), Live(names, reward_range), folder, number)
    recorder.part = max((part for owner, part in parts_of(path) if owner == number), default=-1) + 1
    if (path / "prompts.parquet").exists():
        _continue(recorder)
    recorder.older = frozenset(part.file.name for part in part_files(path))
    recorder.caveats = list(dict.fromkeys([POOLED, *_caveats_of(path)]))
    shown = {"reward": [f"{name} (in memory)" for name in names], "out": str(path)}
    recorder.note(caveats=recorder.caveats, shown=shown, declared_range=reward_range)
    return recorder


POOLED = "These rows were drawn while the policy was trained: early and late ones are of different policies."
"""The caveat of every watched run as a whole."""


def _caveats_of(path: Path) -> list[str]:
    """What an earlier part of the training noted; what cannot be read, the recorder says as it writes its own."""
    try:
        return [str(text) for text in json.loads((path / "notes.json").read_text("utf-8"))["caveats"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _continue(recorder: Recorder) -> None:
    """Take up the prompts and counts of a run folder that an earlier part of this training wrote."""
    from flatspot.rollouts.rescore import stored_prompts

    recorder.prompts = {prompt.id: (i, prompt) for i, prompt in enumerate(stored_prompts(recorder.path))}
    recorder.drawn = drawn_so_far(recorder.path)


def _watched(function: RewardFunction, recorder: Recorder, component: int) -> RewardFunction:
    def call_of(args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(("prompts", "completions"), args, strict=False)) | dict(given)

    if _is_async(function):

        @functools.wraps(function)
        async def watched(*args: Any, **given: Any) -> Any:
            try:
                values = _counted(await function(*args, **given))
            except Exception as error:
                recorder.failed(component, error, call_of(args, given))
                raise
            recorder.seen(component, values, call_of(args, given), getattr(function, "flatspot_errors", ()))
            return values

    else:

        @functools.wraps(function)
        def watched(*args: Any, **given: Any) -> Any:
            try:
                values = _counted(function(*args, **given))
            except Exception as error:
                recorder.failed(component, error, call_of(args, given))
                raise
            recorder.seen(component, values, call_of(args, given), getattr(function, "flatspot_errors", ()))
            return values

    watched.__name__ = _name(function)
    watched.flatspot_recorder = recorder  # type: ignore[attr-defined]
    watched.flatspot_component = component  # type: ignore[attr-defined]
    return watched


def _counted(values: Any) -> Any:
    """What the function returned; an iterator, which could be read only once, as a list."""
    return values if hasattr(values, "__len__") else list(values)


def _is_async(function: RewardFunction) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(function: RewardFunction) -> str:
    """The name TRL logs a function under."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of components: the functions' own, the second of one name with -2 after it."""
    return [name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def _sha256(function: RewardFunction) -> str | None:
    from flatspot.rewards.resolve import function_sha256

    return function_sha256(function)


@atexit.register
def _release_all() -> None:
    for recorder in _open.values():
        recorder.release()

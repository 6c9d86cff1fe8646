"""`record`: a reward that returns what yours returns, and writes down every rollout that it scores, under whatever trainer calls it."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast, overload

from flatspot.core.errors import SettingsError
from flatspot.training.record.calls import IN_ORDER, TELLING, Trainer
from flatspot.training.record.rows import Rollouts

_SERVER_S = 180.0  # what OpenRLHF itself gives a server

Reward = Callable[..., Any]
"""A reward function, or a class of such objects, as ms-swift's ORM."""


@overload
def record(
    reward: Sequence[Reward], *, out: str | Path, trainer: Trainer | None = ..., reward_weights: Sequence[float] | None = ...
) -> list[Reward]: ...


@overload
def record(
    reward: Reward | str, *, out: str | Path, trainer: Trainer | None = ..., reward_weights: Sequence[float] | None = ...
) -> Reward: ...


@overload
def record(
    reward: None = ..., *, out: str | Path, trainer: Trainer | None = ..., reward_weights: Sequence[float] | None = ...
) -> Callable[[Reward], Reward]: ...


def record(
    reward: Reward | Sequence[Reward] | str | None = None,
    *,
    out: str | Path,
    trainer: Trainer | None = None,
    reward_weights: Sequence[float] | None = None,
) -> Any:
    """The reward itself for verl, OpenRLHF, ms-swift or TRL, which also writes every completion that it scores into a run folder.

    reward          a function as the trainer calls it, sync or async, or ms-swift's ORM class; several, where the trainer adds them up;
                    of OpenRLHF also the address of a server, "http://…" (several with a comma between them); None: what this returns is
                    a decorator
    out             the run folder: `flatspot inspect OUT` judges what is there so far
    trainer         "verl", "openrlhf", "ms-swift" or "trl"; None: told by the names of the parameters
    reward_weights  of several rewards, as the trainer has them

    Each process writes a file of its own, OUT/recorded/….jsonl, a line per completion, before the call returns: killing the process loses
    none. What the trainer drops later, as DAPO's dynamic sampling does, is there. What goes wrong with recording is said once, and never
    stops the training; what the reward raises reaches the trainer as it is, and is written as the error of its completions.
    Raises `SettingsError` for what is no reward that one of these trainers could call.

    >>> @record(out=getfixture("tmp_path") / "run")
    ... def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    ...     return float(solution_str == ground_truth)
    >>> compute_score(data_source="sums", solution_str="4", ground_truth="4", extra_info={"index": 0})
    1.0
    """
    if trainer is not None and trainer not in IN_ORDER:
        raise SettingsError(f"there is no trainer {trainer!r} to record under; there are: {', '.join(IN_ORDER)}")
    if reward is None:
        return functools.partial(record, out=out, trainer=trainer, reward_weights=reward_weights)
    if isinstance(reward, str):
        reward = _of_servers(reward)
    rewards = list(reward) if isinstance(reward, Sequence) else [reward]
    if not rewards:
        raise SettingsError("record got no reward: pass at least one")
    if reward_weights is not None and len(reward_weights) != len(rewards):
        raise SettingsError(f"{len(rewards)} rewards need {len(rewards)} weights, got {len(reward_weights)}")
    places = [_places(value, trainer, several=len(rewards) > 1) for value in rewards]
    names = _distinct([_name(value) for value in rewards])
    weights = None if reward_weights is None else dict(zip(names, map(float, reward_weights), strict=True))
    rollouts = Rollouts(Path(out), tuple(names), weights)
    made = [_recorded(value, rollouts, name, place) for value, name, place in zip(rewards, names, places, strict=True)]
    return made if isinstance(reward, Sequence) else made[0]


def _of_servers(text: str) -> Reward:
    """OpenRLHF's reward_func that asks servers. Raises `RewardLoadError` where the text is no address."""
    from flatspot.rewards.servers import RewardServers
    from flatspot.rewards.spec import Endpoint, parse_spec

    spec = parse_spec(text)
    if not isinstance(spec, Endpoint):
        raise SettingsError(f"record expects a reward function, an ORM class or an address such as http://host:port/path, got {text!r:.80}")
    servers = RewardServers(spec.urls, _SERVER_S)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object]) -> object:
        return servers.ask(queries, prompts, labels)

    return reward_func


def _places(reward: object, trainer: Trainer | None, *, several: bool) -> tuple[str, ...]:
    """The names of what a trainer passes by place. Raises `SettingsError` where nothing tells the trainer."""
    if not callable(reward):
        raise SettingsError(f"record expects a reward function or an ORM class, got {reward!r:.60} (a {type(reward).__name__})")
    function = reward.__call__ if inspect.isclass(reward) else reward
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables of C extensions have no signature
        parameters = []
    parameters = parameters[1:] if inspect.isclass(reward) else parameters
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    told = next((TELLING[name] for name in TELLING if name in {p.name for p in parameters}), None)
    if trainer is None and told is None and not inspect.isclass(reward):
        raise SettingsError(
            f"the parameters of {_name(reward)} ({', '.join(p.name for p in parameters) or 'none'}) do not tell which trainer calls it: "
            f'give record its name, as in trainer="openrlhf" (of {", ".join(IN_ORDER)})'
        )
    own = trainer or told or "ms-swift"
    if several and own in ("verl", "openrlhf"):
        raise SettingsError(f"{own} calls one reward, and record got several: write one function that adds them up")
    return tuple(names) if told is not None else IN_ORDER[cast(Trainer, own)]


def _recorded(reward: Any, rollouts: Rollouts, name: str, places: tuple[str, ...]) -> Reward:
    if inspect.isclass(reward):
        return _recorded_class(reward, rollouts, name, places)
    wrapped: Reward = _is_async(reward)(reward, rollouts, name, places, 0)
    functools.update_wrapper(wrapped, reward)
    wrapped.__name__ = _name(reward)
    return wrapped


def _recorded_class(reward: type, rollouts: Rollouts, name: str, places: tuple[str, ...]) -> type:
    """A class of the same name, whose objects record their calls."""
    call: Any = reward.__call__
    own = functools.wraps(call)(_is_async(call)(call, rollouts, name, places, 1))
    return type(reward.__name__, (reward,), {"__call__": own, "__module__": reward.__module__, "__qualname__": reward.__qualname__})


def _is_async(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    of_object = getattr(function, "__call__", None)  # noqa: B004
    return _async_call if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(of_object) else _call


def _call(function: Reward, rollouts: Rollouts, name: str, places: tuple[str, ...], skip: int) -> Reward:
    """A function that records; the first `skip` of its arguments is the object it is a method of."""

    def recorded(*args: Any, **columns: Any) -> Any:
        scored = rollouts.begin(name, dict(zip(places, args[skip:], strict=False)) | columns)
        try:
            result = _readable(function(*args, **columns))
        except BaseException as error:
            rollouts.failed(name, scored, error)
            raise
        rollouts.returned(name, scored, result, time.time())
        return result

    return recorded


def _async_call(function: Reward, rollouts: Rollouts, name: str, places: tuple[str, ...], skip: int) -> Reward:
    async def recorded(*args: Any, **columns: Any) -> Any:
        scored = rollouts.begin(name, dict(zip(places, args[skip:], strict=False)) | columns)
        try:
            result = _readable(await function(*args, **columns))
        except BaseException as error:  # also where the trainer cancels it, as verl does after a time limit
            rollouts.failed(name, scored, error)
            raise
        rollouts.returned(name, scored, result, time.time())
        return result

    return recorded


def _readable(result: Any) -> Any:
    """What came back; an iterator, which can be read only once, as a list."""
    return list(result) if isinstance(result, Iterator) else result


def _name(reward: object) -> str:
    while isinstance(reward, functools.partial):
        reward = reward.func
    return str(getattr(reward, "__name__", type(reward).__name__))


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}" for i, name in enumerate(names)]

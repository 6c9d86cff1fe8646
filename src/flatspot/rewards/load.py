"""`load_reward`: from what the user wrote to a reward that scores rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType

from flatspot.core.errors import RewardLoadError
from flatspot.core.extensions import Extension
from flatspot.core.noise import CalledAgain
from flatspot.core.records import LARGEST_REWARD, Completion, Prompt, Score
from flatspot.rewards.builtin import find_named
from flatspot.rewards.caller import Caller, Scores, last_notes_of, lasting_notes_of
from flatspot.rewards.guard import Guard
from flatspot.rewards.resolve import ReadyReward, function_name, function_sha256, resolve
from flatspot.rewards.spec import Address, Builtin, Endpoint, parse_spec
from flatspot.rewards.spread import Elsewhere, Load, Spread, load_guarded, load_unguarded
from flatspot.rewards.unguarded import Unguarded
from flatspot.rewards.values import Value

RewardSpec = str | Callable[..., object]


@dataclass(frozen=True, slots=True)
class Component:
    """One reward function among those summed.

    name    its column in `Score.rewards`
    spec    as the user wrote it, or the function's qualified name
    sha256  of the file or function; None for built-in ones and where the source cannot be read
    range   the smallest and largest value it can give, before its weight; None where unknown
    by_row  whether it is known to look at one row at a time
    kind    of a built-in one: see `Builtin`; "" of all others
    elsewhere  loads it in a worker on another machine; None where it is to be called from this process
    """

    name: str
    weight: float
    spec: str
    sha256: str | None
    range: tuple[float, float] | None
    scores: Scores
    by_row: bool = False
    kind: str = ""
    elsewhere: Load | None = None


class LoadedReward:
    """Rewards that score rows together: the `Reward` protocol, a range, and the worker processes to close."""

    def __init__(self, components: Sequence[Component], timeout_s: float, group_size: int | None = None) -> None:
        self.components = tuple(components)
        self.names = tuple(component.name for component in components)
        self.group_size = group_size
        self._timeout_s = timeout_s
        self._callers = [Caller(c.name, c.scores, group_size, by_row=c.by_row) for c in components]

    @property
    def compares(self) -> bool:
        """Whether a reward was seen to compare the completions of a call, as a rank within a group does."""
        return any(caller.compares for caller in self._callers)

    @property
    def is_metric(self) -> bool:
        """Whether every component measures how alike texts are."""
        return all(component.kind == "metric" for component in self.components)

    @property
    def top_reachable(self) -> bool:
        """Whether every component pays the top of its range for a right answer, so that the total can reach its own."""
        return all(component.kind == "verifier" for component in self.components)

    @property
    def noisy(self) -> bool:
        """Whether a component was seen to give the same completions other values."""
        return any(caller.noisy for caller in self._callers)

    @property
    def noise(self) -> CalledAgain | None:
        """How much the total of the same completions differed when noisy rewards were called again; None where none was."""
        again = [(c.weight, caller.again) for c, caller in zip(self.components, self._callers, strict=True) if caller.again is not None]
        if not again:
            return None
        variance = sum(weight**2 * seen.variance for weight, seen in again)
        return CalledAgain(max(seen.n for _, seen in again), max(seen.unequal for _, seen in again), variance)

    @property
    def notes(self) -> list[str | tuple[str, str]]:
        """What whoever reads the scores should know, in sentences, some with the code of a caveat."""
        return [note for caller in self._callers for note in [*lasting_notes_of(caller), *last_notes_of(caller)]]

    @property
    def lasting_notes(self) -> list[str | tuple[str, str]]:
        """Those of the notes that no row scored after takes back."""
        return [note for caller in self._callers for note in lasting_notes_of(caller)]

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and largest total the weighted sum can reach; None where a component's range is unknown."""
        ends = []
        for component in self.components:
            if component.range is None:
                return None
            ends.append(sorted(component.weight * end for end in component.range))
        return math.fsum(low for low, _ in ends), math.fsum(high for _, high in ends)

    @property
    def component_ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each of several components that has one, by its name; empty where there is one component."""
        several = len(self.components) > 1
        return {component.name: component.range for component in self.components if several and component.range is not None}

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Score]:
        """One score per (prompt, completion) pair, in the order given; a failure is that row's `error`, not an exception.

        The total is Σ weight · value. A component that returned None does not apply to the row and is left out, as in TRL, unless
        all did; one that failed leaves the row without a total, and the others' values stand in `rewards`. Raises `RewardLoadError` where
        a reward is seen to compare the completions of a call, and these are not whole groups of `group_size`.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"expected as many completions as prompts, got {len(prompts)} prompts and {len(completions)} completions")
        if not prompts:
            return []
        return [self._total(row) for row in zip(*self.values(prompts, completions), strict=True)]

    def use_workers(self, elsewhere: Elsewhere | None) -> None:
        """Let these workers score what takes longer than a millisecond a row; None: nobody else does any more."""
        for component, caller in zip(self.components, self._callers, strict=True):
            if component.elsewhere is not None:
                caller.spread = None if elsewhere is None else Spread(component.scores, component.elsewhere, elsewhere)

    def start_counting(self) -> None:
        """Count for `notes` from here on: what was scored before were no completions of the policy."""
        for caller in self._callers:
            caller.start_counting()

    def values(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[list[Value]]:
        """What each component says of the rows, before weights."""
        return [caller.score(prompts, completions) for caller in self._callers]

    def describe(self) -> Mapping[str, object]:
        """Names, weights, specs, source hashes and the time limit: what the scores depend on."""
        parts = [{"name": c.name, "weight": c.weight, "spec": c.spec, "sha256": c.sha256} for c in self.components]
        return {"names": list(self.names), "components": parts, "timeout_s": self._timeout_s}

    def close(self) -> None:
        """End the worker processes. They also end with this process, however it ends."""
        for component in self.components:
            if isinstance(component.scores, Guard):
                component.scores.close()

    def __enter__(self) -> LoadedReward:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _total(self, row: Sequence[Value]) -> Score:
        rewards = {component.name: value.number for component, value in zip(self.components, row, strict=True)}
        failures = [f"{c.name}: {value.error}" for c, value in zip(self.components, row, strict=True) if value.error is not None]
        if failures:
            return Score(None, rewards, "; ".join(failures))
        counted = [c.weight * value.number for c, value in zip(self.components, row, strict=True) if value.number is not None]
        if not counted:
            return Score(None, rewards, f"{', '.join(self.names)}: returned None")
        total = math.fsum(counted)
        if abs(total) > LARGEST_REWARD:
            return Score(None, rewards, f"the weighted sum is {total:g}, larger than a reward can be ({LARGEST_REWARD:g})")
        return Score(total, rewards)


def load_reward(
    specs: RewardSpec | Sequence[RewardSpec],
    *,
    weights: Sequence[float] | None = None,
    timeout_s: float = 10.0,
    isolate: bool = True,
    group_size: int | None = None,
) -> LoadedReward:
    r"""Load one reward, or several to be summed.

    specs      file.py:function, package.module:function, package.module.function (TRL's form), a built-in name such as
               `exact_match` or `regex[pattern=\d+]`, verl:…, openrlhf:… or verifiers:… before an address, http://host:port/path of a
               server (several with a comma between them), or a Python function
    weights    one per spec; 1 each by default
    timeout_s  seconds a user's function may take for a row; a call of many rows may take longer, by what its rows have taken so far, and
               the first call longer still. A call that takes too long is repeated in smaller ones
    isolate    run users' functions in a worker process; off, they run here: shared state and unpicklable functions work, but a
               function that hangs or exits takes this process along
    group_size  rows that are scored come as whole groups of so many completions of a prompt, for rewards that compare these

    User functions follow TRL's contract, `f(prompts, completions, **columns) -> list[float | None]`, sync or async. One whose
    value for a row depends on the other rows of a call is called with one group at a time, and is refused where no groups are known.
    Raises `RewardLoadError`, with the file and line where the user's code is at fault.

    >>> with load_reward(["exact_match", "regex[pattern=^\\d+$]"], weights=[1.0, 0.5]) as reward:
    ...     reward.score([Prompt("a", "2+2=", {"reference": "4"})], [Completion("5", 1, False)])[0].reward
    0.5
    """
    wanted = [specs] if isinstance(specs, str) or callable(specs) else list(specs)
    if not wanted:
        raise RewardLoadError("no reward is given: name at least one, such as exact_match or rewards.py:my_reward")
    factors = [1.0] * len(wanted) if weights is None else [float(weight) for weight in weights]
    if len(factors) != len(wanted):
        raise RewardLoadError(f"{len(wanted)} rewards need {len(wanted)} weights, got {len(factors)}")
    if not all(abs(factor) <= LARGEST_REWARD for factor in factors):
        raise RewardLoadError(f"weights must be finite numbers of at most {LARGEST_REWARD:g}, got {factors}")
    if not 0 < timeout_s <= 1e6:
        raise RewardLoadError(f"the time limit of a reward must be above 0 and at most a million seconds, got {timeout_s}")
    components: list[Component] = []
    try:
        for spec, weight in zip(wanted, factors, strict=True):
            components.append(_component(spec, weight, timeout_s, isolate, others=[c.name for c in components]))
    except BaseException:
        LoadedReward(components, timeout_s).close()
        raise
    return LoadedReward(components, timeout_s, group_size)


def _component(spec: RewardSpec, weight: float, timeout_s: float, isolate: bool, others: Sequence[str]) -> Component:
    parsed: Builtin | Address | Endpoint | Callable[..., object]
    if isinstance(spec, str):
        parsed, text = parse_spec(spec), spec.strip()
        parsed = replace(parsed, timeout_s=timeout_s) if isinstance(parsed, Endpoint) else parsed
    elif callable(spec):
        parsed, text = spec, f"{getattr(spec, '__module__', '?')}:{getattr(spec, '__qualname__', function_name(spec))}"
    else:
        raise RewardLoadError(f"a reward must be text or a function, got {spec!r} (a {type(spec).__name__})")
    named = find_named(parsed) if isinstance(parsed, Builtin) else None
    built_in = named is not None and not isinstance(named, Extension)
    kind = "" if named is None or isinstance(named, Extension) else named.kind
    guarded = True if named is None or isinstance(named, Extension) else named.guarded
    loaded: Guard | ReadyReward
    if guarded and isolate and not isinstance(parsed, Endpoint):  # of which nothing runs here but requests with a time limit
        loaded = guard = Guard(parsed, timeout_s)
        scores: Scores = guard
        path = [str(Path.cwd()), *(entry for entry in sys.path if entry)]
        elsewhere: Load | None = partial(load_guarded, guard.what, timeout_s, guard.sha256, path)
    else:
        loaded = ready = resolve(parsed)
        scores = Unguarded(ready.score)
        elsewhere = partial(load_unguarded, parsed) if isinstance(parsed, Builtin) and isolate else None
    # the name and hash of a function of this process are read here: its source does not travel with it
    is_function = not isinstance(parsed, Builtin | Address | Endpoint)
    name = function_name(parsed) if is_function else loaded.name  # type: ignore[arg-type]
    sha256 = function_sha256(parsed) if is_function else loaded.sha256  # type: ignore[arg-type]
    return Component(_free(name, others), weight, text, sha256, loaded.range, scores, by_row=built_in, kind=kind, elsewhere=elsewhere)


def _free(name: str, others: Sequence[str]) -> str:
    number, free = 1, name
    while free in others:
        number += 1
        free = f"{name}_{number}"
    return free

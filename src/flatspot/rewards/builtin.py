"""The built-in rewards by name: what builds each, its range, and whether it runs in a worker."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flatspot.core.errors import RewardLoadError
from flatspot.rewards.gym import reasoning_gym
from flatspot.rewards.meteor import meteor
from flatspot.rewards.metrics import RowReward, exact_match, regex, rouge_l, sacrebleu, sentiment
from flatspot.rewards.spec import FORMS, Address, parse_spec
from flatspot.rewards.spec import Builtin as BuiltinSpec


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in reward.

    build    parameters → a function of a prompt and a completion's text
    range    the smallest and largest value it can give
    guarded  whether it runs in the worker, under the time limit: a pattern can backtrack for hours, and reasoning-gym's scorers
             evaluate what the model wrote
    """

    build: Callable[..., RowReward]
    range: tuple[float, float] = (0.0, 1.0)
    guarded: bool = False


BUILTINS: Mapping[str, Builtin] = {
    "exact_match": Builtin(exact_match),
    "meteor": Builtin(meteor),
    "reasoning_gym": Builtin(reasoning_gym, guarded=True),
    "regex": Builtin(regex, guarded=True),
    "rouge_l": Builtin(rouge_l),
    "sacrebleu": Builtin(sacrebleu),
    "sentiment": Builtin(sentiment),
}


def reward_range(spec: str | Callable[..., Any]) -> tuple[float, float] | None:
    """The smallest and largest value a reward can give; None where nothing declares it, as for every user function.

    >>> reward_range("exact_match"), reward_range("my_rewards.py:accuracy")
    ((0.0, 1.0), None)
    """
    if not isinstance(spec, str):
        return None
    parsed = parse_spec(spec)
    return None if isinstance(parsed, Address) or parsed.name not in BUILTINS else BUILTINS[parsed.name].range


def find_builtin(spec: BuiltinSpec) -> Builtin:
    """The built-in a spec names; raises `RewardLoadError` with all names and the close ones where there is none.

    >>> find_builtin(parse_spec("exact_mach"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    flatspot.core.errors.RewardLoadError: no reward is called 'exact_mach'; did you mean exact_match? The built-in ones are ...
    """
    if spec.name in BUILTINS:
        return BUILTINS[spec.name]
    close = difflib.get_close_matches(spec.name, BUILTINS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    raise RewardLoadError(f"no reward is called {spec.name!r}{hint} The built-in ones are {', '.join(BUILTINS)}. {FORMS}")


def build_builtin(spec: BuiltinSpec) -> RowReward:
    """The row function of a built-in spec, its parameters read as the builder's annotations say."""
    build = find_builtin(spec).build
    accepted = inspect.signature(build, eval_str=True).parameters
    unknown = [key for key in spec.parameters if key not in accepted]
    missing = [key for key, p in accepted.items() if p.default is p.empty and key not in spec.parameters]
    if unknown or missing:
        offer = ", ".join(accepted) or "none"
        problem = f"has no parameter {unknown[0]!r}" if unknown else f"needs the parameter {missing[0]!r}"
        example = f": write {spec.name}[{missing[0]}=…]" if missing else ""
        raise RewardLoadError(f"the reward {spec.name} {problem} (parameters: {offer}){example}")
    return build(**{key: _typed(spec.name, key, text, accepted[key].annotation) for key, text in spec.parameters.items()})


def _typed(name: str, key: str, text: str, kind: object) -> str | bool:
    if kind is not bool:
        return text
    answers = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.strip().lower() not in answers:
        raise RewardLoadError(f"the reward {name}: {key} must be true or false, got {text!r}")
    return answers[text.strip().lower()]

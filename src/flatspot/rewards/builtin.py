"""The built-in rewards by name: what builds each, its range, and whether it runs in a worker."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flatspot.core.errors import RewardLoadError
from flatspot.core.extensions import Extension, clashes, extensions
from flatspot.rewards.gym import reasoning_gym
from flatspot.rewards.meteor import meteor
from flatspot.rewards.metrics import RowReward, exact_match, regex, rouge_l, sacrebleu, sentiment
from flatspot.rewards.spec import FORMS
from flatspot.rewards.spec import Builtin as BuiltinSpec


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in reward.

    build    parameters → a function of a prompt and a completion's text
    range    the smallest and largest value it can give
    kind     "verifier": it pays the top of its range for a right answer; "metric": it measures how alike texts are, where hardly an
             answer earns the top; "" for neither
    guarded  whether it runs in the worker, under the time limit: a pattern can backtrack for hours, and reasoning-gym's scorers
             evaluate what the model wrote
    """

    build: Callable[..., RowReward]
    range: tuple[float, float] = (0.0, 1.0)
    kind: str = ""
    guarded: bool = False


BUILTINS: Mapping[str, Builtin] = {
    "exact_match": Builtin(exact_match, kind="verifier"),
    "meteor": Builtin(meteor, kind="metric"),
    "reasoning_gym": Builtin(reasoning_gym, kind="verifier", guarded=True),
    "regex": Builtin(regex, kind="verifier", guarded=True),
    "rouge_l": Builtin(rouge_l, kind="metric"),
    "sacrebleu": Builtin(sacrebleu, kind="metric"),
    "sentiment": Builtin(sentiment),
}


def find_named(spec: BuiltinSpec) -> Builtin | Extension:
    """The reward that a name stands for: a built-in one, or one that an installed package adds to `flatspot.rewards`.

    Raises `RewardLoadError` with all names and the close ones where there is none.

    >>> find_named(BuiltinSpec("exact_mach"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    flatspot.core.errors.RewardLoadError: no reward is called 'exact_mach'; did you mean exact_match? The built-in ones are ...
    """
    if spec.name in BUILTINS:
        return BUILTINS[spec.name]
    added = extensions("rewards")
    if spec.name in added:
        return added[spec.name]
    close = difflib.get_close_matches(spec.name, [*BUILTINS, *added], n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    others = [name for name in added if name not in BUILTINS]
    further = f" Installed packages add {', '.join(others)}." if others else ""
    further += "".join(f" {sentence}" for sentence in clashes("rewards", BUILTINS))
    raise RewardLoadError(f"no reward is called {spec.name!r}{hint} The built-in ones are {', '.join(BUILTINS)}.{further} {FORMS}")


def build_builtin(spec: BuiltinSpec, build: Callable[..., RowReward]) -> RowReward:
    """The row function of a built-in spec, its parameters read as the builder's annotations say."""
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

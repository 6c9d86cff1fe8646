"""A recipe: what is to be run, read from YAML and checked before anything is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from flatspot.core.errors import SettingsError
from flatspot.core.optional import require
from flatspot.core.plain import JsonObject
from flatspot.core.renamed import RENAMED, old_names, with_new_names
from flatspot.core.settings import Settings
from flatspot.planning.labels import LabelSettings
from flatspot.training.rl.train import ALGORITHMS
from flatspot.training.warmup.probe import ProbeSettings
from flatspot.training.warmup.stop_rule import StopRule

_NEEDED = ("prompts", "model", "reward", "out")
_KNOWN = (*_NEEDED, "labels", "answer_col", "seed", "compare", "diagnose", "plan", "warmup", "train")


@dataclass(frozen=True)
class Recipe:
    """What `flatspot run` is to do.

    prompts, model   as `flatspot diagnose` takes them
    reward           one or several, as `--reward` takes them
    out              the folder of all stages
    labels           a file of labels; None: those of the plan, in out/labels.jsonl
    answer_col       the column of the prompts that answers them; None: answers are written into labels.jsonl
    seed             of every stage, where its section does not say otherwise
    compare          whether RL is also run without the warm-up, at as many generations
    diagnose         of `Settings`
    plan             which labels
    rule, probe      when the warm-up stops, and how it looks; rule None: never
    warmup, train    TRL's own options
    algorithm        grpo or rloo
    """

    prompts: str
    model: str
    reward: tuple[str, ...]
    out: Path
    labels: str | None = None
    answer_col: str | None = None
    seed: int = 0
    compare: bool = False
    diagnose: Settings = field(default_factory=Settings)
    plan: LabelSettings = field(default_factory=LabelSettings)
    rule: StopRule | None = field(default_factory=StopRule)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    warmup: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    algorithm: str = "grpo"


def read_recipe(file: str | Path, *, say: Callable[[str], None] = lambda _: None) -> Recipe:
    """Read and check a recipe file; paths in it are relative to the current folder, as on the command line.

    say  is given a line for each setting by an old name

    Raises `SettingsError` naming the first key that is unknown, with the nearest one there is, missing, or of the wrong kind.
    """
    yaml = require("yaml", extra="train", purpose=f"reading the recipe {file}")

    try:
        keys = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: other encodings, and dates such as 2026-13-45
        raise SettingsError(f"the recipe {file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(keys, dict):
        raise SettingsError(f"the recipe {file} must hold keys with values, as model: Qwen/Qwen3-0.6B; got a {type(keys).__name__}")
    try:
        return recipe_of(keys, say)
    except SettingsError as error:
        raise SettingsError(f"the recipe {file}: {error}") from None


def recipe_of(keys: Mapping[str, Any], say: Callable[[str], None] = lambda _: None) -> Recipe:
    """A recipe from what its YAML holds."""
    check_names("", keys, _KNOWN)
    for name in _NEEDED:
        if keys.get(name) in (None, "", []):
            raise SettingsError(f"it has no {name!r}; expected at least {', '.join(_NEEDED)}")
    reward = keys["reward"] if isinstance(keys["reward"], list) else [keys["reward"]]
    for name, value in [(name, keys[name]) for name in ("prompts", "model", "out")] + [("reward", value) for value in reward]:
        if not isinstance(value, str):
            raise SettingsError(f"{name} must be text, got {value!r}")
    seed = _seed(keys.get("seed", 0))
    if keys.get("labels") is not None and keys.get("answer_col") is not None:
        raise SettingsError("labels and answer_col are two sources of answers: give one of them")
    train, warmup = _section(keys, "train"), _section(keys, "warmup")
    algorithm = train.pop("algorithm", "grpo")
    if algorithm not in ALGORITHMS:
        raise SettingsError(f"train.algorithm must be {' or '.join(ALGORITHMS)}, got {algorithm!r}")
    rule, probe = warmup.pop("rule", {}), warmup.pop("probe", {})
    compare = keys.get("compare", False)
    if not isinstance(compare, bool):
        raise SettingsError(f"compare must be true or false, got {compare!r}")
    return Recipe(
        prompts=keys["prompts"],
        model=keys["model"],
        reward=tuple(reward),
        out=Path(keys["out"]),
        labels=None if keys.get("labels") is None else str(keys["labels"]),
        answer_col=None if keys.get("answer_col") is None else str(keys["answer_col"]),
        seed=seed,
        compare=compare,
        diagnose=_made(
            Settings,
            "diagnose",
            {"seed": seed} | _renamed("diagnose", _section(keys, "diagnose"), say),
            without=("out", "gradients", "gradient_completions"),
        ),
        plan=_made(LabelSettings, "plan", {"seed": seed} | _section(keys, "plan")),
        rule=None if rule in (None, False) else _made(StopRule, "warmup.rule", rule),
        probe=_made(ProbeSettings, "warmup.probe", {"seed": seed} | _renamed("warmup.probe", _mapping("warmup.probe", probe), say)),
        warmup={"seed": seed} | warmup,
        train={"seed": seed} | train,
        algorithm=algorithm,
    )


def check_names(section: str, keys: Iterable[Any], names: Iterable[str]) -> None:
    """Raise `SettingsError` for the first name that is not known, with the nearest one that is.

    >>> check_names("diagnose", ["max_completion"], ["max_completions", "seed"])
    Traceback (most recent call last):
        ...
    flatspot.core.errors.SettingsError: there is no diagnose.max_completion; did you mean diagnose.max_completions?
    """
    names = list(names)
    before = f"{section}." if section else ""
    for name in keys:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1, cutoff=0.5)
            fix = f"did you mean {before}{near[0]}?" if near else f"there are {', '.join(names)}"
            raise SettingsError(f"there is no {before}{name}; {fix}")


def _section(keys: Mapping[str, Any], name: str) -> JsonObject:
    return _mapping(name, keys.get(name))


def _mapping(name: str, value: Any) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{name} must hold settings by name, got {value!r}")
    return {str(key): part for key, part in value.items()}


def _renamed(section: str, settings: Mapping[str, Any], say: Callable[[str], None]) -> JsonObject:
    for old in old_names(settings):
        say(f"{section}.{old} is called {section}.{RENAMED[old]} now; the old name goes in the next release")
    return with_new_names(settings)


def _made(kind: type[Any], section: str, values: Any, without: tuple[str, ...] = ()) -> Any:
    named = {name: tuple(value) if isinstance(value, list) else value for name, value in _mapping(section, values).items()}
    check_names(section, named, [f.name for f in fields(kind) if f.name not in without])
    hints = get_type_hints(kind)
    for name, value in named.items():
        if not _fits(value, hints[name]):
            kind_of_field = next(f.type for f in fields(kind) if f.name == name)
            raise SettingsError(f"{section}.{name} must be {kind_of_field}, got {values[name]!r}")
    try:
        return kind(**named)
    except SettingsError as error:
        raise SettingsError(f"{section}: {error}") from None
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{section} has a value of the wrong kind ({error})") from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of YAML's is of a settings field's type; a whole number is a number, and true is none.

    >>> _fits(1, float), _fits(True, int), _fits((0, 2), tuple[float, float] | None), _fits("5%", int | None)
    (True, False, True, False)
    """
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        alike = len(parts) == 2 and parts[1] is Ellipsis
        return isinstance(value, tuple) and (alike or len(value) == len(parts)) and all(_fits(part, parts[0]) for part in value)
    if isinstance(value, bool):
        return hint is bool
    hint = get_origin(hint) or hint  # of a mapping
    return isinstance(value, int | float if hint is float else str if hint is Path else hint)


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingsError(f"seed must be a whole number, got {value!r}")
    return value

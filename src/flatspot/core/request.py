"""What a caller asked for, in one record: stored in run.json, shown as `settings` of the summary, and enough to ask for it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from flatspot.core.json_tree import Key, fields_from_json, fields_to_json
from flatspot.core.plain import Json, JsonObject
from flatspot.core.renamed import option_words
from flatspot.core.reward_names import rewards_named
from flatspot.core.settings import Advantage, Settings
from flatspot.core.shares import exact

IN_MEMORY = " (in memory)"  # ends the name of what was passed as an object, which no command can name again
_DRAWN = (
    "seed", "max_completions", "fixed_completions", "max_generations", "round_size", "engine", "base_url", "served_name",
    "chat_template_kwargs", "tensor_parallel", "worker_engine", "workers", "ray_address", "dtype", "device",
)  # fmt: skip
_JUDGED = ("target_error", "worst_case", "advantage", "top_reachable", "deterministic_reward")
_SHOWN_WHERE_SET = ("reward_weights", "reward_timeout_s", "prompt_col", "prompt_template", "id_col", "limit", "answer_col", "cluster_col")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller asked for. None, or empty: it was not asked, or left as it usually is.

    prompts, model    their names; those of objects end in "(in memory)"
    rewards           a name per reward
    reward_weights    one per reward
    reward_timeout_s  of a reward call
    reward_range      (lo, hi) as stated, else the reward's own
    component_ranges  (lo, hi) of each of several rewards that has one of its own, by its name
    logs              files of another trainer's logs
    columns           the log's column (or columns) by what they mean to us
    grouped_by        the log's columns whose values name a prompt
    part_weights      of a log with several rewards, their weights in the total, by name, as far as they are known
    top_reachable     every prompt can earn the top of the range: said by the caller, or by the reward itself
    deterministic_reward    the same completion always earns the same, says the caller
    prompt_col, prompt_template, id_col, limit    of the prompt file
    answer_col        its column with real answers
    cluster_col       the column with the task of each prompt
    rescored          the run folder whose completions were scored again
    resume            further options of the command that resumes the run; None where there is no such command
    out               the run folder
    target_error, worst_case, advantage, seed    of judging and sampling

    >>> Request(prompts="p.jsonl", model="m", rewards=("exact_match",), seed=0).to_json()
    {'prompts': 'p.jsonl', 'model': 'm', 'reward': ['exact_match'], 'seed': 0}
    """

    prompts: str | None = None
    model: str | None = None
    rewards: Annotated[tuple[str, ...], Key("reward")] = ()
    reward_weights: tuple[float, ...] | None = None
    reward_timeout_s: float | None = None
    reward_range: tuple[float, float] | None = None
    component_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    top_reachable: bool | None = None
    deterministic_reward: bool | None = None
    logs: tuple[str, ...] = ()
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    grouped_by: tuple[str, ...] = ()
    part_weights: Mapping[str, float] | None = None
    prompt_col: str | None = None
    prompt_template: str | None = None
    id_col: str | None = None
    limit: int | None = None
    answer_col: str | None = None
    cluster_col: str | None = None
    rescored: str | None = None
    resume: tuple[str, ...] | None = None
    out: str | None = None
    target_error: float | None = None
    worst_case: bool | None = None
    advantage: Advantage | None = None
    seed: int | None = None

    def to_json(self) -> dict[str, Json]:
        """The object in run.json and in the summary: what is None or empty is left out."""
        return {
            name: value for name, value in fields_to_json(self).items() if value not in (None, [], {}) or (name, value) == ("resume", [])
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Request:
        """Read `to_json`, also of version 1, which joined rewards by commas. Raises TypeError for a value of another kind."""
        now = {"worst_case": stored.get("sure"), **stored, "reward": rewards_named(stored)}
        if isinstance(resume := stored.get("resume"), list):
            now["resume"] = option_words(map(str, resume))
        return fields_from_json(cls, {name: value for name, value in now.items() if value is not None})


def name_of(thing: object) -> str:
    """The name of a prompt source, policy or reward in run.json and the report; of a pair (model, tokenizer), both names.

    >>> name_of("prompts.jsonl"), name_of(abs), name_of([{"prompt": "2+2="}])
    ('prompts.jsonl', 'abs (in memory)', 'list (in memory)')
    >>> name_of((abs, str.upper))
    'abs (in memory), str.upper (in memory)'
    """
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, tuple) and len(thing) == 2:
        return ", ".join(name_of(item) for item in thing)
    return f"{getattr(thing, '__qualname__', None) or getattr(thing, 'name', None) or type(thing).__name__}{IN_MEMORY}"


def reward_names(reward: object) -> tuple[str, ...]:
    """The names of one reward, or of several.

    >>> reward_names(["exact_match", r"regex[pattern=yes, (\\d)]"])
    ('exact_match', 'regex[pattern=yes, (\\\\d)]')
    """
    if isinstance(reward, list | tuple) and all(isinstance(item, str) or callable(item) for item in reward):
        return tuple(name_of(item) for item in reward)
    return (name_of(reward),)


def settings_shown(settings: Settings) -> JsonObject:
    """The fields of a request that repeat settings, where these were not left as they are."""
    usual = Settings()
    return {name: getattr(settings, name) for name in _SHOWN_WHERE_SET if getattr(settings, name) != getattr(usual, name)}


def resume_options(settings: Settings) -> tuple[str, ...]:
    """The options that the command which resumes a run needs, beside those that `flatspot diagnose` shows anyway.

    >>> resume_options(Settings(seed=3, fixed_completions=True, max_completions=8))
    ('--seed', '3', '--max-completions', '8', '--fixed-completions')
    """
    return (*_options(settings, _DRAWN), *_judging_options(settings))


def rescored_resume(options: Sequence[str] | None, settings: Settings) -> tuple[str, ...] | None:
    """The same of a run whose completions are scored again: `options` of what was drawn stay, those of judging are `settings`'.

    >>> rescored_resume(("--seed", "3", "--target-error", "0.1", "--reward-range", "-1", "1"), Settings(advantage="normalized"))
    ('--seed', '3', '--advantage', 'normalized')
    >>> rescored_resume(None, Settings(advantage="normalized")) is None  # of a log
    True
    """
    if options is None:
        return None
    drawn, keep, names = list[str](), False, {_option(name) for name in _DRAWN}
    for word in options:
        keep = word in names if word.startswith("--") else keep
        drawn += [word] if keep else []
    return (*drawn, *_judging_options(settings))


def _judging_options(settings: Settings) -> tuple[str, ...]:
    limits = settings.reward_range
    return (*_options(settings, _JUDGED), *(() if limits is None else ("--reward-range", *map(exact, limits))))


def _options(settings: Settings, names: Sequence[str]) -> tuple[str, ...]:
    """The settings of these names as options, where they are not left as they usually are."""
    usual, options = Settings(), list[str]()
    for name in names:
        value = getattr(settings, name)
        if value != getattr(usual, name) and (name, value) != ("engine", "scripted"):
            for one in value if isinstance(value, tuple) else (value,):
                text = json.dumps(one, ensure_ascii=False) if isinstance(one, Mapping) else str(one)
                options += [_option(name)] if one is True else [_option(name), text]
    return tuple(options)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"

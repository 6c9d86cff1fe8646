"""`grue:TASK[key=value,…]` as prompts, through the entry-point group `flatspot.tasks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np

from flatspot.core.errors import DatasetError, PromptFileError, SettingsError
from flatspot.core.pairs import read_pairs
from flatspot.core.records import Prompt
from flatspot_paper.grue.cut import Cut, tokenizer_cut, whole
from flatspot_paper.grue.data import Pool, data_folder, load_pool
from flatspot_paper.grue.examples import asked
from flatspot_paper.grue.tasks import SPLITS, Split, Task, task_named

PREFIX = "grue:"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a spec asks for.

    data       the name of what stands in for the task's own data; None: its own
    size       how many inputs of the split, the first of a permutation with `seed`; None: all
    chat       ask as a chat message; off, in the paper's words
    tokenizer  of the policy whose tokens the prompts are cut by; None: they are not cut
    """

    task: Task
    split: Split = "train"
    data: str | None = None
    size: int | None = 5000
    seed: int = 7
    chat: bool = False
    tokenizer: str | None = None

    @property
    def spec(self) -> str:
        """The spec as text, without what is usual.

        >>> Asked(task_named("totto"), data="dart", size=48).spec
        'grue:totto[data=dart,size=48]'
        """
        usual = Asked(self.task)
        names = ("split", "data", "size", "seed", "chat", "tokenizer")
        pairs = [f"{name}={_written(getattr(self, name))}" for name in names if getattr(self, name) != getattr(usual, name)]
        return f"{PREFIX}{self.task.name}" + (f"[{','.join(pairs)}]" if pairs else "")


def _written(value: object) -> str:
    if value is None:
        return "all"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_grue(rest: str) -> Asked:
    """What stands behind `grue:`, without loading anything; raises `PromptFileError`.

    >>> parse_grue("commongen[split=train,size=48,chat=true]").size
    48
    """
    name, bracket, inside = rest.strip().partition("[")
    if bracket and not inside.endswith("]"):
        raise PromptFileError(f"{PREFIX}{rest}: expected {PREFIX}TASK or {PREFIX}TASK[key=value,…]")
    try:
        task, values = task_named(name), read_pairs(inside[:-1])
    except (SettingsError, ValueError) as error:
        raise PromptFileError(f"{PREFIX}{rest}: {error}") from None
    readers: dict[str, Callable[[str], object]] = {
        "split": _split, "data": str.strip, "size": _size, "seed": _whole, "chat": _flag, "tokenizer": str.strip,
    }  # fmt: skip
    if unknown := next((key for key in values if key not in readers), None):
        raise PromptFileError(f"{PREFIX}{name} has no setting {unknown!r}; its settings are {', '.join(readers)}")
    chosen: dict[str, Any] = {key: readers[key](value) for key, value in values.items()}
    return Asked(task, **chosen)


def grue_prompts(rest: str) -> list[Prompt]:
    """The prompts of a spec with their columns `references` and `data`; ids are the data's name, the split and the input's number.

    Raises `PromptFileError` for a wrong spec, and where the data is not to be had: what stands in for it has to be asked for by name.
    """
    chosen = parse_grue(rest)
    try:
        pool = load_pool(chosen.task, chosen.split, chosen.data, data_folder())
    except DatasetError as error:
        raise PromptFileError(str(error)) from None
    return prompts_of(pool, chosen, whole if chosen.tokenizer is None else tokenizer_cut(chosen.tokenizer))


def prompts_of(pool: Pool, chosen: Asked, cut: Cut) -> list[Prompt]:
    """The prompts that a spec takes of a pool."""
    order = np.random.RandomState(chosen.seed).permutation(len(pool.examples))[: chosen.size]
    prompts = []
    for place in order:
        text, references = asked(pool.examples[place], chosen.task, cut, chat=chosen.chat)
        columns: Mapping[str, object] = {"data": pool.data, **({"references": list(references)} if references else {})}
        prompts.append(Prompt(f"{pool.data}-{chosen.split}-{place:06d}", text, columns))
    return prompts


def _split(text: str) -> Split:
    if text.strip() not in SPLITS:
        raise PromptFileError(f"split is {', '.join(get_args(Split))}, got {text!r}")
    return cast(Split, text.strip())


def _size(text: str) -> int | None:
    return None if text.strip() == "all" else _whole(text, least=1)


def _whole(text: str, least: int = 0) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise PromptFileError(f"expected a whole number, {least} or more, got {text!r}")
    return int(text)


def _flag(text: str) -> bool:
    if text.strip().lower() not in ("true", "false"):
        raise PromptFileError(f"chat is true or false, got {text!r}")
    return text.strip().lower() == "true"

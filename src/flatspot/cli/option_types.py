"""Types of options: a name of an extension group, and rewards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from flatspot.core.extensions import find_extension, names_of, one_of
from flatspot.core.reward_names import split_rewards

if TYPE_CHECKING:
    _TextType = click.ParamType[str, str]
    _ObjectType = click.ParamType[dict[str, Any], str]
else:
    _TextType = _ObjectType = click.ParamType  # older versions of click have no parameters for it


class ExtensibleChoice(_TextType):
    """A choice of the names of an extension group; those of other packages are looked up where one is given or listed."""

    name = "choice"

    def __init__(self, group: str, built_in: Sequence[str]) -> None:
        self.group, self.built_in = group, tuple(built_in)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, where it is one."""
        if value not in self.built_in and find_extension(self.group, value) is None:
            self.fail(f"{value!r} is not one of {one_of(self.group, self.built_in)}.", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The names, as `click.Choice` writes them; click before 8.2 gives no context."""
        return f"[{'|'.join(names_of(self.group, self.built_in))}]"


class RewardText(_TextType):
    """A reward as it is written; an environment variable holds several with spaces between them, outside of brackets."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """The rewards of an environment variable: `a.py:f regex[pattern=the answer]` is two."""
        return [reward for line in split_rewards(rv, "\n") for reward in split_rewards(line, " ")]


class JsonObjectText(_ObjectType):
    """A JSON object."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The object, where it is one."""
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r:.80} is not JSON: {error}.", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value!r:.80} is no JSON object, as '{{\"enable_thinking\": false}}' is.", param, ctx)
        return found

"""A group of commands that are imported when called, so that `--help` takes no time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from flatspot.core.errors import ExtensionError
from flatspot.core.extensions import clashes, find_extension, names_of


class LazyGroup(click.Group):
    """Commands by name: `modules` says where each lives (as NAME_command), `texts` what the overview says of it.

    entry_points  the group through which other packages add commands, such as "verbs"; a name of `modules` is never replaced
    """

    def __init__(
        self, *args: Any, modules: Mapping[str, str], texts: Mapping[str, str], entry_points: str | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.modules, self.texts, self.entry_points = modules, texts, entry_points

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names: ours in the order given, then those of other packages."""
        return names_of(self.entry_points, self.modules) if self.entry_points else list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where there is none of this name."""
        if cmd_name in self.modules:
            own: click.Command = getattr(importlib.import_module(self.modules[cmd_name]), f"{cmd_name.replace('-', '_')}_command")
            return own
        added = find_extension(self.entry_points, cmd_name) if self.entry_points else None
        if added is None:
            return None
        command = added.load()
        if not isinstance(command, click.Command):
            raise added.error(f"expected a click.Command, got {type(command).__name__}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from `texts`: only commands of other packages are imported for it."""
        added = [(name, self._text(ctx, name)) for name in self.list_commands(ctx) if name not in self.modules]
        with formatter.section("Commands"):
            formatter.write_dl([*self.texts.items(), *added])
            for sentence in clashes(self.entry_points, self.modules) if self.entry_points else ():
                formatter.write_text(sentence)

    def _text(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except ExtensionError as error:
            return str(error)
        return command.get_short_help_str(200) if command is not None else ""

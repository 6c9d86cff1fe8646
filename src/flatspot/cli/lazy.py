"""A group of commands that are imported when called, so that `--help` takes no time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands by name: `modules` says where each lives (as NAME_command), `texts` what the overview says of it."""

    def __init__(self, *args: Any, modules: Mapping[str, str], texts: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.modules, self.texts = modules, texts

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order given."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where there is none of this name."""
        if cmd_name not in self.modules:
            return None
        command = getattr(importlib.import_module(self.modules[cmd_name]), f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from `texts`: no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.texts.items()))

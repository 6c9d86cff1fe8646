"""An option with the name that it had before: the old one is hidden, and works for one release, as its environment variable does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from flatspot.cli.printing import echo

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN = ("default", "show_default", "help")  # what only the option by its name of today has


def renamed_option(name: str, *, before: str, **settings: Any) -> Callable[[F], F]:
    """`click.option(name, **settings)`, which may also be given as `before`, on the command line or by that name's variable.

    The command line wins over the environment, and there the name of today. A command line with both names is refused.
    """
    key = f"flatspot.{name}"

    def remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        source = ctx.get_parameter_source(option.name or "")
        if source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            ctx.meta[key] = (value, source)

    def choose(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
        old, source = ctx.meta.pop(key, (None, None))
        own = ctx.get_parameter_source(option.name or "")
        if source is ParameterSource.COMMANDLINE and own is ParameterSource.COMMANDLINE and not ctx.resilient_parsing:
            raise click.UsageError(f"{before} is the old name of {name}: give only {name}", ctx)
        if source is None or own is ParameterSource.COMMANDLINE or own is source:
            return value
        if not ctx.resilient_parsing:
            echo(f"{before} is called {name} now; the old name goes in the next release", err=True)
        ctx.set_parameter_source(option.name or "", source)
        return old

    kind = {part: value for part, value in settings.items() if part not in _SHOWN}

    def decorate(command: F) -> F:
        hidden = click.option(before, **kind, hidden=True, is_eager=True, expose_value=False, callback=remember)
        return click.option(name, **settings, callback=choose)(hidden(command))

    return decorate

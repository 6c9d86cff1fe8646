"""`flatspot`: verbs loaded on first use, errors without tracebacks, exit codes.

0 fine, 3 more than --fail-above of the prompts vanish, 2 the user's mistake, 1 our failure.
"""

from __future__ import annotations

import importlib
import sys

import click

_VERBS = {
    "demo": "flatspot.cli.demo",
    "diagnose": "flatspot.cli.diagnose",
    "inspect": "flatspot.cli.inspect",
    "export": "flatspot.cli.export",
}
_HELP = {
    "demo": "Five minutes: a small real language model on prompts from trivial to impossible.",
    "diagnose": "Find the prompts an RL run cannot learn from, from a model, prompts and a reward.",
    "inspect": "The same verdicts from the logs of another trainer.",
    "export": "The prompts of a run by verdict, as JSONL, CSV or Parquet.",
}


class _LazyVerbs(click.Group):
    """Verbs are imported when called, so that `flatspot --help` takes no time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = getattr(importlib.import_module(_VERBS[cmd_name]), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELP.items()))


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from flatspot.core.provenance import package_version

        click.echo(f"flatspot {package_version()}")
        ctx.exit()


@click.command(cls=_LazyVerbs, context_settings={"auto_envvar_prefix": "FLATSPOT", "help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version and exit.")
def cli() -> None:
    """Find the prompts that a reinforcement-finetuning run cannot learn from, before anyone pays for the run."""


def main() -> None:
    """Run the command line; the user's mistakes exit with 2 and a message, ours with 1 and a traceback."""
    from flatspot.core.errors import FlatspotError

    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        click.echo("\nStopped. The rows drawn so far are kept: run the same command to go on.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FlatspotError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

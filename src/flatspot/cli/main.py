"""`flatspot`: verbs loaded on first use, errors without tracebacks, exit codes.

0 fine, 3 more than --fail-above of the prompts vanish, 2 the user's mistake, 1 our failure.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import time

import click

from flatspot.cli.field_names import with_our_name
from flatspot.cli.lazy import LazyGroup
from flatspot.cli.printing import echo, print_traceback
from flatspot.cli.streams import prepare_streams, silence
from flatspot.core.errors import FlatspotError, OtherProcessError

_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_FIRST_SPEAKS_S = 5.0
_BROKEN_PIPE = 141  # 128 + SIGPIPE, a signal that Windows does not have
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)

_VERBS = {
    "demo": "flatspot.cli.demo",
    "diagnose": "flatspot.cli.diagnose",
    "inspect": "flatspot.cli.inspect",
    "plan": "flatspot.cli.plan",
    "warmup": "flatspot.cli.warmup",
    "watch-checkpoints": "flatspot.cli.watch_checkpoints",
    "train": "flatspot.cli.train",
    "run": "flatspot.cli.run",
    "rescore": "flatspot.cli.rescore",
    "compare": "flatspot.cli.compare",
    "export": "flatspot.cli.export",
}
_HELP = {
    "demo": "Try flatspot on a small real model, in a few minutes; --train shows the fix on a tiny one.",
    "diagnose": "Find the prompts an RL run cannot learn from, given a model, prompts and a reward.",
    "inspect": "Find these prompts in the logs of another trainer.",
    "plan": "Choose which prompts to label, and forecast what an RL run on the prompts would see and cost.",
    "warmup": "SFT on a few labels; stops by itself once RL can take over.",
    "watch-checkpoints": "The same stop rule, over the checkpoints that another trainer writes.",
    "train": "RL with TRL; alarms name the cause of a missing gradient.",
    "run": "Run a recipe: diagnose, choose labels, warm up, train, diagnose again, report.",
    "rescore": "Score the completions of a run with another reward, and judge them again.",
    "compare": "Compare two runs of the same prompts: what changed, prompt by prompt, with limits.",
    "export": "Write the prompts of a run to a file, by verdict: JSONL, CSV or Parquet.",
}


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from flatspot.core.provenance import package_version

        click.echo(f"flatspot {package_version()}")
        ctx.exit()


@click.command(
    cls=LazyGroup,
    modules=_VERBS,
    texts=_HELP,
    entry_points="verbs",
    context_settings={"auto_envvar_prefix": "FLATSPOT", "help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version and exit.")
def cli() -> None:
    """Find the prompts that a reinforcement-finetuning run cannot learn from, before anyone pays for the run."""


def main() -> None:
    """Run the command line; the user's mistakes exit with 2 and a message, ours with 1 and a traceback."""
    prepare_streams()
    sys.excepthook = print_traceback
    notes = logging.getLogger("flatspot.engines")  # the verbs print them, and once is enough
    notes.propagate = False
    notes.addHandler(logging.NullHandler())
    try:
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = _stopped()
    except click.ClickException as error:
        refusal = with_our_name(error) if isinstance(error, click.NoSuchOption) else error
        refusal.show(text := io.StringIO())
        code = _fail(text.getvalue().rstrip("\n"), error.exit_code)
    except OtherProcessError as error:
        code = _fail(f"error: {error}" if not _rank() else "", 2)
    except FlatspotError as error:
        code = _fail(f"error: {error}", 2)
    except BrokenPipeError:  # whoever read standard output went away
        silence(1)
        code = _BROKEN_PIPE
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # what DuckDB makes of Ctrl-C
            raise
        code = _stopped()
    except OSError as error:
        code = no_file(error)
    sys.exit(code)


def no_file(error: OSError) -> int:
    """Say what of the file system is for the user to fix; anything else is raised on."""
    if error.errno in _NO_PLACE and error.filename:
        return _fail(f"error: {error.filename} cannot be read or written: {error.strerror}. Give another path, or fix this one.", 2)
    if error.errno not in _OUT_OF_ROOM:
        raise error
    silence(1)  # what could not be written there would be tried again
    place = f" ({error.filename})" if error.filename else ""
    return _fail(f"error: {error.strerror}{place}. Complete files are kept: make room, then run the same command to resume.", 2)


def _stopped() -> int:
    return _fail("\nStopped. The completions so far are kept: run the same command to resume.", 130)


def _fail(message: str, code: int) -> int:
    """Print why, and return the exit code; of several processes the first one speaks.

    The others wait, and the launcher ends them with the first. If it does not, the failure is theirs alone, and they say it.
    """
    if number := _rank():
        time.sleep(_FIRST_SPEAKS_S)
        message = message and f"in process {number}, counted from 0: {message}"
    if message:
        echo(message, err=True)
    return code


def _rank() -> int:
    """The number of this process in a distributed training, where a launcher started several."""
    text = os.environ.get("RANK", "")
    return int(text) if text.isdecimal() else 0


if __name__ == "__main__":
    main()

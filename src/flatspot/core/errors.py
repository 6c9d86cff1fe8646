"""Every error flatspot raises on purpose, in one tree.

FlatspotError                what was expected, what came, where, and what fixes it
├── SettingsError            a setting is out of range or two settings contradict each other
├── FileError                a file cannot be read as rows; its caller names it as one of the next three
├── PromptFileError          a prompt file cannot be read as prompts
├── RewardLoadError          a reward cannot be found or is not callable
├── EngineError              a policy cannot be loaded or sampled
├── RunFolderError           a run folder is in use, damaged, or holds rows of other settings
├── ImportFormatError        a foreign log cannot be read as rollouts
├── DatasetError             the data set of an experiment cannot be found or read
├── TrainingError            a training run cannot continue; its last checkpoint is as it was
├── OtherProcessError        another process of a distributed training failed, so this one ends too
├── DrawError                a `draw` of `flatspot.triage` failed; it carries everything drawn so far (stats/triage/draws.py)
├── ExtensionError           what another package adds to flatspot cannot be imported, or is not what its group takes
└── MissingExtra             an optional package is needed; the message names the pip command

Each is the user's to fix, so the command line prints its message without a traceback and exits with 2. Anything else that
escapes is our fault: it exits with 1 and keeps its traceback. A bad *row* is never an exception; it is data (`Rollout.error`).
"""

from __future__ import annotations


class FlatspotError(Exception):
    """A mistake the user can fix; the message names the fix."""


def last_line(error: BaseException) -> str:
    r"""The last line of an error's message, where libraries say what was wrong, without its full stop; its name where it says nothing.

    >>> last_line(RuntimeError("a trace\nno memory."))
    'no memory'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")


class SettingsError(FlatspotError):
    """A setting is out of its range, or two settings contradict each other."""


class FileError(FlatspotError):
    """A file cannot be read as rows."""


class PromptFileError(FlatspotError):
    """A prompt file cannot be read as prompts."""


class RewardLoadError(FlatspotError):
    """A reward cannot be found, imported or called."""


class EngineError(FlatspotError):
    """A policy cannot be loaded or sampled."""


class RunFolderError(FlatspotError):
    """A run folder is in use, damaged, or holds rows drawn under other settings."""


class ImportFormatError(FlatspotError):
    """A foreign log cannot be read as rollouts."""


class DatasetError(FlatspotError):
    """The data set of an experiment cannot be found or read."""


class TrainingError(FlatspotError):
    """A training run cannot continue: its numbers are no longer finite, or nothing it drew could be scored."""


class OtherProcessError(FlatspotError):
    """Another process of a distributed training failed, so this one ends too; the message is that of the other one."""


class ExtensionError(FlatspotError):
    """What another package adds to flatspot cannot be imported, or is not what its group takes."""


class MissingExtra(FlatspotError):
    """An optional package is needed and not installed."""


class NoSuchPrompt(SettingsError, IndexError):
    """A run has no prompt in this row: to Python an index out of range."""


class MissingName(MissingExtra, AttributeError):
    """A public name whose package is not installed: to Python an attribute that is not there, to a user the pip command."""

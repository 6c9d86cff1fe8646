"""The names in a recording of a reward's calls (`flatspot.record`): a folder of JSON lines, a file per process, a line per completion."""

from __future__ import annotations

from pathlib import Path

FOLDER = "recorded"
"""Where in a run folder its files lie."""
OFF = "FLATSPOT_RECORD_OFF"
"""The variable of the environment under which nothing is recorded: flatspot's own calls of a reward are no rollouts of a training."""
VERSION = "flatspot_recording"
"""The key that each line has: the version of the form, which is 1."""

MEMBERS = (
    VERSION,
    "trainer",
    "time",
    "unnamed",
    "id",
    "prompt",
    "completion",
    "rewards",
    "weights",
    "returned",
    "error",
    "step",
    "split",
    "group",
    "truncated",
    "n_tokens",
    "columns",
)
"""Keys of a line.

unnamed   true where the prompt is known by its right answer alone: prompts with equal answers have one id
id        content hash of what the trainer passes of the prompt
rewards   name of each recorded function → its number; null where it gave none
weights   name → weight, where whoever records states them
returned  what the function returned, where that is more than a number
group     what the trainer drew together, where it says so
columns   further values of the prompt's row, as the function gets them
"""


def is_recording(folder: Path) -> bool:
    """Whether a folder holds a recording."""
    return (folder / FOLDER).is_dir()


def recorded_files(folder: Path) -> list[Path]:
    """The files of a recording that hold anything, in the order of their names."""
    return sorted(file for file in (folder / FOLDER).glob("*.jsonl") if file.stat().st_size)

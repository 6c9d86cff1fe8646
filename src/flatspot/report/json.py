"""The summary as strict JSON: one object, keys in a stable order, null for what is not a finite number."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from flatspot.core.errors import RunFolderError
from flatspot.core.plain import plain
from flatspot.rollouts.store import write_whole

# the order of `--json` and report.json; further keys follow in alphabetical order
KEYS = (
    "schema_version", "source", "verdict", "reason", "rule", "n_prompts", "counts", "fractions", "reward", "components", "generations",
    "drawn", "predicted_error", "predicted_error_limit", "proved", "predicted_error_unproved",
    "epsilon", "group_size", "advantage", "scale", "mixed_threshold",
    "gain_threshold", "reach_threshold", "reward_model", "forecast", "health", "steps", "gradients", "caveats", "caveat_codes", "sampling",
    "settings", "engine", "provenance",
)  # fmt: skip


class HasJson(Protocol):
    """A summary: of a run, or of a recipe."""

    def to_json(self) -> Mapping[str, object]:
        """Its JSON object."""


def to_json(summary: HasJson | Mapping[str, object], *, indent: int | None = 2) -> str:
    """The summary as JSON that any parser takes: NaN and infinities are null, numpy scalars are numbers, text is ASCII-escaped.

    >>> to_json({"n_prompts": 2, "verdict": "proceed", "predicted_error": float("nan")}, indent=None)
    '{"verdict": "proceed", "n_prompts": 2, "predicted_error": null}'
    """
    values = summary if isinstance(summary, Mapping) else summary.to_json()
    ordered = {key: values[key] for key in KEYS if key in values}
    ordered |= {str(key): values[key] for key in sorted(values, key=str) if key not in ordered}
    return json.dumps(plain(ordered), indent=indent, allow_nan=False)


def write_json(summary: HasJson | Mapping[str, object], path: str | os.PathLike[str]) -> None:
    """Write `to_json` to a file, whole or not at all."""
    write_atomically(path, to_json(summary) + "\n")


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file so that a reader sees the old content or the new one, never a part; `RunFolderError` where it cannot be."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with write_whole(target) as file:
            file.write(text.encode())
    except OSError as error:
        raise RunFolderError(f"cannot write {target}: {error.strerror or error}. Give another place, or fix this one.") from error

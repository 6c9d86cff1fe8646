"""What a folder holds of a result that was asked for: nothing, the same, or something else, which is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.core.json_tree import damage
from flatspot.rollouts.files import read_json


def read_result(file: Path, fields: Mapping[str, object]) -> dict[str, Any] | None:
    """The result in a file; None where there is none. Raises RunFolderError where it is damaged or lacks one of the fields."""
    try:
        stored = read_json(file)
        if not isinstance(stored, dict):
            raise ValueError("it is no object")
        if missing := next((name for name in fields if name not in stored), None):
            raise ValueError(f"it has no {missing}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged ({damage(error)}). Remove it, and run the same command again.") from error
    return stored


def finished(
    file: Path, fields: Mapping[str, object], settings: str, own: Mapping[str, object], what: str, *, newer: Collection[str] = ()
) -> dict[str, Any] | None:
    """The same, where it was made with the settings that are asked for.

    settings  the field with what it was made with, which must be `own`
    what      it is, for messages: "this task measured"
    newer     settings that files of older versions do not name: there they count as equal

    Raises RunFolderError for one of other settings, too.
    """
    stored = read_result(file, fields)
    if stored is None:
        return None
    made_with = stored[settings] if isinstance(stored[settings], dict) else {}
    made_with = {name: own[name] for name in newer if name in own} | made_with
    if made_with != own:
        nothing = object()
        changed = ", ".join(name for name in {**own, **made_with} if own.get(name, nothing) != made_with.get(name, nothing))
        raise RunFolderError(f"{file.parent} holds {what} with another {changed}. Give another --out, or remove that folder.")
    return stored

"""model.json of a run folder: what tells the model that drew its rows from another one that has its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.core.protocols import Engine
from flatspot.rollouts.files import read_json, write_json
from flatspot.rollouts.parts import parts_of
from flatspot.rollouts.store import as_json, read_record

FILE = "model.json"


def check_model(folder: Path, identity: Mapping[str, Any], engine: Engine) -> None:
    """Raise `RunFolderError` where a folder has rows of this identity that another model drew, as far as the engine can tell.

    An engine that reads the weights has them in the identity; one that only has a name for them tells by `differs_from`.
    """
    differs, file = getattr(engine, "differs_from", None), folder / FILE
    if differs is None or not (folder / "run.json").exists() or not parts_of(folder) or not file.exists():
        return
    if read_record(folder).identity != as_json(identity):
        return  # which is refused with the settings that differ
    try:
        why = differs(read_json(file))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunFolderError(f"{file} is damaged ({error}). Give another --out, or delete it to resume without comparing models.") from None
    if why is not None:
        raise RunFolderError(
            f"{folder} holds rows of another model, which would not mix: {why}. Give another --out, or serve the model that drew them."
        )


def keep_model(folder: Path, engine: Engine) -> str | None:
    """Write model.json where there is none, or no row yet; a note where the rows of a folder cannot be compared for want of it."""
    tell, file = getattr(engine, "model_signs", None), folder / FILE
    if tell is None:
        return None
    any_rows, known = bool(parts_of(folder)), file.exists()
    if not (any_rows and known):
        write_json(tell(), file)
    if any_rows and not known:
        return f"{folder} has rows and no {FILE}, so whether the model that drew them is the one that answers now was not compared."
    return None


def copy_model(source: Path, folder: Path) -> None:
    """Take model.json along with rows that are scored again."""
    if (source / FILE).exists() and not (folder / FILE).exists():
        write_json(read_json(source / FILE), folder / FILE)

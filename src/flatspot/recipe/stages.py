"""A stage of a recipe: its folder is named by what it depends on, so that it is done once, and a change of anything starts another.

    out/NAME-KEY/            the stage's artifacts; KEY is the digest of its inputs
    out/NAME-KEY/stage.json  written when the stage is done: its inputs, its result, how long it took

A killed stage has no stage.json: the next run resumes in its folder, or starts it anew where it cannot.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.core.json_tree import damage, fields_from_json
from flatspot.core.plain import JsonObject, plain
from flatspot.rollouts.identity import digest
from flatspot.rollouts.locks import lock_folder
from flatspot.rollouts.ownership import refuse_addresses
from flatspot.rollouts.store import write_json
from flatspot.runs.run import Run

Work = Callable[[Path], Mapping[str, Any]]
FORMAT = 2  # of what stages leave behind: raised when an older stage could no longer be read
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Stage:
    """A stage that is done.

    result   what it says of itself, in JSON's types
    seconds  how long the run that finished it took for it
    reused   whether it was done before
    """

    name: str
    folder: Path
    key: str
    result: Mapping[str, Any] = field(repr=False)
    seconds: float
    reused: bool

    @cached_property
    def run(self) -> Run:
        """Its folder as a run, of a stage that diagnosed or trained."""
        return Run(self.folder)


def do_stage(
    out: Path,
    name: str,
    inputs: Mapping[str, Any],
    work: Work,
    *,
    needs: Sequence[str] = (),
    kinds: Sequence[type[object]] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Stage:
    """The stage of these inputs: as it is where it is done and `needs` are in its folder, else by `work(folder)`.

    kinds  dataclasses whose fields the result has: one that was stored is checked against them
    """
    key = digest(plain(dict(inputs) | {"format": FORMAT}))
    folder = out / f"{name}-{key}"
    done = read_stage(folder, kinds)
    if done is not None and all((folder / part).exists() for part in needs):
        say(f"{name}: there already, {folder}")
        return Stage(name, folder, key, done["result"], float(done["seconds"]), True)
    say(f"{name}: {folder}")
    begun = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {folder}: {error.strerror or error}. Give another out.") from error
    result = plain(dict(work(folder)))
    seconds = round(time.monotonic() - begun, 3)
    write_json({"stage": name, "inputs": plain(inputs), "result": result, "seconds": seconds}, folder / "stage.json")
    return Stage(name, folder, key, result, seconds, False)


def read_stage(folder: Path, kinds: Sequence[type[object]] = ()) -> JsonObject | None:
    """stage.json of a folder; None where the stage is not done. Raises `RunFolderError` where it is damaged or lacks a field of `kinds`."""
    file = folder / "stage.json"
    try:
        stage = json.loads(file.read_text("utf-8"))
        if not isinstance(stage["result"], dict):
            raise ValueError("its result is no object")
        for kind in kinds:
            fields_from_json(kind, stage["result"])
        return dict(stage) | {"seconds": float(stage["seconds"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged ({damage(error)}). Delete it: the stage is then done again.") from error


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Keep a second run of a recipe out of the same folder."""
    refuse_addresses(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot write into {out}: {error.strerror or error}. Give another out.") from error
    with lock_folder(out, instead="another out"):
        yield


def contents(path: str | Path) -> str:
    """SHA-256 over the names and bytes of a file or folder; of what is no path (a hub name), the name itself.

    >>> contents("Qwen/Qwen3-0.6B")
    'Qwen/Qwen3-0.6B'
    """
    place = Path(path).expanduser()
    if not place.exists():
        return str(path)
    sha = hashlib.sha256()
    for file in [place] if place.is_file() else sorted(part for part in place.rglob("*") if part.is_file()):
        sha.update(f"{file.relative_to(place)}\x1f{file.stat().st_size}\x1e".encode("utf-8", "backslashreplace"))
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                sha.update(block)
    return sha.hexdigest()

"""From the paths that a user names to the log files: what is found in a folder, what is passed over, and why."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flatspot.core.errors import ImportFormatError
from flatspot.importers.sample import EVAL, PICKLE
from flatspot.readers.files import ENDINGS, PACKED

# copies that Dropbox, Nextcloud and Syncthing leave where two machines wrote one file
_CONFLICT = re.compile(r"\((?:[^()]* )?conflicted copy[^()]*\)|\.sync-conflict-\d{8}-\d{6}", re.IGNORECASE)
_NUMBERED = re.compile(r"^(?P<stem>.+) \(\d+\)$")  # "log (1).csv", as a download that is there already is called
# what trainers and evaluations write beside their rows
_SIDE_FILES = re.compile(
    r"(?:.*_)?config\.json|(?:.*[._-])?metadata\.jsonl?|metrics\.(?:jsonl?|csv)|trainer_state\.json|training_args\.json|results_.*\.json"
    r"|(?:all|eval|train|aggregated)_results\.jsonl?|run\.json|dataset_infos?\.json|tokenizer\.json|vocab\.json|added_tokens\.json"
    r"|special_tokens_map\.json|.*\.index\.json|wandb-summary\.json",
    re.IGNORECASE,
)
_PACKED = "packed, and left out: unpack them first, for what they hold is not judged"
SIDE_FILES = "not rows by their names, and skipped (to read one, name the file itself)"
_SHOWN = 3
_CANDIDATES = (*ENDINGS, EVAL, PICKLE)


def find_logs(paths: Sequence[str | Path], caveats: list[str] | None = None) -> list[Path]:
    """The log files named, or found in the folders named, that are read without a format of their own: all of one ending, each once.

    What was passed over is said in `caveats`. Raises `ImportFormatError` as `find_files` and `check_one_ending` do.
    """
    passed: dict[str, list[Path]] = {}
    logs = find_files(paths, passed)
    check_one_ending(logs)
    if caveats is not None:
        caveats += passed_over(passed)
    return logs


def passed_over(passed: Mapping[str, Sequence[Path]]) -> list[str]:
    """A sentence for each reason for which files were passed over."""
    return [f"{listed(files)}: {why}." for why, files in passed.items()]


def find_files(paths: Sequence[str | Path], passed: dict[str, list[Path]]) -> list[Path]:
    """The files named, or found in the folders named, that may be logs, each once.

    In a folder, hidden files and folders, run folders of flatspot, copies that a sync tool made of another file, and files that trainers
    write beside their rows (such as config.json and metrics.jsonl) are passed over. What else than a run folder was passed over goes
    into `passed`, by the reason.

    Raises `ImportFormatError` where a path is absent, or where a folder holds no log.
    """
    files_there: list[Path] = []
    for path in map(Path, paths):
        if is_run_folder(path):
            raise ImportFormatError(f"{path} is a run folder of flatspot; inspect judges one of those at a time, and no log beside it.")
        if path.is_dir():
            inside = _logs_in(path, passed)
            if not inside:
                raise ImportFormatError(f"{path}: no log in this folder; expected {', '.join(ENDINGS)} files.{_unread(passed)}")
            files_there += inside
        else:
            _check_file(path)
            files_there.append(path)
    once: dict[Path, Path] = {}
    for path in files_there:
        if once.setdefault(path.resolve(), path) is not path:
            passed.setdefault("named twice and read once", []).append(path)
    return list(once.values())


def files_below(paths: Sequence[Path]) -> list[Path]:
    """Every file named, or anywhere in the folders named, in the order of their paths within each; hidden folders and runs left out."""
    return [file for path in paths for file in (sorted(p for p in _files(path, {}) if p.is_file()) if path.is_dir() else [path])]


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run of flatspot; other tools write a run.json too."""
    record = folder / "run.json"
    if not record.exists():
        return False
    if any((folder / name).exists() for name in ("rollouts", "prompts.parquet", "verdicts.parquet")):
        return True
    try:
        return '"identity"' in record.read_text("utf-8", "replace")
    except OSError:
        return False


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImportFormatError(f"{path}: there is no such file.")
    ending = path.suffix.lower()
    if ending not in _CANDIDATES:
        packed = " Unpack it first." if ending in PACKED else ""
        raise ImportFormatError(
            f"{path}: cannot read {path.suffix or 'a file without an ending'!r}; expected {', '.join(ENDINGS)}.{packed}"
        )


def check_one_ending(logs: Sequence[Path]) -> None:
    """Raise `ImportFormatError` where files that no format is told by differ in their endings, or have one that nothing can be read by."""
    for path in logs:
        if path.suffix.lower() not in ENDINGS:
            raise ImportFormatError(f"{path}: this is not a log of a format known here; expected {', '.join(ENDINGS)}.")
    endings = sorted({path.suffix.lower() for path in logs})
    if len(endings) > 1:
        each = "\n  ".join(f"{ending}: {listed([path for path in logs if path.suffix.lower() == ending])}" for ending in endings)
        raise ImportFormatError(
            f"the files are of {len(endings)} formats; inspect one format at a time, by naming its files or a pattern of them:\n  {each}"
        )


def _logs_in(folder: Path, passed: dict[str, list[Path]]) -> list[Path]:
    """The logs in a folder and below it, in the order of their paths."""
    logs = []
    for path in sorted(_files(folder, passed)):
        if path.suffix.lower() not in _CANDIDATES:
            if path.suffix.lower() in PACKED and path.with_suffix("").suffix.lower() in ENDINGS and not path.name.startswith("."):
                passed.setdefault(_PACKED, []).append(path)
            continue
        if path.name.startswith("."):
            passed.setdefault("hidden, and skipped", []).append(path)
        elif not path.is_file():
            passed.setdefault("broken links or special files, and skipped", []).append(path)
        elif _is_copy(path, passed):
            passed.setdefault("copies of files beside them, and skipped", []).append(path)
        else:
            logs.append(path)
    side = [path for path in logs if _SIDE_FILES.fullmatch(path.name) or "configs" in path.relative_to(folder).parts[:-1]]
    if side and len(side) < len(logs):
        passed.setdefault(SIDE_FILES, []).extend(side)
        beside = set(side)
        logs = [path for path in logs if path not in beside]
    return logs


def _files(folder: Path, passed: dict[str, list[Path]]) -> Iterator[Path]:
    """Every file of a folder and below it, but in hidden folders and in run folders of flatspot; links are followed, each place once."""
    visited: set[tuple[int, int]] = set()

    def unread(error: OSError) -> None:
        passed.setdefault(f"cannot be read ({error.strerror}), and left out", []).append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=unread, followlinks=True):
        about = Path(place).stat()
        if (about.st_dev, about.st_ino) in visited or ("run.json" in names and is_run_folder(Path(place))):
            folders.clear()
            continue
        visited.add((about.st_dev, about.st_ino))
        hidden = [name for name in folders if name.startswith(".")]
        if hidden:
            passed.setdefault("hidden, and skipped", []).extend(Path(place) / name for name in hidden)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in names)


def _is_copy(path: Path, passed: dict[str, list[Path]]) -> bool:
    """Whether a file is what a sync tool or a second download made of a file beside it."""
    if _CONFLICT.search(path.name):
        return True
    numbered = _NUMBERED.match(path.stem)
    if numbered is None or not (first := path.with_name(numbered["stem"] + path.suffix)).is_file():
        return False
    if filecmp.cmp(path, first, shallow=False):
        return True
    passed.setdefault("named like a copy of a file beside it, but with other content, and read too", []).append(path)
    return False


def listed(paths: Sequence[Path]) -> str:
    """The first few files, and how many more there are."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(str(path) for path in paths[:_SHOWN]) + more


def _unread(passed: dict[str, list[Path]]) -> str:
    return "".join(f"\n  {listed(files)}: {why}" for why, files in passed.items())

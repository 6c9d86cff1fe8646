"""What a run folder holds so far: its rounds, the parts of them that are on disk, and their rewards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.schema import ROUNDS
from flatspot.rollouts.rounds import Floats, Round
from flatspot.rollouts.tables import read_table

_PART = re.compile(r"part-(\d+)-(\d+)(?:-(\d+))?\.parquet")


def round_file(path: Path, round_idx: int) -> Path:
    """Where what a round draws is written down."""
    return path / "rounds" / f"round-{round_idx:03d}.parquet"


def read_round(path: Path, round_idx: int) -> Round | None:
    """What a round of a run folder draws; None where it has not been decided on."""
    file = round_file(path, round_idx)
    if not file.exists():
        return None
    found = _columns(file, [c.name for c in ROUNDS])
    return Round(found["prompt"].astype(np.int64), found["first"].astype(np.int64), int(found["samples"][0]), bool(found["fixed"][0]))


def read_rewards(path: Path, round_idx: int, asked: Round) -> Floats:
    """[m, k] rewards of a round whose parts are all on disk, NaN where there is none."""
    parts = [_columns(part.file, ["reward"])["reward"] for part in part_files(path) if part.round_idx == round_idx]
    found = np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
    if len(found) != asked.rows:
        raise RunFolderError(
            f"{path / 'rollouts'} holds {len(found)} rows of round {round_idx}, which has {asked.rows}: a file there was changed or "
            f"replaced. Delete the files part-{round_idx:03d}-*.parquet and run the same flatspot diagnose again, which draws them again."
        )
    return found.reshape(len(asked.prompts), asked.samples)


def most_samples(path: Path) -> int:
    """How many samples of a prompt a run folder plans, at most."""
    most = 0
    for round_idx in itertools.count():
        asked = read_round(path, round_idx)
        if asked is None:
            return most
        most = max(most, int(asked.first.max(initial=0)) + asked.samples)
    raise AssertionError


def _columns(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Columns of a Parquet file as arrays, null as NaN."""
    table = read_table(file, names)
    return {name: table[name].to_numpy() for name in names}


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file of rows: the parts `first` to `last` of a round (of a rank, where a training wrote them)."""

    file: Path
    round_idx: int
    first: int
    last: int


def part_file(path: Path, round_idx: int, first: int, last: int | None = None) -> Path:
    """Where a part of a round is kept; with `last`, where several are that were joined."""
    several = f"-{last:06d}" if last is not None and last != first else ""
    return path / "rollouts" / f"part-{round_idx:03d}-{first:06d}{several}.parquet"


def part_files(path: Path) -> list[PartFile]:
    """The files that hold the rows of a run folder, in the order drawn, each row in one of them.

    A file whose parts are all in another one is left out: a process was killed while it joined them (`rollouts.compaction`).
    """
    return [part for part, by in _with_covering(path) if by is None]


def covered_files(path: Path) -> list[tuple[Path, Path]]:
    """(file, the one that holds its rows, too)."""
    return [(part.file, by) for part, by in _with_covering(path) if by is not None]


def _with_covering(path: Path) -> list[tuple[PartFile, Path | None]]:
    folder, found = path / "rollouts", []
    for entry in folder.iterdir() if folder.is_dir() else ():
        if match := _PART.fullmatch(entry.name):
            found.append(PartFile(entry, int(match[1]), int(match[2]), int(match[3] or match[2])))
    found.sort(key=lambda part: (part.round_idx, part.first, -part.last))
    widest, result = PartFile(folder, -1, -1, -1), list[tuple[PartFile, Path | None]]()
    for part in found:
        covered = (part.round_idx, part.last) <= (widest.round_idx, widest.last)
        result.append((part, widest.file if covered else None))
        widest = widest if covered else part
    return result


def parts_of(path: Path) -> set[tuple[int, int]]:
    """(round, part) of every part of a run folder that is on disk."""
    return {(part.round_idx, i) for part in part_files(path) for i in range(part.first, part.last + 1)}

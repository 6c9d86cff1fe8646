"""What a run folder holds so far: its rounds, the parts of them that are on disk, and their rewards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.schema import ROUNDS
from flatspot.rollouts.rounds import Floats, Round
from flatspot.rollouts.tables import read_table

_PART = re.compile(r"part-(\d+)-(\d+)\.parquet")


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


def read_rewards(path: Path, round_idx: int, asked: Round, rows_per_part: int) -> Floats:
    """[m, k] rewards of a round whose parts are all on disk, NaN where there is none."""
    parts = [_columns(part_file(path, round_idx, i), ["reward"])["reward"] for i in range(len(asked.parts(rows_per_part)))]
    return np.concatenate(parts).astype(np.float64).reshape(len(asked.prompts), asked.samples)


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


def part_file(path: Path, round_idx: int, part_idx: int) -> Path:
    """Where a part of a round is kept."""
    return path / "rollouts" / f"part-{round_idx:03d}-{part_idx:06d}.parquet"


def parts_of(path: Path) -> set[tuple[int, int]]:
    """(round, part) of every part of a run folder that is on disk."""
    folder = path / "rollouts"
    return {(int(m[1]), int(m[2])) for p in folder.iterdir() if (m := _PART.fullmatch(p.name))} if folder.is_dir() else set()

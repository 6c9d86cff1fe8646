"""What a run folder holds so far: its rounds, the parts of them that are on disk, and their rewards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.plain import JsonObject
from flatspot.core.records import Score
from flatspot.core.schema import ROUNDS
from flatspot.rollouts.rounds import Floats, Round, Seen
from flatspot.rollouts.tables import read_table

_PART = re.compile(r"part-(\d+)-(\d+)(?:-(\d+))?\.parquet")


def round_file(path: Path, round_idx: int) -> Path:
    """Where what a round draws is written down."""
    return path / "rounds" / f"round-{round_idx:03d}.parquet"


def read_rounds(path: Path) -> list[Round]:
    """The rounds of a run folder that were decided on, in order."""
    files = itertools.takewhile(Path.exists, (round_file(path, i) for i in itertools.count()))
    return [_read_round(file) for file in files]


def _read_round(file: Path) -> Round:
    columns = _columns(file, [c.name for c in ROUNDS])
    prompts, first = (columns[name].astype(np.int64) for name in ("prompt", "first"))
    return Round(prompts, first, int(columns["samples"][0]), bool(columns["fixed"][0]))


def read_rewards(path: Path, round_idx: int, this: Round) -> Floats:
    """[m, k] rewards of a round whose parts are all on disk, NaN where there is none."""
    parts = [_columns(part.file, ["reward"])["reward"] for part in part_files(path) if part.round_idx == round_idx]
    rewards = np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
    if len(rewards) != this.total:
        raise RunFolderError(
            f"{path / 'rollouts'} holds {len(rewards)} rows of round {round_idx}, which has {this.total}: a file there was changed or "
            f"replaced. Delete the files part-{round_idx:03d}-*.parquet and run the same flatspot diagnose again, which draws them again."
        )
    return rewards.reshape(len(this.prompts), this.n_completions)


def read_seen(path: Path, round_idx: int, this: Round, logprob_error: float) -> Seen | None:
    """Which completions a round on disk drew; None where no row tells its log-probability.

    logprob_error  how far a token's log-probability may be off, in nats
    """
    names = ("completion", "truncated", "n_tokens", "logprob")
    tables = [read_table(part.file, names, optional=("logprob",)) for part in part_files(path) if part.round_idx == round_idx]
    if not tables or not all("logprob" in table.column_names and table["logprob"].null_count < table.num_rows for table in tables):
        return None
    shape = len(this.prompts), this.n_completions
    texts = [pair for table in tables for pair in zip(table["completion"].to_pylist(), table["truncated"].to_pylist(), strict=True)]
    tokens, logprob = (np.concatenate([table[name].to_numpy() for table in tables]).astype(float) for name in names[2:])
    mass = np.exp(logprob - logprob_error * (tokens + 1))
    return Seen(np.fromiter(map(hash, texts), np.int64, len(texts)).reshape(shape), mass.reshape(shape))


def scored_rows(path: Path) -> Iterator[tuple[str, str, bool, Score]]:
    """(prompt id, completion, whether it was cut, its score) of every row on disk that has a reward."""
    for part in part_files(path):
        for row in read_table(part.file, ("prompt_id", "completion", "truncated", "reward", "rewards")).to_pylist():
            if row["reward"] is not None and row["completion"] is not None:
                yield row["prompt_id"], row["completion"], bool(row["truncated"]), Score(row["reward"], dict(row["rewards"]))


def most_completions(rounds: Iterable[Round]) -> int:
    """How many completions of a prompt these rounds draw, at most.

    >>> most_completions([Round(np.array([0, 1]), np.array([0, 0]), 4, True), Round(np.array([1]), np.array([4]), 2, False)])
    6
    """
    return max((int(this.first.max(initial=0)) + this.n_completions for this in rounds), default=0)


def _columns(file: Path, names: Sequence[str]) -> JsonObject:
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
    folder, files = path / "rollouts", []
    for entry in folder.iterdir() if folder.is_dir() else ():
        if match := _PART.fullmatch(entry.name):
            files.append(PartFile(entry, int(match[1]), int(match[2]), int(match[3] or match[2])))
    files.sort(key=lambda part: (part.round_idx, part.first, -part.last))
    widest, result = PartFile(folder, -1, -1, -1), list[tuple[PartFile, Path | None]]()
    for part in files:
        covered = (part.round_idx, part.last) <= (widest.round_idx, widest.last)
        result.append((part, widest.file if covered else None))
        widest = widest if covered else part
    return result


def parts_of(path: Path) -> set[tuple[int, int]]:
    """(round, part) of every part of a run folder that is on disk."""
    return {(part.round_idx, i) for part in part_files(path) for i in range(part.first, part.last + 1)}

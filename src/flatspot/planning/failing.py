"""Read a judged run folder: its prompts and verdicts side by side, and its vanishing prompts as arrays that a strategy chooses from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.records import Prompt
from flatspot.core.schema import PROMPTS
from flatspot.planning.embeddings import Vectors, embed, ends, shape, unit_rows
from flatspot.planning.strategies import Failing
from flatspot.rollouts.tables import read_table
from flatspot.runs.table import completions_of
from flatspot.stats.evidence import Floats, Ints

if TYPE_CHECKING:
    import pyarrow as pa

POOL = 8000  # of more vanishing prompts, so many are compared; similarities of all pairs would take memory with their square
_COMPLETIONS = 4  # of each prompt, the first drawn, to see what the policy does with it
_PROMPT_WIDTH, _HABIT_WIDTH = 512, 256
_NUMBERS = ("p_vanishing", "mean", "r_star", "n_samples")


@dataclass(frozen=True)
class JudgedRun:
    """A judged run folder's prompts, in order, with their verdicts: one entry per prompt in each of them.

    verdicts     columns of `core.schema.VERDICTS`
    prompts      columns of `core.schema.PROMPTS`
    """

    run: Path
    verdicts: pa.Table
    prompts: pa.Table

    @cached_property
    def ids(self) -> list[str]:
        """[M] ids."""
        return [str(name) for name in self.verdicts["prompt_id"].to_pylist()]

    def numbers(self, name: str) -> Floats:
        """[M] a column of numbers, NaN for null."""
        return np.asarray(self.verdicts[name].to_numpy(), np.float64)

    def prompt(self, row: int) -> Prompt:
        """The prompt of a row, with its columns as JSON kept them."""
        found = self.prompts.slice(row, 1).to_pylist()[0]
        text = json.loads(found["prompt"]) if found["is_chat"] else found["prompt"]
        return Prompt(found["prompt_id"], text, json.loads(found["columns"]))


def read_judged(run: Path) -> JudgedRun:
    """Raises `RunFolderError` where the run has not been judged, or its tables do not belong together."""
    if not (run / "verdicts.parquet").exists():
        raise RunFolderError(
            f"{run} has no verdicts.parquet: it is no run folder, or its run has not been judged yet. Run flatspot diagnose … --out {run}"
        )
    verdicts = read_table(run / "verdicts.parquet", ["prompt_id", "verdict", "error_probability", *_NUMBERS])
    prompts = read_table(run / "prompts.parquet", [column.name for column in PROMPTS])
    if not prompts["prompt_id"].combine_chunks().equals(verdicts["prompt_id"].combine_chunks()):
        raise RunFolderError(
            f"{run}: verdicts.parquet and prompts.parquet are of different prompts. Judge it again: flatspot inspect {run}"
        )
    return JudgedRun(run, verdicts, prompts)


def drawn_order(ids: Sequence[str], seed: int) -> Ints:
    """The order that a seed and the ids alone decide: the same prompts in another order come in the same one."""
    keys = [hashlib.sha256(f"{seed}\x1f{name}".encode("utf-8", "backslashreplace")).digest() for name in ids]
    return np.array(sorted(range(len(ids)), key=lambda i: keys[i]), np.int64)


def failing_prompts(judged: JudgedRun, seed: int, k: int) -> tuple[Failing, Ints]:
    """The vanishing prompts, and the row of each in the run, in the order drawn by `seed`.

    Of more than `POOL` there are `POOL` drawn at random, which stand for all, and the k hardest beside them.
    """
    ids = judged.ids
    rows = np.flatnonzero(np.array(judged.verdicts["verdict"].to_pylist()) == "vanishing")
    rows = rows[drawn_order([ids[i] for i in rows], seed)]
    demand = np.ones(len(rows), bool)
    p, mean, r_star, n = (judged.numbers(name)[rows] for name in _NUMBERS)
    if len(rows) > POOL:
        hardest = np.lexsort((-n, mean, -p.round(6)))[:k]
        kept = np.union1d(np.arange(POOL), hardest)
        rows, demand, p, mean, r_star, n = rows[kept], kept < POOL, p[kept], mean[kept], r_star[kept], n[kept]
    words = [_words(judged.prompts["prompt"][int(i)].as_py(), judged.prompts["is_chat"][int(i)].as_py()) for i in rows]
    names = [ids[i] for i in rows]
    return (
        Failing(
            p,
            mean,
            np.maximum(r_star - mean, 0.0),
            n.astype(np.int64),
            embed(words, _PROMPT_WIDTH),
            _habits(judged.run, names),
            demand,
            tuple(names),
            tuple("\n".join(texts) for texts in words),
        ),
        rows,
    )


def _words(text: str, is_chat: bool) -> list[str]:
    """A prompt as texts: of chat messages, each one's content."""
    return [ends(str(message.get("content") or "")) for message in json.loads(text)] if is_chat else [ends(text)]


def _habits(run: Path, ids: Sequence[str]) -> Vectors:
    """What the policy answers now: half what the completions say, half what they are made of, which shows a habit on any subject."""
    found = completions_of(run, ids, per_prompt=_COMPLETIONS)
    texts: dict[str, list[str]] = {name: [] for name in ids}
    if found.num_rows:
        for name, text in zip(found["prompt_id"].to_pylist(), found["completion"].to_pylist(), strict=True):
            texts[name].append(ends(text or ""))
    said = embed([texts[name] for name in ids], _HABIT_WIDTH)
    made = embed([[shape(text) for text in texts[name]] for name in ids], _HABIT_WIDTH)
    return unit_rows(np.concatenate([said, made], 1))

"""The vanishing prompts of a judged run, as arrays that a strategy chooses from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from flatspot.planning.embeddings import Vectors, embed, ends, shape, unit_rows
from flatspot.planning.strategies import Failing
from flatspot.runs.run import Run
from flatspot.runs.zones import zones_of
from flatspot.stats.evidence import Floats, Ints

POOL = 8000  # of more vanishing prompts, so many are compared; similarities of all pairs would take memory with their square
_COMPLETIONS = 4  # of each prompt, the first drawn, to see what the policy does with it
_PROMPT_WIDTH, _HABIT_WIDTH = 512, 256
_NUMBERS = ("p_vanishing", "mean", "n_samples")


def drawn_order(ids: Sequence[str], seed: int) -> Ints:
    """The order that a seed and the ids alone decide: the same prompts in another order come in the same one."""
    keys = [hashlib.sha256(f"{seed}\x1f{name}".encode("utf-8", "backslashreplace")).digest() for name in ids]
    return np.array(sorted(range(len(ids)), key=lambda i: keys[i]), np.int64)


def failing_prompts(run: Run, seed: int, k: int) -> tuple[Failing, Ints]:
    """The vanishing prompts, and the row of each in the run, in the order drawn by `seed`.

    Of more than `POOL` there are `POOL` drawn at random, which stand for all, and the k hardest beside them.
    """
    ids = run.ids
    rows = np.flatnonzero(np.array(run.verdicts["verdict"].to_pylist()) == "vanishing")
    rows = rows[drawn_order([ids[i] for i in rows], seed)]
    demand = np.ones(len(rows), bool)
    p, mean, n = (run.numbers(name)[rows] for name in _NUMBERS)
    left = headroom(run)[rows]
    if len(rows) > POOL:
        hardest = np.lexsort((-n, mean, -p.round(6)))[:k]
        subset = np.union1d(np.arange(POOL), hardest)
        rows, demand, p, mean, left, n = rows[subset], subset < POOL, p[subset], mean[subset], left[subset], n[subset]
    words = [_words(run.prompts["prompt"][int(i)].as_py(), run.prompts["is_chat"][int(i)].as_py()) for i in rows]
    names = [ids[i] for i in rows]
    return (
        Failing(
            p,
            mean,
            left,
            n.astype(np.int64),
            embed(words, _PROMPT_WIDTH),
            _habits(run, names),
            demand,
            tuple(names),
            tuple("\n".join(texts) for texts in words),
        ),
        rows,
    )


def headroom(run: Run) -> Floats:
    """[M] what each prompt may yet win, at most: to what is achievable, or to the top of a stated range where that is not known.

    Infinite where neither is known: the largest reward seen bounds nothing.
    """
    return np.maximum(zones_of(run.summary).ceiling(run.numbers("r_star")) - run.numbers("mean"), 0.0)


def _words(text: str, is_chat: bool) -> list[str]:
    """A prompt as texts: of chat messages, each one's content."""
    return [ends(str(message.get("content") or "")) for message in json.loads(text)] if is_chat else [ends(text)]


def _habits(run: Run, ids: Sequence[str]) -> Vectors:
    """What the policy answers now: half what the completions say, half what they are made of, which shows a habit on any subject."""
    completions = run.completions(ids, per_prompt=_COMPLETIONS)
    texts: dict[str, list[str]] = {name: [] for name in ids}
    if completions.num_rows:
        for name, text in zip(completions["prompt_id"].to_pylist(), completions["completion"].to_pylist(), strict=True):
            texts[name].append(ends(text or ""))
    content = embed([texts[name] for name in ids], _HABIT_WIDTH)
    form = embed([[shape(text) for text in texts[name]] for name in ids], _HABIT_WIDTH)
    return unit_rows(np.concatenate([content, form], 1))

"""Rows that began alike, decoded once: the tree's bookkeeping, and the same rows as one row at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_policies import EOS, VOCABULARY

from flatspot.core.records import Sampling
from flatspot.engines import decode
from flatspot.engines.sequences import draw_batch
from flatspot.engines.tree import split

ENDS = (EOS, *range(40, VOCABULARY, 5))


@pytest.mark.parametrize("seed", range(30))
def test_a_split_keeps_each_rows_tokens_and_moves_as_few_nodes_as_it_can(seed):
    """Followed by the tokens that a row of the cache would hold, over random steps in which rows end."""
    rng = np.random.default_rng(seed)
    n_prompts, n_rows = int(rng.integers(1, 5)), int(rng.integers(5, 40))
    node = np.sort(rng.integers(0, n_prompts, n_rows))
    rows = [(int(prompt),) for prompt in node]
    cache = [(prompt,) for prompt in range(n_prompts)]
    for _ in range(6):
        token = rng.integers(0, rng.choice([2, 6]), len(node))
        rows = [(*row, int(t)) for row, t in zip(rows, token, strict=True)]
        alive = rng.random(len(node)) < 0.8
        node, token, rows = node[alive], token[alive], [row for row, a in zip(rows, alive, strict=True) if a]
        if not len(node):
            break
        parent, own, node = split(node, token, len(cache))
        cache = [(*cache[p], int(t)) if t >= 0 else None for p, t in zip(parent, own, strict=True)]
        assert [cache[i] for i in node] == rows
        taken = [held for held in cache if held is not None]
        assert len(taken) == len(set(taken)) == len(set(rows))
        assert len(cache) <= max(n_prompts, n_rows) and (len(cache) - len(taken)) * 32 < max(len(cache), 32)


@pytest.mark.parametrize("mode", ["shared", "prefixed"])
def test_rows_are_those_of_one_row_at_a_time_in_fewer_passes(tiny, monkeypatch, mode):
    policy = replace(tiny("llama"), eos_ids=ENDS)
    sampling = Sampling(temperature=0.3, max_new_tokens=8)
    prompts, copies = [[5, 6, 7], [5, 6, 9, 8], [3]], [20, 1, 30]
    widths, advance = [], decode._advance
    monkeypatch.setattr(decode, "_advance", lambda p, context, tokens: widths.append(len(tokens)) or advance(p, context, tokens))
    rows = draw_batch(policy, prompts, range(51), sampling, mode, copies=copies)
    monkeypatch.undo()
    alone = [
        draw_batch(policy, [prompts[np.searchsorted(np.cumsum(copies), i, side="right")]], [i], sampling, "uncached")[0] for i in range(51)
    ]
    assert [row.ids for row in rows] == [row.ids for row in alone]
    assert [row.logprob for row in rows] == pytest.approx([row.logprob for row in alone], abs=1e-4)
    assert sum(widths) < 0.8 * sum(len(row.ids) - 1 for row in rows)

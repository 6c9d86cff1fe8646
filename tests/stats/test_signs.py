"""Equal completions with different rewards, counted by DuckDB and by hand."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.runs.table import read_run
from flatspot.stats.evidence import tolerance


def some_rows(seed):
    """Prompts whose texts come again: with the same reward, float32 noise, another one, or none; at two steps, cut or whole."""
    rng = np.random.default_rng(seed)
    for _ in range(600):
        prompt, text = int(rng.integers(8)), str(rng.choice(["", "a", "b", "c"]))
        exact = {"a": 1.0, "b": 0.1, "c": float(rng.random()), "": float(rng.random())}[text]
        reward = None if rng.random() < 0.1 else float(np.float32(exact)) if rng.random() < 0.5 else exact
        yield {
            "prompt_id": f"p{prompt}",
            "completion": text,
            "reward": reward,
            "step": int(rng.integers(2)),
            "truncated": bool(rng.random() < 0.3),
        }


def test_repeats_are_those_counted_by_hand(tmp_path):
    rows = list(some_rows(0))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    run = flatspot.inspect(tmp_path / "log.parquet", out=tmp_path / "run").folder
    texts = defaultdict(list)
    for row in rows:
        if row["reward"] is not None and row["completion"]:
            texts[row["prompt_id"], row["step"], row["truncated"], row["completion"]].append(row["reward"])
    repeats, unequal, squares = defaultdict(int), defaultdict(int), defaultdict(float)
    for (prompt, *_), rewards in texts.items():
        repeats[prompt] += len(rewards) - 1
        if max(rewards) - min(rewards) > tolerance(np.array(min(rewards)), np.array(max(rewards))):
            unequal[prompt] += len(rewards) - 1
            squares[prompt] += float(np.var(rewards) * len(rewards))
    table = read_run(run)
    found = table.signs
    for i, prompt in enumerate(table.prompt_id):
        assert (found.repeats[i], found.unequal[i]) == (repeats[prompt], unequal[prompt])
        assert found.squares[i] == pytest.approx(squares[prompt])
    cut = [row for row in rows if row["truncated"]]
    assert (found.n_cut, found.n_whole) == (len(cut), len(rows) - len(cut))
    assert found.cut_mean == pytest.approx(np.mean([row["reward"] for row in cut if row["reward"] is not None]))


def test_the_share_of_noise_is_that_of_its_variance(tmp_path):
    """0/1 by the text plus normal noise of std 1/4: of the variance 1/4 + 1/16, 1/16 is between equal texts."""
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, 4000)
    reward = right + 0.25 * rng.standard_normal(4000)
    columns = {"prompt_id": (np.arange(4000) // 100).astype(str), "completion": np.where(right, "yes", "no"), "reward": reward}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    table = read_run(flatspot.inspect(tmp_path / "log.parquet", out=tmp_path / "run").folder)
    found = table.signs.noise_share(table.evidence.std)
    assert table.signs.repeats.sum() == 4000 - 80
    assert found == pytest.approx(0.2, rel=0.08)

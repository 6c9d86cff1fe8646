"""How long a run of many small parts takes to open again and to judge, before and after its parts are joined.

    python benchmarks/rollouts/many_parts.py [--parts 6000] [--rows 200000]

Prints seconds: to find that nothing is left to draw (`replay_stored`), to read the statistics (`read_run`), and for the joining itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from flatspot.core.records import Prompt
from flatspot.core.request import Request
from flatspot.core.schema import ROLLOUTS, arrow_schema
from flatspot.rollouts.completeness import replay_stored
from flatspot.rollouts.files import write_table
from flatspot.rollouts.parts import part_file, part_files
from flatspot.rollouts.prompts import prompt_table
from flatspot.rollouts.rounds import FixedCompletions, Round
from flatspot.rollouts.store import open_run
from flatspot.runs.table import read_run


def build(path: Path, parts: int, per_part: int) -> None:
    """A run of `parts` prompts, each drawn `per_part` times in a part of its own."""
    prompts = [Prompt(f"p{i:06d}", f"prompt {i}", {}) for i in range(parts)]
    rng, schema = np.random.default_rng(0), arrow_schema(ROLLOUTS)
    with open_run(path, kind="diagnose", request=Request(), identity={}, rows_per_part=per_part) as run:
        write_table(prompt_table(prompts, [1.0] * parts), path / "prompts.parquet")
        run.write_round(0, Round(np.arange(parts), np.zeros(parts, int), per_part, True))
        for i, prompt in enumerate(prompts):
            same = {"prompt_id": prompt.id, "prompt": prompt.text, "policy": "p", "truncated": False, "n_tokens": 40, "fixed": True}
            columns = {name: [value] * per_part for name, value in same.items()}
            columns |= {"completion": [f"answer {x} " + "because of this and that " * 8 for x in rng.integers(0, 50, per_part)]}
            columns |= {"sample_idx": list(range(per_part)), "reward": rng.integers(0, 2, per_part).astype(float).tolist()}
            columns |= {"rewards": [[("f", 1.0)]] * per_part}
            rows = [pa.array(columns.get(field.name, [None] * per_part), field.type) for field in schema]
            write_table(pa.Table.from_arrays(rows, schema=schema), part_file(path, 0, i))


def seconds(work: object) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def main() -> None:
    """Build, measure, join, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    per_part = options.rows // options.parts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with mock.patch.object(os, "fsync"):  # building is not what is measured; joining is, with what it waits for the disk
            build(path, options.parts, per_part)

        def opened() -> None:
            replay = replay_stored(path, {}, per_part, lambda _: FixedCompletions(options.parts, per_part))
            assert replay is not None and replay.whole == 1

        def measure(what: str) -> None:
            size = sum(part.file.stat().st_size for part in part_files(path)) / 1e6
            opens, reads = seconds(opened), seconds(lambda: read_run(path))
            print(f"{what:<8} {len(part_files(path)):>6} files {size:>6.1f} MB   open {opens:>6.2f} s   read {reads:>6.2f} s", flush=True)

        measure("apart")
        with open_run(path, kind="diagnose", request=Request(), identity={}, rows_per_part=per_part) as run:
            print(f"joining {seconds(lambda: run.join_parts(0, closed=True)):.2f} s on {os.cpu_count()} cores")
        measure("joined")


if __name__ == "__main__":
    main()

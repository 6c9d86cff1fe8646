"""`flatspot inspect` on ten million rollouts of 625,000 prompts in one Parquet file, or in many of JSON lines: seconds and peak memory.

python benchmarks/inspect/ten_million.py [--kind binary|continuous] [--shuffled] [--format parquet|jsonl] [--files N]

The peer, in the same run: pandas' groupby on the one Parquet file (std and count per prompt, nothing judged), where pandas is installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROMPTS, SAMPLES = 625_000, 16
PEER = """
import sys, pandas
table = pandas.read_parquet(sys.argv[1]).groupby("prompt_id")["reward"].agg(["count", "mean", "std"])
assert len(table) == 625_000
"""


def make_rows(kind: str, shuffled: bool) -> pa.Table:
    rng = np.random.default_rng(0)
    p = np.where(rng.random(PROMPTS) < 0.3, 0, rng.beta(0.6, 1.2, PROMPTS))
    reward = (rng.random((PROMPTS, SAMPLES)) < p[:, None]).astype(np.float64)
    if kind == "continuous":
        reward *= rng.random(reward.shape)
    ids = pa.DictionaryArray.from_arrays(
        np.repeat(np.arange(PROMPTS, dtype=np.int32), SAMPLES), [f"prompt-{i:07d}" for i in range(PROMPTS)]
    )
    table = pa.table({"prompt_id": ids.cast(pa.string()), "reward": reward.ravel()})
    return table.take(rng.permutation(len(table))) if shuffled else table


def write_files(table: pa.Table, folder: Path, format: str, files: int) -> int:
    """Write the rows into `files` files, as equal parts; returns their size in bytes."""
    folder.mkdir()
    edges = np.linspace(0, len(table), files + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = table.slice(start, stop - start)
        if format == "parquet":
            pq.write_table(part, folder / f"{number:05d}.parquet")
            continue
        rows = zip(part["prompt_id"].to_pylist(), part["reward"].to_pylist(), strict=True)
        text = "".join(f'{{"prompt_id": "{name}", "reward": {reward!r}}}\n' for name, reward in rows)
        (folder / f"{number:05d}.jsonl").write_text(text, "utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def timed(command: list[str]) -> dict[str, float] | None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}", file=sys.stderr)
        return None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "cpu_seconds": cpu, "peak_gib": int(done.stdout.split()[-1]) / 2**20}


# a process of its own, so that its peak memory is this command's alone
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=["binary", "continuous"], default="binary")
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--format", choices=["parquet", "jsonl"], default="parquet")
    parser.add_argument("--files", type=int, default=1, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        size = write_files(make_rows(options.kind, options.shuffled), log, options.format, options.files)
        in_what = f"{options.files} file{'s' if options.files > 1 else ''} of {options.format}"
        print(f"{PROMPTS * SAMPLES:,} rollouts of {PROMPTS:,} prompts, {options.kind}, {size / 2**20:.0f} MiB in {in_what}", flush=True)
        results = {
            "flatspot inspect": timed([str(Path(sys.executable).parent / "flatspot"), "inspect", str(log), "--out", f"{scratch}/run"])
        }
        if (options.format, options.files) == ("parquet", 1):
            results["pandas groupby"] = timed([sys.executable, "-c", PEER, str(log / "00000.parquet")])
    for name, row in results.items():
        if row:
            print(f"{name:<18} {row['seconds']:6.1f} s   {row['cpu_seconds']:6.1f} s CPU   {row['peak_gib']:5.2f} GiB peak")
    print(json.dumps(results))


if __name__ == "__main__":
    main()

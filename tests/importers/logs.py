"""Logs written from rows, and what an import makes of them."""

import json
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from flatspot.importers.generic import LogColumns, import_generic
from flatspot.importers.search import find_logs
from flatspot.runs.table import connect, read_run


def imported(folder, rows, *, name="log.jsonl", lists=None, weights=None, **given):
    """The import, its table per prompt, and the run folder."""
    run = folder / "run"
    (run / "rollouts").mkdir(parents=True)
    paths = [write(folder / name, rows)] if isinstance(rows, list) else [write(folder / file, own) for file, own in rows.items()]
    with connect(run) as db:
        columns = LogColumns(given, weights, lists)
        found = import_generic(db, find_logs(paths), columns, run / "rollouts" / "part-000-000000.parquet", run / "prompts.parquet")
    texts = tuple(caveat if isinstance(caveat, str) else caveat[1] for caveat in found.caveats)
    return replace(found, caveats=texts), read_run(run), run


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        text = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
        path.write_text("\n".join(text) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def groups(table):
    """How many prompts there are of each number of rewards and mean."""
    return Counter((int(n), round(float(mean), 6)) for n, mean in zip(table.evidence.n, table.evidence.mean, strict=True))

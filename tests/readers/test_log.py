"""Every cell of every format as it is written: against Python's own csv and json."""

import duckdb

from flatspot.readers.log import open_log


def opened(tmp_path, *paths):
    """The rows of the view, its types, and the caveats."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    for old in scratch.iterdir():
        old.unlink()
    caveats = []
    with duckdb.connect(config={"memory_limit": "1GB"}) as db:
        types = open_log(db, paths, scratch, caveats)
        found = db.execute("SELECT * FROM log")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert list(types) == names
    return rows, types, caveats


def cells(rows):
    return [{name: cell for name, cell in row.items() if name not in ("_file", "_row")} for row in rows]


def test_csv_cells_are_text(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('id,prompt,reward\n007,"#, ""x""\n1",0.49\n1.10,,1e5\n')
    rows, types, caveats = opened(tmp_path, path)
    assert rows == [
        {"id": "007", "prompt": '#, "x"\n1', "reward": "0.49", "_file": str(path), "_row": 2},
        {"id": "1.10", "prompt": "", "reward": "1e5", "_file": str(path), "_row": 4},
    ]
    assert types == {"id": "VARCHAR", "prompt": "VARCHAR", "reward": "VARCHAR", "_file": "VARCHAR", "_row": "BIGINT"}
    assert caveats == []


def test_json_values_are_their_text(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": 12345678901234567890123, "r": 0.49, "p": "\\u00e9\\n"}\n\n{"id": "1", "r": null, "late": [1, 2.50]}\n')
    rows, types, _ = opened(tmp_path, path)
    assert rows == [
        {"id": "12345678901234567890123", "r": "0.49", "p": '"\\u00e9\\n"', "late": None, "_file": str(path), "_row": 1},
        {"id": '"1"', "r": "null", "p": None, "late": "[1, 2.50]", "_file": str(path), "_row": 3},
    ]
    assert set(types.values()) == {"JSON", "VARCHAR", "BIGINT"}

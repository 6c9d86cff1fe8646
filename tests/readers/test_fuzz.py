"""What the reader hands on equals what Python's own csv and json give, cell for cell, over random files.

A case is a small file. The fast suite has 2,000 of a fixed seed, the slow one 20,000; both read every file by itself and many of them
together through SQL.
"""

import csv
import io
import json
import random

import duckdb
import pytest

from flatspot.core.errors import FileError
from flatspot.readers.blocks import rows_of
from flatspot.readers.csv_rows import csv_blocks
from flatspot.readers.json_document import json_blocks
from flatspot.readers.json_rows import json_lines_blocks
from flatspot.readers.log import open_log

PIECES = [
    *"\",;\t|#'\\ \n\r",
    "\r\n",
    "\x00",
    "\u2028",
    "é",
    "😀",
    "\ufeff",
    "a",
    "b,c",
    '""',
    "[0, 1]",
    "{}",
    "null",
    "/*",
    "-- ",
    "=1+1",
    "\x0b",
]
NUMBERS = [
    "0",
    "1",
    "007",
    "1.10",
    "1.1",
    "1e5",
    "100000",
    "0.49",
    "-0",
    "12345678901234567890123",
    "NaN",
    "inf",
    "true",
    "None",
    "",
    "2026-01-01",
]
RAW_NUMBERS = [
    "0",
    "-0",
    "1",
    "1.10",
    "0.49",
    "1e5",
    "1E+05",
    "1e400",
    "12345678901234567890123",
    "0.1000000000000000055",
    "NaN",
    "-Infinity",
]
SEEDS = [pytest.param(2_000, id="2000"), pytest.param(20_000, id="20000", marks=pytest.mark.slow)]


def text(rng):
    return rng.choice(NUMBERS) if rng.random() < 0.5 else "".join(rng.choices(PIECES, k=rng.randrange(6)))


def csv_case(rng):
    """A CSV file, its delimiter, and what csv.reader gives."""
    delimiter = rng.choice(",;\t|")
    names = [f"column {i}" for i in range(rng.randrange(1, 5))]
    ends, quoted = rng.choice(["\n", "\r\n"]), rng.random() < 0.3

    def cell(value):
        needed = quoted or any(c in value for c in f'{delimiter}"\r\n') or (not value and len(names) == 1)
        return '"' + value.replace('"', '""') + '"' if needed else value

    table = [names, *([text(rng) for _ in names] for _ in range(rng.randrange(6)))]
    written = ends.join(delimiter.join(map(cell, row)) for row in table) + ends * rng.randrange(3)
    rows = [row for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter) if row]
    assert rows[0] == names
    return written, delimiter, [dict(zip(names, row, strict=True)) for row in rows[1:]]


def json_value(rng, depth=0):
    """The text of a random value."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(RAW_NUMBERS)
    if kind < 0.7:
        written = json.dumps(text(rng), ensure_ascii=rng.random() < 0.5)
        return written if rng.random() < 0.8 else '"\\u00e9\\ud83d\\ude00\\/\\b\\u0000"'
    if kind < 0.85 or depth > 2:
        return rng.choice(["null", "true", "false", "[]", "{}"])
    if rng.random() < 0.5:
        return "[" + ", ".join(json_value(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
    return "{" + ",".join(f"{json.dumps(text(rng))} :{json_value(rng, depth + 1)}" for _ in range(rng.randrange(3))) + "}"


def json_case(rng):
    """Rows as text, and the text of each of their values."""
    keys = rng.sample(["a", "b c", "é", "", 'q"', "deep", "\n"], rng.randrange(1, 5))
    flat, space = rng.random() < 0.5, rng.choice(["", " "])
    lines, expected = [], []
    for _ in range(rng.randrange(1, 6)):
        used = keys if flat else rng.sample(keys, rng.randrange(len(keys) + 1))
        values = {key: rng.choice([*RAW_NUMBERS, '"x"', "null"]) if flat else json_value(rng) for key in used}
        pairs = (f"{json.dumps(key)}:{space}{value}" for key, value in values.items())
        lines.append("{" + space + f",{space}".join(pairs) + space + "}")
        expected.append(values)
    return lines, expected


def same(raw, value):
    """Whether the text of a value is that value: NaN is itself, and numbers keep their text."""
    return repr(json.loads(raw, parse_float=str, parse_int=str)) == repr(value)


def renamed(rows):
    return [{name or "(no name)": value for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("n", SEEDS)
def test_csv_is_what_python_reads(n, tmp_path):
    rng = random.Random(n)
    together, expected = [], []
    for case in range(n // 2):
        written, delimiter, rows = csv_case(rng)
        notices = []
        found = [row for _, row in rows_of(csv_blocks(io.BytesIO(written.encode()), "x", notices, delimiter=delimiter))]
        assert (found, notices) == (rows, []), written
        if case % 50 == 0 and delimiter == "\t" and rows:
            together.append(tmp_path / f"{case}.tsv")
            together[-1].write_bytes(written.encode())
            expected += rows
    names = list(dict.fromkeys(name for row in expected for name in row))
    assert through_sql(tmp_path, together) == [tuple(row.get(name) for name in names) for row in expected]


@pytest.mark.parametrize("n", SEEDS)
def test_json_is_what_python_reads(n, tmp_path):
    rng = random.Random(n)
    together, expected = [], []
    for case in range(n // 2):
        lines, rows = json_case(rng)
        as_lines = "\n".join(lines) + "\n"
        notices = []
        found = [row for _, row in rows_of(json_lines_blocks(io.BytesIO(as_lines.encode()), "x", notices))]
        listed = "[" + ",\n".join(lines) + "]"
        document = [row for _, row in rows_of(json_blocks(io.BytesIO(listed.encode()), "x", notices))]
        assert (found, document, notices) == (rows, rows, []), as_lines
        for line, row in zip(lines, rows, strict=True):
            python = json.loads(line, parse_float=str, parse_int=str)
            assert python.keys() == row.keys() and all(same(row[key], python[key]) for key in row)
        if case % 50 == 0:
            together.append(tmp_path / f"{case}.jsonl")
            together[-1].write_bytes(as_lines.encode())
            expected += renamed(rows)
    names = list(dict.fromkeys(name for row in expected for name in row))
    assert through_sql(tmp_path, together) == [tuple(row.get(name) for name in names) for row in expected]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_files_longer_than_any_window_of_guessing(tmp_path, seed, ending):
    """Whole numbers for 20,500 rows, and then anything, in a column that was there and in a new one."""
    rng = random.Random(seed)
    rows = [{"a": str(i % 2), "b": f"{i % 7:03d}"} for i in range(20_500)]
    rows += [
        {"a": rng.choice(["0.49", "1.10", "#1", "", "null"]), "b": text(rng).replace("\r", ""), "late": text(rng).replace("\r", "")}
        for _ in range(500)
    ]
    path = tmp_path / f"log{ending}"
    if ending == ".csv":
        with path.open("w", newline="") as out:
            csv.writer(out).writerows(
                [["a", "b"], *(row.values() for row in rows[:20_500]), ["a", "b", "late"], *(row.values() for row in rows[20_500:])]
            )
        with path.open(newline="") as read:
            expected = [tuple(row) for row in csv.reader(read) if row[:2] != ["a", "b"]]
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        expected = [tuple(map(json.dumps, json.loads(line).values())) for line in path.read_text().splitlines()]
    found = through_sql(tmp_path, [path])
    assert found == [row if len(row) == 3 else (*row, None) for row in expected]


@pytest.mark.parametrize("n", SEEDS)
def test_damaged_lines_are_rows_exactly_where_python_reads_an_object(n):
    rng = random.Random(n)
    for _ in range(n // 10):
        lines, _ = json_case(rng)
        line = bytearray(rng.choice(lines).encode())
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(line) + 1)
            line[at : at + rng.randrange(3)] = rng.choice([b"", b'"', b"}", b",", b"\\", b"1", b" ", b"nul", b"]"])
        if b"\n" in line:
            continue
        try:
            python = json.loads(line.decode("utf-8", "surrogateescape"), object_pairs_hook=list)
        except ValueError:
            python = None
        notices = []
        try:
            found = [row for _, row in rows_of(json_lines_blocks(io.BytesIO(bytes(line)), "x", notices))]
        except FileError as error:
            assert "twice" in str(error)
            continue
        is_object = python is not None and line.strip().startswith(b"{")
        assert (len(found) == 1) == is_object, bytes(line)
        assert any(notice.kind == "row" for notice in notices) == bool(line.strip() and not is_object)


@pytest.mark.parametrize("n", SEEDS)
def test_any_bytes_are_rows_notices_or_an_error_of_ours(n):
    rng = random.Random(n)
    for _ in range(n // 10):
        written = bytearray(csv_case(rng)[0].encode() if rng.random() < 0.5 else "\n".join(json_case(rng)[0]).encode())
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(written) + 1)
            written[at : at + rng.randrange(4)] = bytes(rng.choices(b'\xff\x00",\n\r{}[]:\\\xc3a1', k=rng.randrange(3)))
        for read in (csv_blocks, json_lines_blocks, json_blocks):
            try:
                for block in read(io.BytesIO(bytes(written)), "x", []):
                    assert {len(cells) for cells in block.columns.values()} <= {len(block.lines)}
                    for cells in block.columns.values():
                        "".join(cell or "" for cell in cells).encode()
            except FileError:
                continue


def through_sql(tmp_path, files):
    """The rows of all the files, as the view `log` has them."""
    (tmp_path / "scratch").mkdir()
    with duckdb.connect() as db:
        open_log(db, files, tmp_path / "scratch", [])
        return db.execute("SELECT * EXCLUDE (_file, _row) FROM log").fetchall()

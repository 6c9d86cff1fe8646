"""Every cell of every format as it is written: against Python's own csv and json."""

import csv
import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import FileError
from flatspot.readers import json_rows
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


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def opened_cells(tmp_path, name, content):
    rows, _, caveats = opened(tmp_path, write(tmp_path / name, content))
    return cells(rows), caveats


N = 21_000  # more than DuckDB looks at to guess types


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.json"])
def test_rewards_far_down_are_what_is_written(tmp_path, name):
    rows = [{"id": "007", "reward": i % 2} for i in range(N)] + [{"id": "1.10", "reward": r} for r in (0.49, 1.5, 0.25)]
    if name == "log.csv":
        content = "id,reward\n" + "".join(f"{row['id']},{row['reward']}\n" for row in rows)
    else:
        content = jsonl(rows) if name == "log.jsonl" else json.dumps(rows)
    found, _ = opened_cells(tmp_path, name, content)
    quote = "" if name == "log.csv" else '"'
    assert found == [{"id": f"{quote}{row['id']}{quote}", "reward": str(row["reward"])} for row in rows]


def test_nulls_first_cost_no_reward(tmp_path):
    rows = [{"p": "a", "reward": None}] * N + [{"p": "a", "reward": 0.5}]
    found, _ = opened_cells(tmp_path, "log.jsonl", jsonl(rows))
    assert [row["reward"] for row in found] == ["null"] * N + ["0.5"]


def test_columns_that_first_appear_late_are_there(tmp_path):
    rows = [{"p": "a", "reward": 0}] * N + [{"p": "a", "reward": 0, "error": "boom"}]
    found, _ = opened_cells(tmp_path, "log.jsonl", jsonl(rows))
    assert [row["error"] for row in found] == [None] * N + ['"boom"']


def test_files_with_other_columns_keep_them(tmp_path):
    paths = [write(tmp_path / "1.csv", "p,reward\na,1\n"), write(tmp_path / "2.csv", "reward,error,p\n0,boom,b\n")]
    assert cells(opened(tmp_path, *paths)[0]) == [
        {"p": "a", "reward": "1", "error": None},
        {"p": "b", "reward": "0", "error": "boom"},
    ]


def test_rows_that_start_with_a_hash_are_rows(tmp_path):
    rows = [["#### 42" if i % 2 else "42", str(i % 2)] for i in range(320)]
    found, caveats = opened_cells(tmp_path, "log.csv", "completion,reward\n" + "".join(",".join(row) + "\n" for row in rows))
    assert [[row["completion"], row["reward"]] for row in found] == rows
    assert caveats == []


def test_a_second_header_names_the_rows_after_it(tmp_path):
    content = "step,p,reward\n" + "1,a,0\n" * 1000 + "step,p,reward,kl\n" + "2,b,1,0.5\n" * 20 + "step,p,reward,kl\n3,c,1,0.25\n"
    found, caveats = opened_cells(tmp_path, "log.csv", content)
    assert len(found) == 1021
    assert found[999] == {"step": "1", "p": "a", "reward": "0", "kl": None}
    assert found[1000] == {"step": "2", "p": "b", "reward": "1", "kl": "0.5"}
    assert found[-1]["kl"] == "0.25"
    assert "line 1002 (another header (step, p, reward, kl)" in caveats[0] and "line 1023 (the header again)" in caveats[0]


def test_a_new_header_may_move_columns(tmp_path):
    found, _ = opened_cells(tmp_path, "log.csv", "p,reward,step\na,1,7\nreward,p,iteration\n0,b,8\n")
    assert found == [
        {"p": "a", "reward": "1", "step": "7", "iteration": None},
        {"p": "b", "reward": "0", "step": None, "iteration": "8"},
    ]


@pytest.mark.parametrize("row", ["Which figure comes next?,A,B,C,D,2", "Which,A,B,C,D,2", "Which figure comes,A,B,C,D,C", "1,A,B,C,D,Z"])
def test_a_row_of_choices_is_no_header(tmp_path, row):
    found, caveats = opened_cells(tmp_path, "log.csv", f"question,A,B,C,D,answer\n{row}\n")
    assert ([list(cells.values()) for cells in found], caveats) == ([row.split(",")], [])


@pytest.mark.parametrize(
    ("end", "why"),
    [("q,", "2 cells for 3 columns"), ('"q', "a double quote that is never closed"), ('"q\nrest', "a double quote that is never closed")],
)
def test_a_cut_last_row_is_left_out_and_named(tmp_path, end, why):
    found, caveats = opened_cells(tmp_path, "log.csv", "p,c,reward\n" + "a,x,1\n" * 3 + end)
    assert len(found) == 3
    assert caveats == [f"1 row of log.csv was left out: line 5 ({why})."]


def test_rows_with_other_numbers_of_cells_are_named(tmp_path):
    rows = ["a,1"] * 30
    rows[4], rows[9], rows[20] = "a,b,1", "a", 'a "b" c,1'
    found, caveats = opened_cells(tmp_path, "log.csv", "p,reward\n" + "\n".join(rows) + "\n")
    assert len(found) == 28
    assert caveats == ["2 rows of log.csv were left out: line 6 (3 cells for 2 columns); line 11 (1 cell for 2 columns)."]


def test_too_many_bad_rows_are_an_error_of_the_file(tmp_path):
    with pytest.raises(FileError, match="3 of 4 rows are unreadable: its lines do not split into the same number of cells"):
        opened_cells(tmp_path, "log.csv", "p,reward\na,1\n" + "a,b,1\n" * 3)


def test_a_row_that_may_have_swallowed_others_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"log.csv:3: a double quote in this row has no partner"):
        opened_cells(tmp_path, "log.csv", 'p,reward\na,1\n"b,0\n' + "c,1\n" * 3)


def test_empty_cells_after_the_last_column_are_none(tmp_path):
    assert opened_cells(tmp_path, "log.csv", "p,reward\na,1,\nb,0\n")[0] == [{"p": "a", "reward": "1"}, {"p": "b", "reward": "0"}]


def test_nothing_in_a_path_is_a_pattern_or_a_key(tmp_path):
    names = ["log[1].csv", "log1.csv", "log*.csv", "reward=1/x?y.csv", "it's.csv"]
    paths = [write(tmp_path / "d" / name, f"p,reward\n{name},0\n") for name in names]
    for path, name in zip(paths, names, strict=True):
        assert cells(opened(tmp_path, path)[0]) == [{"p": name, "reward": "0"}]
    tables = [path.with_suffix(".parquet") for path in paths]
    for path, name in zip(tables, names, strict=True):
        pq.write_table(pa.table({"p": [name], "reward": [0]}), path)
        assert opened(tmp_path, path)[0] == [{"p": name, "reward": 0, "_file": str(path), "_row": 1}]


def test_a_scratch_folder_with_characters_of_patterns(tmp_path):
    (tmp_path / "x[1]*").mkdir()
    assert opened_cells(tmp_path / "x[1]*", "log.csv", "p,reward\na,1\n")[0] == [{"p": "a", "reward": "1"}]


@pytest.mark.parametrize("ids", [["1.1", "1.10"], ["1", "1.0"], ["1e5", "100000"], ["12345678901234567890123", "12345678901234567890124"]])
def test_ids_that_look_like_numbers_stay_apart(tmp_path, ids):
    assert [row["id"] for row in opened_cells(tmp_path, "log.csv", "id,reward\n" + "".join(f"{x},1\n" for x in ids))[0]] == ids
    found, _ = opened_cells(tmp_path, "log.jsonl", "".join(f'{{"id": {x}, "reward": 1}}\n' for x in ids))
    assert [row["id"] for row in found] == ids


def test_a_thousand_small_files(tmp_path):
    paths = [write(tmp_path / f"{i}.jsonl", f'{{"p": "a", "reward": {i}}}\n') for i in range(1000)]
    found = opened(tmp_path, *paths)[0]
    assert [(row["reward"], row["_file"]) for row in found] == [(str(i), str(path)) for i, path in enumerate(paths)]


def test_rows_that_are_alike_are_not_read_one_by_one(tmp_path, monkeypatch):
    """Each file of a log begins anew; what its rows look like is told by the first of them."""
    read, only_members = [], json_rows.only_members
    monkeypatch.setattr(json_rows, "only_members", lambda text: read.append(text) or only_members(text))
    rows = [{"prompt": f"p{i % 7}", "reward": i % 3, "note": None} for i in range(500)]
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    (tmp_path / "scratch").mkdir()
    with duckdb.connect() as db:
        open_log(db, files, tmp_path / "scratch", [])
        found = db.execute("SELECT prompt, reward, _row FROM log WHERE _file LIKE '%b.jsonl' ORDER BY _row").fetchall()
    assert found == [(json.dumps(row["prompt"]), str(row["reward"]), i) for i, row in enumerate(rows, 1)]
    assert len(read) == 3


def test_parquet_files_keep_their_types_and_number_their_rows(tmp_path):
    pq.write_table(pa.table({"id": [7], "reward": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": ["007", "x"], "reward": [0.5, None], "late": [True, False]}), tmp_path / "2.parquet")
    rows, types, _ = opened(tmp_path, tmp_path / "1.parquet", tmp_path / "2.parquet")
    assert [(row["id"], row["reward"], row["late"], row["_row"]) for row in rows] == [
        ("7", 1.0, None, 1),
        ("007", 0.5, True, 1),
        ("x", None, False, 2),
    ]
    assert types["reward"] == "DOUBLE"


def test_parquet_columns_with_the_names_of_the_readers_own(tmp_path):
    table = pa.table({"reward": [1], "filename": ["a"], "file_row_number": [5], "_file": ["mine"], "": [3]})
    pq.write_table(table, tmp_path / "1.parquet")
    rows, _, caveats = opened(tmp_path, tmp_path / "1.parquet")
    assert rows == [{"reward": 1, "filename": "a", "file_row_number": 5, "_file": str(tmp_path / "1.parquet"), "_row": None}]
    assert "_file" in caveats[0]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0.5], [[0.5, 1.0]], "the column 'r' holds decimal numbers in"),
        (["text"], [[{"role": "user", "content": "x"}]], "the column 'r' holds other values in"),
        ([{"a": 1}], ["text"], "the column 'r' holds structures in"),
        ([2**53 + 1], [0.5], "1.parquet: the column 'r' holds whole numbers here that a decimal number cannot hold (9007199254740993)"),
    ],
)
def test_parquet_columns_that_do_not_go_together(tmp_path, first, second, message):
    for name, values in (("1.parquet", first), ("2.parquet", second)):
        pq.write_table(pa.table({"r": values}), tmp_path / name)
    with pytest.raises(FileError) as raised:
        opened(tmp_path, tmp_path / "1.parquet", tmp_path / "2.parquet")
    assert message in str(raised.value)


def test_parquet_columns_that_go_together(tmp_path):
    tables = [{"r": [7]}, {"r": pa.nulls(1)}, {"r": [0.5]}, {"r": [True]}]
    for i, table in enumerate(tables):
        pq.write_table(pa.table(table), tmp_path / f"{i}.parquet")
    rows, types, _ = opened(tmp_path, *(tmp_path / f"{i}.parquet" for i in range(4)))
    assert ([row["r"] for row in rows], types["r"]) == ([7.0, None, 0.5, 1.0], "DOUBLE")


@pytest.mark.parametrize(
    ("content", "expected", "told"),
    [
        ('{"p": "a", "r": 0.50}\n{"p": "b"}\n', [{"p": '"a"', "r": "0.50"}, {"p": '"b"', "r": None}], None),
        ('{\n "p": "a"\n}\n{\n "p": "b"}', [{"p": '"a"'}, {"p": '"b"'}], None),
        ('{"data": [{"p": "a"}], "n": 1}', [{"p": '"a"'}], "log.json: the rows are those of its list 'data'."),
        ('{"columns": ["p", "r"], "data": [["a", 0.50], ["b", null]]}', [{"p": '"a"', "r": "0.50"}, {"p": '"b"', "r": "null"}], None),
        (
            '{"p": [{"role": "assistant", "tool_calls": [1]}], "r": 1}',
            [{"p": '[{"role": "assistant", "tool_calls": [1]}]', "r": "1"}],
            None,
        ),
        ('{"data": [{"p": ' + "1" * 5_000 + "}]}", [{"p": "1" * 5_000}], "log.json: the rows are those of its list 'data'."),
        ('{"columns": ["p", ' + "1" * 5_000 + '], "data": [["a", 1]]}', [{"p": '"a"', "1" * 5_000: "1"}], None),
        (
            '{"p": "a"}\n{"p": 1}\n3\n',
            [{"p": '"a"'}, {"p": "1"}],
            "1 row of log.json was left out: row 3 (expected an object, got '3' (a int)).",
        ),
        ('{"p": "a"}\n{\n"p": 1}\n', [{"p": '"a"'}, {"p": "1"}], None),
        ('{"p": [{"role": "user", "content": "x"}], "r": 1}', [{"p": '[{"role": "user", "content": "x"}]', "r": "1"}], None),
        (' [{"p": "a"}, 3]', [{"p": '"a"'}], "1 row of log.json was left out: row 2 (expected an object, got '3')."),
    ],
)
def test_documents(tmp_path, content, expected, told):
    assert opened_cells(tmp_path, "log.json", content) == (expected, [told] if told else [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.json", '{"a": [{"p": 1}], "b": [{"p": 1}]}', "several lists of objects ('a', 'b')"),
        ("log.json", '{"p": {"0": "a"}, "r": {"0": 1}}', "orient='records'"),
        ("log.json", "hello", "it starts with 'hello'"),
        ("log.json", '[{"p": 1}]\n[{"p": 2}]', "log.json:2: not JSON: Extra data at column 1"),
        ("log.json", '[{"p": 1},]', "Expecting value at column 11"),
        ("log.json", '[{"p": 1},\n {"p": ]', "log.json:2: not JSON: Expecting value at column 8"),
        ("log.json", '[{"p": 1, "p": 2}]', "row 1: the key 'p' is there twice"),
        ("log.json", "[" * 100_000, "nested too deeply"),
        ("log.jsonl", '{"p": 1}\n{"p": 1, "P": 2}\n', "the columns 'p' and 'P' differ in case alone"),
        ("log.csv", "réponse,reward\ncafé,1\n".encode("utf-16-le"), "its zero bytes look like UTF-16LE without a byte order mark"),
        (
            "log.csv",
            "p,réward\na,1\n".encode("latin-1"),
            "log.csv:1: a column's name is not UTF-8 (byte 4 is not UTF-8). If the file is Latin-1",
        ),
        ("log.jsonl", '{"réward": 1}'.encode("latin-1"), "log.jsonl:1: a column's name is not UTF-8 (byte 4 is not UTF-8). If the"),
        ("log.csv", b"PAR1\0\0", "this is a Parquet file, whatever its name says"),
        ("log.jsonl", b"\x1f\x8b\x08", "this is packed with gzip"),
        ("log.csv", "\ufeff".encode("utf-16-le") + b"a", "is not UTF-16"),
        ("log.jsonl", jsonl([{f"k{i}": 1 for i in range(5_001)}]), "more than 5,000 different columns"),
    ],
)
def test_what_is_refused_is_named(tmp_path, name, content, message):
    with pytest.raises(FileError) as raised:
        opened_cells(tmp_path, name, content)
    assert message in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.json"])
def test_encodings_with_a_mark(tmp_path, name, encoding):
    content = "réponse,reward\ncafé,1\n" if name == "log.csv" else '{"réponse": "café", "reward": 1}\n'
    found, caveats = opened_cells(tmp_path, name, content.encode(encoding))
    quote = "" if name == "log.csv" else '"'
    assert (found, caveats) == ([{"réponse": f"{quote}café{quote}", "reward": "1"}], [])


def test_bytes_of_another_encoding_keep_texts_apart_and_are_named(tmp_path):
    found, caveats = opened_cells(tmp_path, "log.csv", "p,reward\ncafé,1\ncafè,0\n".encode("latin-1"))
    assert [row["p"] for row in found] == ["caf\\xe9", "caf\\xe8"]
    assert caveats[0].startswith("2 lines of log.csv hold bytes that are not UTF-8") and "WINDOWS-1252" in caveats[0]
    found, caveats = opened_cells(tmp_path, "log.jsonl", '{"p": "café"}\n{"p": "cafè"}\n'.encode("latin-1"))
    assert [json.loads(row["p"]) for row in found] == ["caf\\xe9", "caf\\xe8"]
    assert len(caveats) == 1


def test_unpaired_surrogates_are_shown_and_counted(tmp_path):
    found, caveats = opened_cells(tmp_path, "log.jsonl", '{"p": "\\ud83d\\ude00 \\ud800 \\\\ud800", "\\udc00": 1.10}\n')
    assert found == [{"p": '"\\ud83d\\ude00 \\ufffd \\\\ud800"', "\ufffd": "1.10"}]
    assert "unpaired surrogates in 1 line" in caveats[0]


def test_an_empty_key_and_many_sparse_ones(tmp_path):
    rows = [{"": i, "p": "a", f"key {i % 300}": i} for i in range(3_000)]
    found, _ = opened_cells(tmp_path, "log.jsonl", jsonl(rows))
    assert [row["(no name)"] for row in found] == [str(i) for i in range(3_000)]
    assert sum(row["key 7"] is not None for row in found) == 10


def test_rows_longer_than_a_chunk(tmp_path):
    long = "é" * 600_000 + '\n,"x'
    rows = [{"p": long, "reward": i} for i in range(2)]
    found, _ = opened_cells(tmp_path, "log.jsonl", jsonl(rows))
    assert [json.loads(row["p"]) for row in found] == [long] * 2
    with (tmp_path / "log.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["p", "reward"])
        writer.writeheader()
        writer.writerows(rows)
    assert cells(opened(tmp_path, tmp_path / "log.csv")[0]) == [{"p": long, "reward": str(i)} for i in range(2)]


def test_a_full_scratch_folder_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(FileError, match=r"No space left on device\. Set TMPDIR to a folder with enough space"):
        opened_cells(tmp_path, "log.csv", "p,reward\na,1\n")


@pytest.mark.parametrize("value", ["True", "false", "None", "nan", "yes"])
def test_a_row_of_values_is_no_header_though_its_cells_are_names(tmp_path, value):
    (tmp_path / "a.csv").write_text(f"prompt,completion,reward\na,b,True\nprompt,completion,{value}\nc,d,False\n")
    rows, _, caveats = opened(tmp_path, tmp_path / "a.csv")
    assert [row["reward"] for row in rows] == ["True", value, "False"]
    assert not caveats


def test_a_line_of_digits_and_one_after_a_mark(tmp_path):
    found, caveats = opened_cells(tmp_path, "log.jsonl", '{"p": 1}\n' + "7" * 5_000 + '\n\ufeff{"p": 2}\n')
    assert found == [{"p": "1"}, {"p": "2"}]
    assert caveats == [f"1 row of log.jsonl was left out: line 2 (expected an object, got '{'7' * 40}')."]


def test_an_empty_key_and_one_of_its_name_are_not_one(tmp_path):
    with pytest.raises(FileError, match=r"log\.jsonl:1: the keys '' and '\(no name\)' are one column here"):
        opened_cells(tmp_path, "log.jsonl", '{"": 1, "(no name)": 2}\n')

"""Prompt files: the wrong ones first."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt, prompt_id
from flatspot.tasks import load_prompts, read_prompts

CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2+2="}]


def write(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"prompt": "a"', "bad.jsonl:2: not JSON: Expecting ',' delimiter at column 15"),
        (b'{"prompt": "\xff"}', "bad.jsonl:2: byte 13 is not UTF-8"),
        (b'"a"', "bad.jsonl:2: expected an object, got 'a' (a str)"),
        (b'{"other": 1}', "bad.jsonl:2: the column 'prompt' is missing or null"),
        (b'{"prompt": null}', "bad.jsonl:2: the column 'prompt' is missing or null"),
        (b'{"prompt": NaN}', "bad.jsonl:2: the column 'prompt' is missing or null"),
        (b'{"prompt": " "}', "bad.jsonl:2: the column 'prompt' is empty"),
        (b'{"prompt": 3}', "bad.jsonl:2: the column 'prompt' holds 3 (a int); expected text or a list of messages"),
        (b'{"prompt": {"role": "user"}}', "bad.jsonl:2: the column 'prompt' holds {'role': 'user'} (a dict)"),
        (b'{"prompt": []}', "bad.jsonl:2: the column 'prompt' is an empty list"),
        (b'{"prompt": ["a"]}', "bad.jsonl:2: message 1 is 'a' (a str); expected an object with role and content"),
        (b'{"prompt": [{"role": "user"}]}', "bad.jsonl:2: message 1 has content nothing; expected text"),
        (b'{"prompt": [{"role": 1, "content": "a"}]}', "bad.jsonl:2: message 1 has role 1 (a int); expected text"),
        (b'{"prompt": "b", "id": "x"}', "bad.jsonl:2: the id 'x' is that of"),
        (b'{"prompt": "b\\ud800"}', "bad.jsonl:2: the prompt or its id holds \\ud800, half of a character"),
        (b'{"prompt": "b", "id": "\\udc00"}', "bad.jsonl:2: the prompt or its id holds \\udc00, half of a character"),
        (b'{"prompt": [{"role": "user", "content": "\\udfff"}]}', "bad.jsonl:2: the prompt or its id holds \\udfff"),
        (b'{"prompt": "b", "prompt": "c"}', "bad.jsonl:2: the key 'prompt' is there twice; rename or drop one"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, line: bytes, expected: str) -> None:
    path = write(tmp_path, "bad.jsonl", b'{"prompt": "fine", "id": "x"}\n' + line + b"\n")
    with pytest.raises(PromptFileError) as raised:
        read_prompts(path)
    assert expected in str(raised.value)


def test_only_a_handful_of_bad_rows_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "bad.jsonl", jsonl({"prompt": "a"}, *[{"prompt": ""}] * 12))
    with pytest.raises(PromptFileError, match="12 rows cannot be read") as raised:
        read_prompts(path)
    assert str(raised.value).count("is empty") == 5 and "… and 7 more" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.tsv", "prompt\n", "no prompts"),
        ("none.jsonl", "", "no prompts"),
        ("none.jsonl", "\n \n", "no prompts"),
        ("none.csv", "prompt\n", "no prompts"),
        ("none.json", "[]", "no prompts"),
        ("a.json", "{}", "no column 'prompt'; the columns are none"),
        ("a.json", '{"train": [{"prompt": "a"}], "test": [{"prompt": "b"}]}', "several lists of objects ('train', 'test')"),
        ("a.json", '[{"prompt": "a"},\n{"prompt": ]', "a.json:2: not JSON: Expecting value at column 12"),
        ("a.json", "[1]", "row 1: expected an object, got '1'"),
        ("a.jsonl", '{"prompt": "a", "n": ' + "1" * 5000 + "}", "a.jsonl:1: not JSON that can be read: Exceeds the limit"),
        ("a.csv", "prompt,b\na,1\nb,1,2\nc,3\nd,4\ne,5\n", "a.csv:3: 3 cells for 2 columns"),
        ("a.csv", 'prompt,b\na,1\n"b,2', "a.csv:3: a double quote that is never closed"),
        ("a.csv", "prompt,b\na,1\nprompt,b\nc,2\n", "a.csv:3: the header again"),
        ("a.csv", "prompt,b,c\na,1,2\nprompt,b,d\nc,2,3\n", "a.csv:3: another header (prompt, b, d)"),
        ("a.csv", "prompt,b\ncafé,1\n".encode("latin-1"), "a.csv:2: byte 4 is not UTF-8"),
        ("a.csv", "prompt\né\n".encode("utf-16-le"), "look like UTF-16LE without a byte order mark"),
        ("a.parquet", "not parquet", "cannot be read as Parquet"),
        ("a.txt", "hello", "expected it to end in .jsonl"),
        (
            "a.jsonl",
            '{"question": "a", "b": 1}\n',
            "the columns are question, b. Name the one that holds the prompts: --prompt-col question",
        ),
    ],
)
def test_a_file_of_the_wrong_kind(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    with pytest.raises(PromptFileError) as raised:
        read_prompts(write(tmp_path, name, content))
    assert expected in str(raised.value)


def test_no_file_a_folder_and_a_silly_limit(tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "absent.jsonl", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(PromptFileError, match=expected):
            read_prompts(path)
    with pytest.raises(PromptFileError, match="limit must be at least 1"):
        read_prompts(tmp_path / "absent.jsonl", limit=0)


def test_the_same_rows_in_every_format_are_the_same_prompts(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2+2=", "reference": "4", "level": "1"},
        {"prompt": 'name, "quoted"\nsecond line é', "reference": None, "level": "2"},
    ]
    csv = 'prompt,reference,level\n2+2=,4,1\n"name, ""quoted""\nsecond line é",,2\n'
    files = [write(tmp_path, "a.jsonl", jsonl(*rows)), write(tmp_path, "a.json", json.dumps(rows)), write(tmp_path, "a.csv", csv)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = [[(p.id, p.text, dict(p.columns)) for p in read_prompts(path)] for path in (*files, tmp_path / "a.parquet")]
    assert read[0] == [(prompt_id(r["prompt"]), r["prompt"], {"reference": r["reference"], "level": r["level"]}) for r in rows]  # type: ignore[arg-type]
    assert read[1:] == [read[0]] * 3


def test_chat_messages_from_jsonl_and_parquet_have_one_id(tmp_path: Path) -> None:
    rows = [{"prompt": CHAT}, {"prompt": [{"role": "user", "content": "hi", "name": "Ann"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = read_prompts(write(tmp_path, "a.jsonl", jsonl(*rows))), read_prompts(tmp_path / "a.parquet")
    assert [p.id for p in first] == [p.id for p in second]
    assert first[0].is_chat and [dict(m) for m in first[0].text] == CHAT  # type: ignore[arg-type]


def test_csv_keeps_every_cell_as_written(tmp_path: Path) -> None:
    prompt = read_prompts(write(tmp_path, "a.csv", "id,prompt,reference,n,key,level\n007,12,1.50,3,007,1e5\n"))[0]
    assert (prompt.id, prompt.text, prompt.references) == ("007", "12", ("1.50",))
    assert [prompt.columns[name] for name in ("n", "key", "level")] == ["3", "007", "1e5"]


def test_ids_are_the_text_that_stands_in_the_file(tmp_path: Path) -> None:
    numbers = ["1.10", "1.1", "1e5", "100000", "12345678901234567890123", "1", "1.0"]
    lines = "".join(f'{{"prompt": "a", "id": {n}}}\n' for n in numbers)
    assert [p.id for p in read_prompts(write(tmp_path, "a.jsonl", lines))] == numbers
    assert [p.id for p in read_prompts(write(tmp_path, "a.csv", "prompt,id\n" + "".join(f"a,{n}\n" for n in numbers)))] == numbers


def test_csv_rows_that_start_with_a_hash_and_tsv(tmp_path: Path) -> None:
    assert [p.text for p in read_prompts(write(tmp_path, "a.csv", "prompt,n\n# one,1\n2,2\n"))] == ["# one", "2"]
    assert [p.text for p in read_prompts(write(tmp_path, "a.tsv", "prompt\tn\na, b\t1\n"))] == ["a, b"]
    assert [p.text for p in read_prompts(write(tmp_path, "b.csv", "prompt;n\na, b;1\n"))] == ["a, b"]


@pytest.mark.parametrize(
    "content",
    [
        '{"prompt": "a"}\n{"prompt": "b"}',
        '{"data": [{"prompt": "a"}, {"prompt": "b"}]}',
        '{"columns": ["prompt"], "data": [["a"], ["b"]]}',
        '{"prompt":\n "a"}\n{"prompt": "b"}',
    ],
)
def test_a_json_document_may_hold_its_rows_otherwise(tmp_path: Path, content: str) -> None:
    assert [p.text for p in read_prompts(write(tmp_path, "a.json", content))] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings_with_a_mark(tmp_path: Path, encoding: str) -> None:
    for name, content in (("a.jsonl", '{"prompt": "é"}'), ("a.csv", "prompt\né"), ("a.json", '[{"prompt": "é"}]')):
        assert [p.text for p in read_prompts(write(tmp_path, name, content.encode(encoding)))] == ["é"]


def test_dates_that_python_cannot_hold_are_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a"],
            "far": pa.array([10**9], pa.date32()),
            "fine": pa.array([1], pa.timestamp("ns")),
            "day": pa.array([0], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = read_prompts(tmp_path / "a.parquet")[0].columns
    assert isinstance(columns["far"], str) and str(columns["day"]) == "1970-01-01" and "1970-01-01" in str(columns["fine"])


def test_a_json_text_of_messages_in_csv_stays_text(tmp_path: Path) -> None:
    assert read_prompts(write(tmp_path, "a.csv", 'prompt\n"[{""role"": ""user""}]"\n'))[0].text == '[{"role": "user"}]'


def test_repeated_prompts_get_suffixes_and_given_ids_stay(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "a"}, {"prompt": "a", "id": 7}, {"prompt": "a", "id": None}, {"prompt": "b", "id": ""}]
    name = prompt_id("a")
    assert [p.id for p in read_prompts(write(tmp_path, "a.jsonl", jsonl(*rows)))] == [name, f"{name}-2", "7", f"{name}-3", prompt_id("b")]


def test_byte_order_mark_line_separators_and_crlf(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + '{"prompt": "a\u2028b"}\r\n\r\n{"prompt": "c"}'.encode())
    assert [p.text for p in read_prompts(path)] == ["a\u2028b", "c"]


def test_limit_reads_no_further(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", jsonl({"prompt": "a"}, {"prompt": "b"}) + "broken")
    assert [p.text for p in read_prompts(path, limit=2)] == ["a", "b"]
    with pytest.raises(PromptFileError, match=":3: not JSON"):
        read_prompts(path)


def test_other_columns_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", jsonl({"messages": CHAT, "key": "k", "prompt": "kept"}))
    prompt = read_prompts(path, prompt_col="messages", id_col="key")[0]
    assert prompt.is_chat and prompt.id == "k" and prompt.columns == {"prompt": "kept"}


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"prompt": "a"}\n{}\n')))
    with pytest.raises(PromptFileError, match="standard input:2"):
        load_prompts("-")


def test_python_lists_of_everything() -> None:
    given = Prompt("mine", CHAT, {"reference": "4"})
    prompts = load_prompts(["a", {"prompt": "b", "x": 1}, given, "a"])
    assert prompts[2] == Prompt("mine", CHAT, {"x": None, "reference": "4"})  # a column that another row has is None here
    assert [p.id for p in prompts] == [prompt_id("a"), prompt_id("b"), "mine", prompt_id("a") + "-2"]
    assert [p.text for p in load_prompts(["a", "b"], limit=1)] == ["a"]
    for wrong, expected in (
        ([1], "item 1 is a int"),
        ([], "no prompts"),
        (3, "expected a path"),
        ([""], "item 1: the column 'prompt' is empty"),
    ):
        with pytest.raises(PromptFileError, match=expected):
            load_prompts(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.JSONL", "a.NdJson", "a.Json", "a.CSV", "a.Parquet"])
def test_the_case_of_an_ending_does_not_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ending = path.suffix.lower()
    if ending == ".parquet":
        pq.write_table(pa.table({"prompt": ["a"]}), path)
    else:
        path.write_text({".csv": "prompt\na\n", ".json": '[{"prompt": "a"}]'}.get(ending, '{"prompt": "a"}\n'))
    assert [prompt.text for prompt in read_prompts(path)] == ["a"]


def test_a_packed_file_is_to_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"expected it to end in \.jsonl, .*\.parquet; unpack it first"):
        read_prompts(write(tmp_path, "a.json.gz", b""))


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(twice, tmp_path / "a.parquet")
    files = [
        tmp_path / "a.parquet",
        write(tmp_path, "a.csv", "prompt,prompt\na,b\n"),
        write(tmp_path, "a.json", '[{"prompt":1,"prompt":2}]'),
    ]
    for path in files:
        with pytest.raises(PromptFileError, match="'prompt' is there twice"):
            read_prompts(path)


def test_an_answer_of_more_digits_than_a_float_holds_is_an_answer(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", f'{{"prompt": "10**400?", "reference": {10**400}}}\n')
    assert read_prompts(path)[0].references == (str(10**400),)


def test_half_characters_in_other_columns_are_handed_on(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"prompt": "a", "reference": "\\ud800"}\n')
    assert read_prompts(path)[0].references == ("\ud800",)


def test_a_list_nested_too_deeply_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match="nested too deeply"):
        read_prompts(write(tmp_path, "a.json", "[" * 100_000 + "]" * 100_000))


def test_a_prompt_object_keeps_every_column():
    """Item 40's sibling: a further column called `prompt` or `id` was lost, and the reward got none."""
    given = [Prompt("a", "2+2=", {"prompt": "an old text", "id": 7, "reference": "4"}), {"prompt": "3+3=", "id": "b"}]
    found = load_prompts(given)
    assert [(prompt.id, prompt.text) for prompt in found] == [("a", "2+2="), ("b", "3+3=")]
    assert found[0].columns == given[0].columns and set(found[1].columns.values()) == {None}

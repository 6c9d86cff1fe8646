"""Many notices are counted, and too many bad lines are no log."""

import duckdb
import pytest

from flatspot.core.errors import FileError, PromptFileError
from flatspot.readers.blocks import MOST_NOTICES
from flatspot.readers.files import file_blocks
from flatspot.readers.log import open_log
from flatspot.tasks import read_prompts


def opened(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "scratch").mkdir()
    caveats = []
    with duckdb.connect() as db:
        open_log(db, [tmp_path / name], tmp_path / "scratch", caveats)
        return db.execute("SELECT count(*) FROM log").fetchone()[0], caveats


@pytest.mark.parametrize(
    ("name", "start", "row", "bad"),
    [
        ("log.csv", b"p,r\n", b"a,1\n", b"a\n"),
        ("log.csv", b"p,r\n", b"a,1\n", b"\xe9,1\n"),
        ("log.jsonl", b"", b'{"p": 1}\n', b"3\n"),
        ("log.jsonl", b"", b'{"p": 1}\n', b'{"p": "\xe9"}\n'),
        ("log.jsonl", b"", b'{"p": 1}\n', b'{"p": "\\ud800"}\n'),
    ],
)
def test_many_notices_are_few_objects_and_counted(tmp_path, name, start, row, bad):
    content = start + row * 4 + (bad + row * 4) * 500
    caveats = opened(tmp_path, name, content)[1]
    assert len(caveats) == 1 and "500" in caveats[0].split()[:6]
    notices = []
    list(file_blocks(tmp_path / name, notices))
    assert len(notices) == MOST_NOTICES + 1


def test_all_of_many_bad_rows_of_a_prompt_file_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n' + "3\n" * 500)
    with pytest.raises(PromptFileError, match="500 rows cannot be read") as raised:
        read_prompts(tmp_path / "a.jsonl")
    assert "a.jsonl:2: expected an object" in str(raised.value) and "… and 495 more" in str(raised.value)


@pytest.mark.parametrize(("name", "unit"), [("log.jsonl", "line"), ("log.json", "row")])
def test_a_file_of_mostly_bad_lines_is_refused(tmp_path, name, unit):
    rows, start, end = ['{"p": 1}'] * 8 + ["3"] * 11, "[" if unit == "row" else "", "]" if unit == "row" else ""
    content = start + ("," if unit == "row" else "\n").join(rows) + end
    (tmp_path / "few").mkdir()
    assert opened(tmp_path / "few", name, content.replace("3", '{"q": 1}', 1).encode())[0] == 9
    with pytest.raises(FileError, match=rf"{name}: 11 of 19 {unit}s are not JSON objects, such as {unit} 9 \(expected an object"):
        opened(tmp_path, name, content.encode())

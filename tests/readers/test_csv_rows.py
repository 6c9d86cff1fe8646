"""What a block of CSV says of itself, and headers within a file."""

import io

import pytest

from flatspot.readers.blocks import rows_of
from flatspot.readers.csv_rows import csv_blocks


def read(text):
    notices = []
    return list(csv_blocks(io.BytesIO(text.encode()), "x.csv", notices)), notices


@pytest.mark.parametrize("row", ["a,bc\n", "a,bc,\n", "a,bc\n\n"])
def test_a_block_says_how_large_it_is(row):
    blocks, _ = read("p,r\n" + row * 20)
    assert sum(block.size for block in blocks) == 60


@pytest.mark.parametrize("further", ["", "x,\n", "reward,1\n"])
def test_a_header_again_is_one_whatever_else_is_read_with_it(further):
    """The header's own spelling is known again, with its spaces."""
    first = "a,1\n" * 20_000  # more than is read at once
    blocks, notices = read(f" prompt , reward\n{first}{further} prompt , reward\nb,0\n")
    assert [row["prompt"] for _, row in rows_of(blocks)][19_999:] == [
        "a",
        *(["x"] if further[:1] == "x" else ["reward"] * bool(further)),
        "b",
    ]
    assert [notice.why for notice in notices] == ["the header again"]


@pytest.mark.parametrize("first", ["prompt", '"prompt"'])
@pytest.mark.parametrize("more", ["", ",kl"])
def test_the_header_of_a_joined_file_has_its_byte_order_mark_off(first, more):
    blocks, notices = read(f"{first},reward\na,1\n\ufeff{first},reward{more}\nb,0{',2' if more else ''}\n")
    assert [row for _, row in rows_of(blocks)] == [
        {"prompt": "a", "reward": "1"},
        {"prompt": "b", "reward": "0"} | ({"kl": "2"} if more else {}),
    ]
    assert [notice.kind for notice in notices] == ["header"]


def test_a_mark_within_a_cell_stays():
    assert [row["prompt"] for _, row in rows_of(read("prompt,reward\n\ufeffa,1\n")[0])] == ["\ufeffa"]

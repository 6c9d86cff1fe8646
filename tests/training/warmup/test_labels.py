"""Labels whose answers stand in another column: the message names it."""

import pytest

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt
from flatspot.training.warmup.labels import _answers, read_labels


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"solution": "4"}, "Name it: --answer-col solution"),
        ({"level": 2, "Output": "4", "label": None}, "Name it: --answer-col Output"),
        ({"reward_model": {"ground_truth": "4"}}, "Name it: --answer-col NAME"),
        (
            {"answer": None, "reference": "4"},
            "none of the 2 rows has an answer.*or learn the 2 of the column 'reference': --answer-col reference",
        ),
        ({"answer": None}, "write them into the column 'answer'$"),
    ],
)
def test_a_likely_column_is_named(row, said):
    with pytest.raises(PromptFileError, match=said):
        read_labels([{"prompt": f"p{i}", **row} for i in range(2)], "no-run")


def test_whole_numbers_that_a_table_made_floats_are_taught_as_whole_numbers():
    assert _answers(Prompt("a", "q", {"answer": [4.0, 0.5]}), "answer", "labels") == ["4", "0.5"]


def test_a_missing_number_is_no_answer_to_teach():
    with pytest.raises(PromptFileError, match="must be text that is not empty"):
        _answers(Prompt("a", "q", {"answer": float("nan")}), "answer", "labels")

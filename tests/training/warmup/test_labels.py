"""Labels with their answers in another column: the message names it."""

import pytest

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt
from flatspot.training.warmup.labels import _answers, read_labels


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"solution": "4"}, "Set --answer-col solution"),
        ({"level": 2, "Output": "4", "label": None}, "Set --answer-col Output"),
        ({"reward_model": {"ground_truth": "4"}}, "Set --answer-col NAME"),
        (
            {"answer": None, "reference": "4"},
            "none of the 2 rows has an answer.*or use the 2 in the column 'reference': --answer-col reference",
        ),
        ({"answer": None}, "write them into the column 'answer'$"),
    ],
)
def test_a_likely_column_is_named(row, message):
    with pytest.raises(PromptFileError, match=message):
        read_labels([{"prompt": f"p{i}", **row} for i in range(2)], "no-run")


def test_whole_numbers_that_a_table_made_floats_are_used_as_whole_numbers():
    assert _answers(Prompt("a", "q", {"answer": [4.0, 0.5]}), "answer", "labels") == ["4", "0.5"]


def test_a_missing_number_is_not_an_answer():
    with pytest.raises(PromptFileError, match="must be nonempty text"):
        _answers(Prompt("a", "q", {"answer": float("nan")}), "answer", "labels")

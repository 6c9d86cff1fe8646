"""Digests of what was asked: by content, and of what has none, equal to nothing that another process saw."""

import datetime
import os
import subprocess
import sys

import numpy as np
import pytest

from flatspot.core.records import Prompt
from flatspot.rollouts.identity import digest


def of(value):
    return digest([Prompt("a", "a", {"x": value}).columns])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.r_[np.zeros(5000), 1.0], np.r_[np.zeros(2500), 1.0, np.zeros(2500)]),  # alike in NumPy's own text
        ({"a", "b"}, {"a", "c"}),
        (b"1", b"2"),
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
    ],
)
def test_columns_count_by_their_content(one, other):
    import copy

    assert of(one) == of(copy.deepcopy(one)) != of(other)


def test_digests_of_what_json_holds_are_those_of_the_first_version():
    assert digest({"b": [1, "x", None], "a": 0.5}, 16) == "197701e1b5cb24c3"


def test_an_object_without_content_is_equal_to_none_of_another_process():
    asked = "digest({'check': object()}), digest({'check': object()}), digest({'x': {'b', 'a'}})"
    code = f"from flatspot.rollouts.identity import digest; print({asked})"
    told = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed}
        ).stdout.split()
        for seed in "12"
    ]
    assert told[0][0] == told[0][1] != told[1][0]
    assert told[0][2] == told[1][2]

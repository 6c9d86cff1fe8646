"""One reader of key=value for rewards and data sets, against splitting by hand."""

import itertools
import json

import pytest

from flatspot.core.errors import PromptFileError, RewardLoadError
from flatspot.core.pairs import read_pairs
from flatspot.rewards.spec import parse_spec
from flatspot.tasks.gym import parse_gym

VALUES = ["1", " 2 ", "[1,2]", '"a, b=c"', r"\d{1,3}", "", "x y", '[["a"],["b=c, d=e"]]', "true", '"']


@pytest.mark.parametrize(("first", "second"), list(itertools.product(VALUES[:-1], repeat=2)))
def test_what_was_joined_is_split_again(first, second):
    assert read_pairs(f"a={first},b_2={second}") == {"a": first, "b_2": second}


@pytest.mark.parametrize("value", VALUES)
def test_rewards_and_data_sets_read_the_same(value):
    plain = json.loads(value) if value == '"a, b=c"' else value  # of a reward's parameter the quotes are no part
    assert parse_spec(f"r[x={value},y=1]").parameters == {"x": plain, "y": "1"}
    try:
        expected = json.loads(value)
    except json.JSONDecodeError:
        expected = value.strip()
    assert parse_gym(f"reasoning-gym:t[x={value},y=1]")[0].config == {"x": expected, "y": 1}


@pytest.mark.parametrize(
    ("text", "message"), [("a", "expected key=value"), ("1a=2", "expected key=value"), ("a=1,a=2", "'a' is given twice")]
)
def test_what_is_no_pair_is_named_by_both(text, message):
    with pytest.raises(RewardLoadError, match=message):
        parse_spec(f"r[{text}]")
    with pytest.raises(PromptFileError, match=message):
        parse_gym(f"reasoning-gym:t[{text}]")

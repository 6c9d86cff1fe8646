"""Parameters of rewards that packages add: the value that the function gets, and the names that are refused."""

from types import SimpleNamespace

import pytest

from flatspot.core.errors import RewardLoadError
from flatspot.core.extensions import Extension
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import builtin
from flatspot.rewards.load import load_reward
from flatspot.rewards.resolve import resolve
from flatspot.rewards.spec import parse_spec

PROMPT = Prompt("a", "Flip.", {"side": "heads", "weight": 7})


def shows(prompts, completions, side="heads", *, weight, **columns):
    """The parameters as text, one columns list as it is."""
    return [float(side == text) * float(weight) for text in completions]


class Counts:
    """A callable object without **columns."""

    def __call__(self, completions, side):
        return [float(text.count(side)) for text in completions]


def wrapped(**arguments):
    """As a decorator without functools.wraps leaves a function."""
    return shows(**arguments)


async def later(completions, side):
    return [float(side == text) for text in completions]


ADDED = {"shows": shows, "counts": Counts(), "wrapped": wrapped, "later": later}


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """A package that adds rewards."""
    points = {name: (SimpleNamespace(load=lambda own=own: own, dist=None, value=name),) for name, own in ADDED.items()}
    monkeypatch.setattr(builtin, "extensions", lambda group: {name: Extension(name, group, point) for name, point in points.items()})


@pytest.mark.parametrize(
    ("spec", "text", "expected"),
    [
        ("shows[side=tails,weight=2]", "tails", 2.0),
        ("shows[side=tails,weight=2]", "heads", 0.0),
        ("counts[side=a]", "tails and heads", 3.0),
        ("wrapped[side=tails,weight=2]", "tails", 2.0),
        ("later[side=tails]", "tails", 1.0),
    ],
)
def test_a_parameter_wins_over_a_prompt_column_of_its_name(spec, text, expected):
    [value] = resolve(parse_spec(spec)).score([PROMPT], [Completion(text, 1, False)])
    assert (value.number, value.error) == (expected, None)


def test_without_a_parameter_the_column_is_passed():
    [value] = resolve(parse_spec("later")).score([PROMPT], [Completion("tails", 1, False)])
    assert value.error is None  # a list of the column's values equals no text
    [value] = resolve(parse_spec("shows[side=tails]")).score([Prompt("a", "Flip.")], [Completion("tails", 1, False)])
    assert value.broken and "needs weight, which no prompt column gives" in str(value.error)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("shows[sid=tails]", r"the reward shows has no parameter 'sid' \(parameters: side, weight\)"),
        ("shows[columns=x]", r"no parameter 'columns' \(parameters: side, weight\)"),
        ("shows[side=tails,completions=x]", r"no parameter 'completions' \(parameters: side, weight\)"),
        ("counts[log_metric=x]", r"no parameter 'log_metric' \(parameters: side\)"),
        ("wrapped[prompts=x]", "no parameter 'prompts'"),
    ],
)
def test_a_parameter_that_the_function_does_not_name_is_refused(spec, problem):
    with pytest.raises(RewardLoadError, match=problem):
        resolve(parse_spec(spec))


def test_a_function_can_declare_its_range(tmp_path):
    (tmp_path / "mine.py").write_text("def grade(completions, **columns):\n    return [1.0]\n\n\ngrade.reward_range = (0, 10)\n")

    def half(completions, **columns):
        return [0.5]

    with load_reward([f"{tmp_path / 'mine.py'}:grade", half, "exact_match"], weights=[1.0, 1.0, 2.0]) as reward:
        assert reward.component_ranges == {"grade": (0.0, 10.0), "exact_match": (0.0, 1.0)} and reward.range is None
    half.reward_range = (0.0, 1.0)
    with load_reward([f"{tmp_path / 'mine.py'}:grade", half], weights=[1.0, -1.0]) as reward:
        assert reward.range == (-1.0, 10.0)
    with load_reward(half) as reward:
        assert reward.range == (0.0, 1.0) and reward.component_ranges == {}


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (0.0,), "0 1", (0.0, float("inf"))])
def test_what_a_function_declares_must_be_a_range(wrong):
    def mine(completions, **columns):
        return [0.5]

    mine.reward_range = wrong
    with pytest.raises(RewardLoadError, match="the reward mine: its reward_range must be two finite numbers"):
        load_reward(mine)

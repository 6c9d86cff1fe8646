"""What a reward function may return: the degenerate cases first."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import LARGEST_REWARD, Completion, Prompt
from flatspot.rewards import LoadedReward, load_reward
from flatspot.rewards.values import Value, as_value, as_values, describe_exception


def prompts(n: int, **columns: object) -> list[Prompt]:
    return [Prompt(f"p{i}", f"question {i}", dict(columns)) for i in range(n)]


def completions(*texts: str) -> list[Completion]:
    return [Completion(text, len(text), False) for text in texts]


def unguarded(*functions: object, weights: list[float] | None = None) -> LoadedReward:
    return load_reward(list(functions), weights=weights, isolate=False)  # type: ignore[arg-type]


class TorchLike:
    """A tensor without dimensions, as far as anyone looking from outside can tell."""

    def __init__(self, value: float) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (True, 1.0),
        (False, 0.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(True), 1.0),
        (np.array(2.0), 2.0),
        (np.array([2.0]), 2.0),
        (TorchLike(0.25), 0.25),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
    ],
)
def test_numbers_of_every_kind_count(raw: object, number: float) -> None:
    assert as_value(raw) == Value(number)


@pytest.mark.parametrize(
    "raw", ["0.5", b"1", "", [1.0], {"score": 1}, (1,), object(), 1 + 2j, np.array([1.0, 2.0]), np.array("1"), TorchLike(math.nan), set()]
)
def test_what_is_no_number_becomes_an_error_and_never_a_zero(raw: object) -> None:
    value = as_value(raw)
    assert value.number is None
    assert value.error is not None and value.error.startswith("returned")


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf, np.float64("nan"), 10**400])
def test_numbers_that_are_not_finite_are_errors(raw: object) -> None:
    assert as_value(raw).error is not None


@pytest.mark.parametrize("raw", [1e308, -1e308, 2 * LARGEST_REWARD, np.float64(1e200)])
def test_numbers_too_large_to_square_and_sum_are_errors(raw: object) -> None:
    assert as_value(raw).number is None
    assert "larger than a reward can be" in str(as_value(raw).error)


def test_none_is_neither_a_number_nor_an_error() -> None:
    assert as_value(None) == Value()


@pytest.mark.parametrize("raw", [[1.0], [1.0, 2.0, 3.0], [], 1.0, None, "ab", {"a": 1, "b": 2}, np.float64(1.0), np.ones((3,))])
def test_an_answer_of_the_wrong_shape_fails_every_row(raw: object) -> None:
    assert [value.number for value in as_values(raw, 2)] == [None, None]
    assert all(value.error for value in as_values(raw, 2))


@pytest.mark.parametrize("raw", [[0, 1], (0, 1), np.array([0, 1]), iter([0, 1]), {0: "", 1: ""}.keys()])
def test_any_sequence_of_the_right_length_counts(raw: object) -> None:
    assert as_values(raw, 2) == [Value(0.0), Value(1.0)]


def test_an_exception_is_one_line() -> None:
    assert describe_exception(ValueError("first\nsecond")) == "ValueError: first"
    assert describe_exception(KeyError()) == "KeyError"


def test_no_rows_give_no_scores_and_call_nothing() -> None:
    def fail(completions: list[str]) -> list[float]:
        raise AssertionError("called")

    assert unguarded(fail).score([], []) == []


def test_unequal_lengths_are_our_bug_and_raise() -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 completions"):
        unguarded(lambda completions: [1.0]).score(prompts(2), completions("a"))


def test_an_empty_completion_is_scored_like_any_other() -> None:
    assert unguarded(lambda completions: [len(c) for c in completions]).score(prompts(1), completions(""))[0].reward == 0.0


def test_none_is_left_out_of_the_sum_as_in_trl() -> None:
    score = unguarded(lambda completions: [None], lambda completions: [2.0], weights=[1.0, 3.0]).score(prompts(1), completions("a"))[0]
    assert score.reward == 6.0
    assert score.error is None
    assert score.rewards == {"lambda": None, "lambda_2": 2.0}


def test_none_from_every_function_is_unscored() -> None:
    score = unguarded(lambda completions: [None], lambda completions: [None]).score(prompts(1), completions("a"))[0]
    assert score.reward is None
    assert score.error == "lambda, lambda_2: returned None"


@pytest.mark.parametrize("raw", [math.nan, math.inf, "text"])
def test_one_failed_function_leaves_no_total_but_keeps_the_others_values(raw: object) -> None:
    score = unguarded(lambda completions: [raw], lambda completions: [2.0]).score(prompts(1), completions("a"))[0]
    assert score.reward is None
    assert score.rewards == {"lambda": None, "lambda_2": 2.0}
    assert score.error is not None and score.error.startswith("lambda: returned")


def test_a_row_that_raises_does_not_take_its_neighbors_along() -> None:
    def inverse(completions: list[str]) -> list[float]:
        return [1 / len(completion) for completion in completions]

    scores = unguarded(inverse).score(prompts(3), completions("a", "", "bb"))
    assert [score.reward for score in scores] == [1.0, None, 0.5]
    assert scores[1].error == "inverse: ZeroDivisionError: division by zero"


def test_a_sum_that_overflows_is_unscored() -> None:
    large = 0.9 * LARGEST_REWARD
    loaded = unguarded(lambda completions: [large], lambda completions: [large], weights=[LARGEST_REWARD, 1.0])
    score = loaded.score(prompts(1), completions("a"))[0]
    assert score.reward is None and "larger than a reward can be" in str(score.error)


def test_a_weight_whose_range_would_overflow_is_refused() -> None:
    with pytest.raises(RewardLoadError, match="weights must be finite numbers of at most"):
        unguarded(lambda completions: [1.0], weights=[1e308])

"""Replies as vLLM, llama.cpp, SGLang and OpenAI shape them."""

from __future__ import annotations

import pytest

from flatspot.engines.server.wire import NoCompletion, check_fits, read_answer


def reply(choice, tokens=3):
    return {"choices": [{"text": "a b", "finish_reason": "stop"} | choice], "usage": {"completion_tokens": tokens}}


def test_log_probabilities_come_in_two_shapes():
    legacy = {
        "tokens": ["token_id:5"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"token_id:5": -0.5, "token_id:7": float("-inf"), "x": None}],
    }
    answer = read_answer(reply({"logprobs": legacy, "token_ids": [5, 9, 2]}))
    assert (answer.first, answer.top, answer.token_ids, answer.n_tokens) == ("#5", {"#5": -0.5}, (5, 9, 2), 3)
    entry = {
        "id": 5,
        "token": " a",
        "logprob": -0.5,
        "top_logprobs": [{"id": 5, "token": " a", "logprob": -0.5}, {"token": "b", "logprob": -1}],
    }
    answer = read_answer(reply({"logprobs": {"content": [entry]}}))
    assert (answer.first, answer.top) == ("#5", {"#5": -0.5, "b": -1.0})
    assert read_answer(reply({"logprobs": None})).top == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no choices"),
        ({"choices": []}, "0 choices"),
        ({"choices": [{}, {}]}, "2 choices"),
        ([1], "no choices"),
        (reply({"text": None}), "no text"),
        (reply({"finish_reason": "abort"}), "ended for the reason 'abort'"),
        (reply({"finish_reason": None}), "ended for the reason None"),
        (reply({"message": {"content": "4", "reasoning_content": "hm"}}), "without a reasoning parser"),
        (reply({"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}), "no text"),
        ({"choices": [{"text": "a", "finish_reason": "stop"}]}, "does not count tokens"),
    ],
)
def test_a_reply_without_one_whole_completion_is_none(content, message):
    with pytest.raises(NoCompletion, match=message):
        read_answer(content)


def test_an_empty_message_that_ended_by_itself_is_an_empty_completion():
    assert read_answer(reply({"message": {"role": "assistant", "content": None}}, 1)).text == ""


@pytest.mark.parametrize(
    ("choice", "tokens", "message"),
    [
        ({}, 9, r"counts 9 tokens .* max_tokens is 8"),
        ({}, -1, "counts -1 tokens"),
        ({}, 10**400, "counts 1000"),
        ({}, 0, "counts 0 tokens"),
        ({}, True, "does not count tokens"),
        ({}, 3.0, "does not count tokens"),
        ({"finish_reason": "length"}, 5, r"cut the completion at 5 tokens, and max_tokens is 8: a limit of its own, .* --max-new-tokens"),
        ({"token_ids": [1, 2, 3, 4, 5, 6]}, 3, "counts 3 tokens and holds the ids of 6"),
        ({"token_ids": [1, -2, 3]}, 3, "token ids that are none"),
        ({"token_ids": [1, 2**40, 3]}, 3, "token ids that are none"),
        ({"token_ids": [1, "2", 3]}, 3, "token ids that are none"),
        ({"finish_reason": ["stop"]}, 3, "ended for the reason a list"),
        ({"text": ["a"]}, 3, "no text"),
    ],
)
def test_a_reply_is_held_against_the_request(choice, tokens, message):
    with pytest.raises(NoCompletion, match=message):
        check_fits(read_answer(reply(choice, tokens)), 8)


@pytest.mark.parametrize(
    ("choice", "tokens"), [({}, 8), ({"finish_reason": "length"}, 8), ({"text": ""}, 0), ({"text": ""}, 1), ({"token_ids": [1, 2]}, 3)]
)
def test_a_reply_within_the_request_is_taken(choice, tokens):
    assert check_fits(read_answer(reply(choice, tokens)), 8).n_tokens == tokens


@pytest.mark.parametrize("p", [[0.7], [float("nan")], [None], ["-1"], [10**400], [-(10**400)], [True], [-0.1, -0.1]])
def test_log_probabilities_that_are_no_distribution_are_refused(p):
    tops = {str(i): value for i, value in enumerate(p)}
    for logprobs in (
        {"tokens": ["a"], "top_logprobs": [tops]},
        {"content": [{"token": "a", "top_logprobs": [{"token": token, "logprob": value} for token, value in tops.items()]}]},
    ):
        with pytest.raises(NoCompletion, match="no distribution"):
            read_answer(reply({"logprobs": logprobs}))


@pytest.mark.parametrize(
    "logprobs",
    [5, [], {"content": 5}, {"content": [5]}, {"content": [{"token": 1, "top_logprobs": 5}]}, {"tokens": ["a"], "top_logprobs": 5}],
)
def test_log_probabilities_of_another_shape_are_none(logprobs):
    assert read_answer(reply({"logprobs": logprobs})).top == {}

"""Replies as vLLM, llama.cpp, SGLang and OpenAI shape them."""

from __future__ import annotations

import pytest

from flatspot.engines.server.wire import NoCompletion, read_answer


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

"""The scripted engine samples exactly the distributions in its table."""

from __future__ import annotations

import json
import math
import time
from collections import Counter

import pytest

from flatspot.core.errors import EngineError
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.scripted import ScriptedEngine, reshape

ANSWERS = {"2+2=": {"4": 0.75, "5": 0.25}, "say": {"one two three four": 1.0}}


def test_frequencies_are_the_probabilities():
    completions = ScriptedEngine(ANSWERS).sample([PromptRequest("2+2=", tuple(range(40_000)))], Sampling())[0]
    assert abs(Counter(c.text for c in completions)["4"] / 40_000 - 0.75) < 0.01


def test_a_row_depends_on_its_seed_alone():
    engine = ScriptedEngine(ANSWERS)
    seeds = tuple(range(100))
    together = engine.sample([PromptRequest("2+2=", seeds), PromptRequest("say", (1,))], Sampling())[0]
    assert together == [engine.sample([PromptRequest("2+2=", (seed,))], Sampling())[0][0] for seed in seeds]
    assert len({c.text for c in together}) == 2


def test_a_chat_prompt_is_looked_up_by_its_last_user_message():
    chat = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "say"}]
    assert ScriptedEngine(ANSWERS).sample([PromptRequest(chat, (1,))], Sampling())[0][0].text == "one two three four"


def test_the_limit_cuts_after_words():
    [[whole]], [[cut]] = (ScriptedEngine(ANSWERS).sample([PromptRequest("say", (1,))], Sampling(max_new_tokens=n)) for n in (4, 3))
    assert (whole.text, whole.n_tokens, whole.truncated) == ("one two three four", 4, False)
    assert (cut.text, cut.n_tokens, cut.truncated) == ("one two three", 3, True)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=0.5), {"a": 0.25 / 0.38, "b": 0.09 / 0.38, "c": 0.04 / 0.38}),
        (Sampling(top_k=2), {"a": 0.625, "b": 0.375}),
        (Sampling(top_p=0.5), {"a": 1.0}),
        (Sampling(top_p=0.51), {"a": 0.625, "b": 0.375}),
        (Sampling(temperature=0.001), {"a": 1.0, "b": 0.0, "c": 0.0}),
    ],
)
def test_sampling_reshapes_the_answers(sampling, expected):
    assert reshape({"a": 0.5, "b": 0.3, "c": 0.2, "never": 0.0}, sampling) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 0.05])
def test_a_low_temperature_leaves_only_what_can_be_drawn(temperature):
    """At T = 0.001 the share of b is 10^-477, which no float holds."""
    answers = {"p": {"b": 0.25, "a": 0.75, "c": 0.0}}
    [drawn] = ScriptedEngine(answers).sample([PromptRequest("p", tuple(range(50)))], Sampling(temperature=temperature))
    exact = -math.log1p(math.exp(math.log(1 / 3) / temperature))
    assert {one.text for one in drawn} == {"a"} and drawn[0].logprob == pytest.approx(exact, abs=1e-15)
    last = ScriptedEngine({"p": {"a": 0.75, "b": 0.25}})._table("p", Sampling(temperature=temperature))
    assert all(math.isfinite(one.logprob) for one in last.completions), "a number above the last sum takes the last answer"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"p": {"a": 0.5, "b": 0.4}}, "sum to 0.9"),
        ({"p": {}}, "sum to 0"),
        ({"p": {"a": 1.5, "b": -0.5}}, r"\[0, 1\]"),
        ({"p": {"a": "x"}}, "'x'"),
    ],
)
def test_an_invalid_distribution_is_refused(answers, message):
    with pytest.raises(EngineError, match=message):
        ScriptedEngine(answers)


def test_an_unknown_prompt_is_named():
    with pytest.raises(EngineError, match=r"'3\+3='.*its table has 2 prompts"):
        ScriptedEngine(ANSWERS).sample([PromptRequest("3+3=", (1,))], Sampling())


def test_it_is_read_from_a_file(tmp_path):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(ANSWERS), encoding="utf-8")
    engine = ScriptedEngine.from_file(path)
    assert isinstance(engine, Engine)
    assert engine.describe() == ScriptedEngine(ANSWERS).describe()
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(EngineError, match="must contain"):
        ScriptedEngine.from_file(path)
    with pytest.raises(EngineError, match="cannot be read"):
        ScriptedEngine.from_file(tmp_path / "none.json")


def test_a_hundred_thousand_rows_take_seconds():
    engine = ScriptedEngine({str(i): {"a": 0.5, "b": 0.5} for i in range(1000)})
    start = time.perf_counter()
    engine.sample([PromptRequest(str(i), tuple(range(100))) for i in range(1000)], Sampling())
    assert time.perf_counter() - start < 5

"""Completions and their scores, by prompt and index, whatever else is drawn in the same call."""

from pathlib import Path

import numpy as np
import pytest

import flatspot
from flatspot.core.records import Completion, Prompt, PromptRequest, Sampling, Score
from flatspot.core.seeds import row_seed
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import load_reward
from flatspot.rollouts.completions import Scored, block_of, draw_completions, rewards_of
from flatspot.rollouts.rounds import Round

PROMPTS = [Prompt(f"p{i}", f"q{i}", {"reference": "a"}) for i in range(5)]
ENGINE = ScriptedEngine({f"q{i}": {"a": 0.3, "b": 0.3, "c": 0.4} for i in range(5)})


@pytest.fixture(scope="module")
def reward():
    with load_reward("exact_match") as loaded:
        yield loaded


def drawn(block, reward):
    return {
        (one.prompt.id, one.index): (one.completion.text, one.score.reward)
        for one in draw_completions(block, ENGINE, reward, Sampling(), seed=3)
    }


def test_a_completion_is_that_of_its_own_seed_in_any_block(reward):
    this = Round(np.array([0, 2, 4]), np.array([0, 3, 1]), 4, False)
    found = drawn(block_of(PROMPTS, this), reward)
    assert list(found) == [("p0", i) for i in range(4)] + [("p2", i) for i in range(3, 7)] + [("p4", i) for i in range(1, 5)]
    parts = drawn(block_of(PROMPTS, this, slice(2, 3)), reward) | drawn(block_of(PROMPTS, this, slice(0, 2)), reward)
    assert found == parts
    for (name, index), (text, value) in found.items():
        [[completion]] = ENGINE.sample([PromptRequest(f"q{name[1]}", (row_seed(3, name, index),))], Sampling())
        assert (text, value) == (completion.text, float(completion.text == "a"))
    assert len({text for text, _ in found.values()}) == 3


def test_engines_are_asked_for_completions_at_one_place():
    src = Path(flatspot.__file__).parent
    files = [
        file for file in src.rglob("*.py") if file.parent.name not in ("engines", "gguf") and "engine.sample(" in file.read_text("utf-8")
    ]
    assert [file.relative_to(src).as_posix() for file in files] == ["rollouts/completions.py"]


def test_rewards_are_a_row_for_each_prompt_and_nan_where_there_is_none():
    scores = [Score(1.0), Score(None, error="late"), Score(0.0), Score(0.5)]
    scored = [Scored(PROMPTS[i // 2], i % 2, Completion("a", 1, truncated=False), score) for i, score in enumerate(scores)]
    this = Round(np.array([0, 1]), np.array([0, 0]), 2, True)
    np.testing.assert_array_equal(rewards_of(scored, this), [[1.0, np.nan], [0.0, 0.5]])

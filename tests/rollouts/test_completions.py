"""Completions and their scores, by prompt and index, whatever else is drawn in the same call."""

import numpy as np
import pytest

from flatspot.core.records import Prompt, Request, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import load_reward
from flatspot.rollouts.completions import block_of, draw_completions
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
        [[completion]] = ENGINE.sample([Request(f"q{name[1]}", (row_seed(3, name, index),))], Sampling())
        assert (text, value) == (completion.text, float(completion.text == "a"))
    assert len({text for text, _ in found.values()}) == 3

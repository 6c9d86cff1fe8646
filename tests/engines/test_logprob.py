"""The probability of what was sampled, against each token's probability in a forward pass, and against the laws of the engines."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from tiny_policies import EOS, VOCABULARY, exact_probabilities, tiny_policy

from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.decode import MODES
from flatspot.engines.hf import HfEngine
from flatspot.engines.scripted import ScriptedEngine
from flatspot.engines.sequences import draw_batch

PLAIN = Sampling(max_new_tokens=5)
LAWS = [PLAIN, Sampling(temperature=0.5, top_k=4, max_new_tokens=5), Sampling(temperature=1.6, top_p=0.7, max_new_tokens=5)]
ENDS = (EOS, *range(40, VOCABULARY, 3))  # so many that rows end at every step


@pytest.fixture
def ending(tiny):
    return lambda kind: replace(tiny(kind), eos_ids=ENDS)


def expected(policy, prompt, ids, sampling):
    """Sum of the tokens' log-probabilities, one forward pass per token."""
    return sum(math.log(exact_probabilities(policy, prompt, ids[:i], sampling)[token]) for i, token in enumerate(ids))


@pytest.mark.parametrize("sampling", LAWS, ids=["plain", "top-k", "top-p"])
@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_product_of_the_tokens_probabilities(ending, kind, mode, sampling):
    policy, prompts = ending(kind), [[5, 6, 7], [8, 9]]
    rows = draw_batch(policy, prompts, range(24), sampling, mode, copies=[12, 12])
    assert len({len(row.ids) for row in rows}) > 1
    for i, row in enumerate(rows):
        assert row.logprob == pytest.approx(expected(policy, prompts[i // 12], row.ids, sampling), abs=1e-4)


def test_the_engine_tells_it_of_completions_that_end_and_of_prefixes(ending):
    policy = ending("llama")
    text, seeds = "w5 w6 w7", tuple(range(12))
    (completions,) = HfEngine(policy, mode="shared").sample([PromptRequest(text, seeds)], PLAIN)
    rows = draw_batch(policy, [policy.tokenizer(text)["input_ids"]], seeds, PLAIN, "shared", copies=[12])
    assert {c.truncated for c in completions} == {True, False}
    assert [c.logprob for c in completions] == pytest.approx([row.logprob for row in rows], abs=1e-5)


def test_all_completions_together_have_probability_one(ending):
    """Enumerated: every sequence that ends within two tokens, and every one that is cut after them."""
    policy, prompt, sampling = ending("llama"), [5, 6], Sampling(max_new_tokens=2)
    total = 0.0
    for first in range(VOCABULARY):
        rest = [[]] if first in ENDS else [[second] for second in range(VOCABULARY)]
        total += sum(math.exp(expected(policy, prompt, [first, *own], sampling)) for own in rest)
    assert total == pytest.approx(1, abs=1e-4)
    drawn = {tuple(row.ids): row.logprob for row in draw_batch(policy, [prompt], range(3000), sampling, "shared", copies=[3000])}
    known = math.fsum(map(math.exp, drawn.values()))
    assert 0.5 < known < 1 + 1e-5


def test_a_scripted_policy_tells_what_remains_after_its_sampling_and_cuts():
    answers = {"q": {"a": 0.4, "b c d": 0.3, "b c e": 0.2, "z": 0.1}}
    engine = ScriptedEngine(answers)
    (rows,) = engine.sample([PromptRequest("q", tuple(range(500)))], Sampling(max_new_tokens=2))
    assert {(r.text, r.truncated): round(math.exp(r.logprob), 12) for r in rows} == {
        ("a", False): 0.4,
        ("b c", True): 0.5,
        ("z", False): 0.1,
    }
    (rows,) = engine.sample([PromptRequest("q", tuple(range(500)))], Sampling(top_k=2))
    assert {r.text: round(math.exp(r.logprob), 12) for r in rows} == {"a": round(4 / 7, 12), "b c d": round(3 / 7, 12)}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("sampling", LAWS[:2], ids=["plain", "top-k"])
def test_openvino_tells_it(kind, sampling):
    from flatspot.engines.openvino import OpenVinoEngine

    engine, policy = OpenVinoEngine(tiny_policy(kind)), tiny_policy(kind)
    policy.model.half().float()  # its weights are float16, which may put another token among the first four
    (rows,) = engine.sample([PromptRequest("w5 w6 w7", tuple(range(40)))], sampling)
    prompt = policy.tokenizer("w5 w6 w7")["input_ids"]
    for row in itertools.islice((row for row in rows if row.truncated), 10):
        assert row.logprob == pytest.approx(expected(policy, prompt, list(row.token_ids), sampling), abs=0.02)

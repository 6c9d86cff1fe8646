"""The check at load: the decoding mode it chooses, and the faults it must catch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_policies import tiny_policy

from flatspot.core.errors import EngineError
from flatspot.engines import HfEngine, decode, verify
from flatspot.engines.verify import TOLERANCE, choose_mode, compare, greedy, probe_ids


@pytest.mark.parametrize(
    ("kind", "mode"), [("llama", "prefixed"), ("gpt2", "prefixed"), ("mistral", "shared"), ("t5", "shared"), ("bart", "shared")]
)
def test_the_fast_mode_agrees_with_the_forward_pass(tiny, kind, mode):
    """Without this test, a broken fast mode would only make every policy slow."""
    engine = HfEngine(tiny(kind))
    assert (engine.mode, engine.notes) == (mode, [])
    assert engine.check.max_gap < 1e-3


def test_a_policy_without_such_a_cache_is_decoded_in_a_slower_mode(tiny):
    engine = HfEngine(tiny("mamba"))
    assert engine.mode not in ("prefixed", "shared")
    assert "slower mode" in engine.notes[0]


@pytest.mark.parametrize("mode", ["repeated", "uncached"])
def test_each_slower_mode_agrees_too(tiny, mode):
    for kind in ("llama", "t5"):
        policy = tiny(kind)
        prompts = probe_ids(policy)
        assert compare(policy, prompts, greedy(policy, prompts, mode), TOLERANCE["float32"]).passed


def test_other_weights_are_caught(tiny):
    """The greedy continuations of one policy, held against another that is only slightly different."""
    one, other = tiny("llama"), tiny_policy("llama")
    with torch.no_grad():
        other.model.model.layers[1].mlp.down_proj.weight.mul_(1.2)
    prompts = probe_ids(one)
    continuations = greedy(one, prompts, "shared")
    assert compare(one, prompts, continuations, TOLERANCE["float32"]).passed
    check = compare(other, prompts, continuations, TOLERANCE["float32"])
    assert not check.passed
    assert "log-probabilities differ" in check.sentence()


def test_right_tokens_with_wrong_probabilities_are_caught(tiny):
    policy = tiny("llama")
    prompts = probe_ids(policy)
    flat = [dataclasses.replace(g, log_probs=[p / 2 - 0.1 for p in g.log_probs]) for g in greedy(policy, prompts, "shared")]
    check = compare(policy, prompts, flat, TOLERANCE["float32"])
    assert (check.wrong_tokens, check.passed) == (0, False)


def test_an_engine_without_output_fails_the_check(tiny):
    policy = tiny("llama")
    assert not compare(policy, probe_ids(policy), [verify.Greedy([], [])] * 6, 0.03).passed


def test_a_policy_that_no_mode_decodes_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(verify, "greedy", lambda *_: (_ for _ in ()).throw(TypeError("takes no cache")))
    with pytest.raises(EngineError, match=r"no decoding mode agrees.*shared: TypeError: takes no cache"):
        choose_mode(tiny("llama"), [])
    assert decode.MODES == ("prefixed", "shared", "repeated", "uncached")


def test_a_mode_whose_numbers_are_not_finite_is_skipped(tiny, monkeypatch):
    real = verify.greedy

    def greedy(policy, prompts, mode):
        rows = real(policy, prompts, mode)
        return [verify.Greedy(g.tokens, [float("nan")] * len(g.tokens)) for g in rows] if mode in ("prefixed", "shared") else rows

    monkeypatch.setattr(verify, "greedy", greedy)
    notes: list[str] = []
    mode, check = choose_mode(tiny("llama"), notes)
    assert mode == "repeated" and check.passed
    assert "shared: its numbers are not finite (NaN)" in notes[0]

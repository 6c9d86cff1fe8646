"""The transformers engine, against direct forward passes, `generate`, and itself in other batches."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter

import pytest
import torch
from tiny_policies import EOS, VOCABULARY, CountTokens, exact_probabilities, tiny_model, tiny_policy, total_variation, word_tokenizer

from flatspot.core.errors import EngineError
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines import sequences
from flatspot.engines.hf import HfEngine
from flatspot.engines.memory import Footprint, footprint
from flatspot.engines.policy import load_policy

pytestmark = pytest.mark.thorough

KINDS = ("llama", "gpt2", "mistral", "t5", "bart", "mamba")
SHORT, LONG = "w5 w7", "w11 w13 w17 w19 w23 w29 w31 w37 w41 w43 w47 w53"
N = 4000
# the expected total variation of N draws over 100 tokens is at most sqrt(100 / (2 pi N)) = 0.063; seeds are fixed
BOUND = 0.075


def wide(policy) -> HfEngine:
    """An engine with thousands of rows in progress at once, for tests with thousands of rows; no row depends on it."""
    engine = HfEngine(policy)
    engine._rows_in_flight = 2 * N
    return engine


def ids(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


SAMPLINGS = ({}, {"temperature": 0.6}, {"top_k": 5}, {"top_p": 0.7}, {"temperature": 1.5, "top_p": 0.9, "top_k": 30})
# how a token is drawn from its logits does not depend on the architecture: every setting for one, and for the others no setting and all
EVERY_KIND = [
    pytest.param(kind, sampling, marks=[pytest.mark.slow] if kind != "llama" and len(sampling) == 1 else [])
    for kind in ("llama", "t5", "bart")
    for sampling in SAMPLINGS
]


@pytest.mark.parametrize(("kind", "sampling"), EVERY_KIND)
def test_first_tokens_come_with_the_forward_pass_s_probabilities(tiny, kind, sampling):
    policy = tiny(kind)
    settings = Sampling(max_new_tokens=1, **sampling)
    requests = [PromptRequest(SHORT, tuple(range(N))), PromptRequest(LONG, tuple(range(N, 2 * N)))]
    for text, rows in zip((SHORT, LONG), wide(policy).sample(requests, settings), strict=True):
        tokens = [c.token_ids[0] if c.token_ids else EOS for c in rows]
        counts = torch.bincount(torch.tensor(tokens), minlength=VOCABULARY)
        exact = exact_probabilities(policy, ids(text), [], settings)
        assert total_variation(counts, exact) < BOUND
        assert not counts[exact == 0].any()


@pytest.mark.parametrize(
    ("kind", "rows"),
    [*((kind, N) for kind in KINDS if kind != "mamba"), ("mamba", N // 4), pytest.param("mamba", N, marks=pytest.mark.slow)],
)
def test_third_tokens_follow_the_two_before_them(tiny, kind, rows):
    """Conditioned on its most frequent beginning, the third token has the forward pass's distribution: the cache is right."""
    policy = tiny(kind)
    settings = Sampling(max_new_tokens=3, temperature=0.25)
    completions = wide(policy).sample([PromptRequest(SHORT, tuple(range(60))), PromptRequest(LONG, tuple(range(rows)))], settings)[1]
    rows_of_ids = [(*c.token_ids, EOS)[:3] for c in completions]
    [(first, n)] = Counter(ids[:2] for ids in rows_of_ids if len(ids) == 3).most_common(1)
    counts = torch.bincount(torch.tensor([ids[2] for ids in rows_of_ids if len(ids) == 3 and ids[:2] == first]), minlength=VOCABULARY)
    assert n > 100
    assert (
        total_variation(counts, exact_probabilities(policy, ids(LONG), list(first), settings))
        < 1.2 * (VOCABULARY / (2 * 3.14159 * n)) ** 0.5
    )


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_it_agrees_with_generate_in_distribution(tiny, kind):
    policy = tiny(kind)
    torch.manual_seed(0)
    start = 1 if policy.encoder_decoder else len(ids(LONG))
    with torch.no_grad():
        theirs = policy.model.generate(
            input_ids=torch.tensor([ids(LONG)]),
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            num_return_sequences=N,
            max_new_tokens=6,
        )[:, start:]
    rows = wide(policy).sample([PromptRequest(LONG, tuple(range(N)))], Sampling(max_new_tokens=6))[0]
    ours = torch.tensor([[*c.token_ids, *([EOS] if not c.truncated else []), *[0] * 6][:6] for c in rows])
    for step in (0, 3, 5):
        a, b = (torch.bincount(x[:, step], minlength=VOCABULARY).float() for x in (theirs, ours))
        assert total_variation(a, b / b.sum()) < 1.5 * BOUND
    lengths = [(x == EOS).any(1).float().mean() for x in (theirs, ours)]
    assert abs(lengths[0] - lengths[1]) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_rows_beside_it(tiny, kind):
    engine = HfEngine(tiny(kind))
    settings = Sampling(max_new_tokens=12)
    requests = [PromptRequest(text, tuple(range(10 * i, 10 * i + 5))) for i, text in enumerate((SHORT, LONG, "w8", SHORT))]
    together = engine.sample(requests, settings)
    for request, rows in zip(requests, together, strict=True):
        assert rows == engine.sample([request], settings)[0]
        assert rows[3] == engine.sample([PromptRequest(request.text, request.seeds[3:4])], settings)[0][0]
    assert len({c.token_ids for rows in together for c in rows}) == 20


def test_rows_survive_the_drop_of_others(tiny):
    """Rows end at different steps, which drops them from the cache; each must still be what it is alone and uncached."""
    policy = tiny_policy("llama", seed=3, spread=0.15)
    settings = Sampling(max_new_tokens=60, temperature=1.5)
    request = PromptRequest(LONG, tuple(range(40)))
    shared = HfEngine(policy, mode="shared").sample([request], settings)[0]
    assert len({c.n_tokens for c in shared}) > 8
    assert shared == HfEngine(policy, mode="uncached").sample([request], settings)[0]
    assert shared == HfEngine(policy, mode="repeated").sample([request], settings)[0]


def test_a_completion_ends_with_its_end_token_or_is_truncated():
    policy = tiny_policy("llama", spread=0.1)
    rows = HfEngine(policy).sample([PromptRequest(SHORT, tuple(range(200)))], Sampling(max_new_tokens=50))[0]
    ended = [c for c in rows if not c.truncated]
    assert 0 < len(ended) < 200
    assert all(EOS not in c.token_ids and c.n_tokens == len(c.token_ids) for c in rows)
    assert all(c.n_tokens == 50 for c in rows if c.truncated)
    assert all(c.text == " ".join(f"w{i}" for i in c.token_ids if i > 2) for c in rows)  # the first three are special


def test_every_end_token_ends():
    model = tiny_model("llama")
    model.generation_config.eos_token_id = [EOS, 7, 8]
    policy = load_policy((model, word_tokenizer()))
    assert policy.eos_ids == (2, 7, 8)
    rows = HfEngine(policy).sample([PromptRequest(SHORT, tuple(range(300)))], Sampling(max_new_tokens=40))[0]
    assert not any({2, 7, 8} & set(c.token_ids) for c in rows)
    assert any(not c.truncated for c in rows)


def test_the_generation_config_is_not_followed():
    model = tiny_model("llama")
    model.generation_config.update(do_sample=True, temperature=0.01, top_k=1, top_p=0.1, repetition_penalty=9.0, max_new_tokens=2)
    plain, tempted = (HfEngine(load_policy((m, word_tokenizer()))) for m in (tiny_model("llama"), model))
    request = [PromptRequest(SHORT, tuple(range(20)))]
    assert plain.sample(request, Sampling(max_new_tokens=9)) == tempted.sample(request, Sampling(max_new_tokens=9))


def test_a_policy_without_end_or_pad_token_runs_to_the_limit():
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token = None
    policy = load_policy((tiny_model("llama", eos_token_id=None, pad_token_id=None), tokenizer))
    engine = HfEngine(policy)
    rows = engine.sample([PromptRequest(SHORT, (1, 2)), PromptRequest(LONG, (3,))], Sampling(max_new_tokens=20))
    assert all(c.truncated and c.n_tokens == 20 for group in rows for c in group)
    assert any("no end-of-sequence" in note for note in engine.notes)
    assert tokenizer.pad_token is None
    assert len(tokenizer) == VOCABULARY


def test_tokens_are_reported_as_they_come(tiny):
    reports: list[int] = []
    rows = HfEngine(tiny("llama")).sample([PromptRequest(SHORT, tuple(range(8)))], Sampling(max_new_tokens=10), reports.append)[0]
    assert len(reports) == 10
    assert sum(reports) == sum(c.n_tokens + (not c.truncated) for c in rows)


def test_running_out_of_memory_halves_the_batch(tiny, monkeypatch, caplog):
    policy = tiny("llama")
    requests = [PromptRequest(SHORT, tuple(range(10))), PromptRequest(LONG, tuple(range(10, 20)))]
    expected = HfEngine(policy).sample(requests, Sampling(max_new_tokens=6))
    true_decode, batches = sequences.decode, []

    def short_of_memory(policy, prompts, copies, *args, **kwargs):
        batches.append(sum(copies))
        if sum(copies) > 6:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return true_decode(policy, prompts, copies, *args, **kwargs)

    engine = HfEngine(policy)
    monkeypatch.setattr(sequences, "decode", short_of_memory)
    assert engine.sample(requests, Sampling(max_new_tokens=6)) == expected
    assert batches[:3] == [20, 10, 5]
    assert engine.notes[-1] == "out of memory with 10 rows in progress; continuing with 5"
    assert caplog.record_tuples[-1] == ("flatspot.engines", logging.WARNING, engine.notes[-1])

    monkeypatch.setattr(sequences, "decode", lambda *a, **k: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(EngineError, match="single row"):
        engine.sample(requests, Sampling(max_new_tokens=6))
    monkeypatch.setattr(sequences, "decode", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        engine.sample(requests, Sampling(max_new_tokens=6))


def test_a_small_budget_of_memory_only_splits_the_batch(tiny, monkeypatch):
    policy = tiny("llama")
    requests = [PromptRequest(SHORT, tuple(range(10))), PromptRequest(LONG, tuple(range(10, 20)))]
    expected = HfEngine(policy).sample(requests, Sampling(max_new_tokens=6))
    batches = []
    true_decode = sequences.decode
    monkeypatch.setattr(
        sequences, "decode", lambda p, prompts, copies, *a, **k: batches.append(sum(copies)) or true_decode(p, prompts, copies, *a, **k)
    )
    engine = HfEngine(policy, memory_gib=0.0002)
    batches.clear()
    assert engine.sample(requests, Sampling(max_new_tokens=6)) == expected
    assert sum(batches) == 20
    assert 1 < max(batches) < 15


def test_the_footprint_of_a_row_is_its_cache_and_logits(tiny):
    # 2 (keys, values) · 2 layers · 2 heads · 16 numbers · 4 bytes
    assert footprint(tiny("llama")) == Footprint(512, VOCABULARY, (16 * 64 + 4 * 128) * 4)


def test_a_prompt_that_does_not_fit_the_context_is_named(tiny):
    engine = HfEngine(tiny("llama"), mode="shared")
    requests = [PromptRequest("w5 w7 w9", (1, 2)), PromptRequest(SHORT, (3,))]
    [[first, second], [third]] = engine.sample(requests, Sampling(max_new_tokens=254))
    assert re.search(
        r"'w5 w7 w9' does not fit: 3 tokens of prompt and max_new_tokens = 254 exceed the context of .*, 256 tokens", first.error
    )
    assert second == first and third.error is None and [[third]] == engine.sample(requests[1:], Sampling(max_new_tokens=254))
    assert engine.notes == [f"{first.error}: its rows have this error"]
    [[far]] = HfEngine(tiny("bart")).sample([PromptRequest(" ".join(["w5"] * 129), (1,))], Sampling(max_new_tokens=2))
    assert "exceed the context of" in far.error and "128 tokens" in far.error
    with pytest.raises(EngineError, match=r"--max-new-tokens 256 leaves no room for a prompt in the context of .*, 256 tokens"):
        engine.sample(requests, Sampling())
    with pytest.raises(EngineError, match="has no tokens"):
        HfEngine(tiny("llama")).sample([PromptRequest("", (1,))], Sampling())


def test_messages_go_through_the_chat_template(tiny):
    policy = tiny("llama")
    engine = HfEngine(policy)
    chat = [{"role": "user", "content": "w5 w7"}]
    assert engine.sample([PromptRequest(chat, (1, 2))], Sampling(max_new_tokens=5)) == engine.sample(
        [PromptRequest("w5 w7 w9", (1, 2))], Sampling(max_new_tokens=5)
    )
    bare = HfEngine(load_policy((policy.model, word_tokenizer(chat_template=None))))
    with pytest.raises(EngineError, match=r"no chat template.*chat_template\.jinja"):
        bare.sample([PromptRequest(chat, (1,))], Sampling())


def test_it_is_an_engine_and_describes_itself_the_same_at_every_start(tiny):
    first, second = HfEngine(tiny("llama")), HfEngine(tiny_policy("llama"))
    assert isinstance(first, Engine)
    assert first.describe() == second.describe() == json.loads(json.dumps(first.describe()))
    assert first.describe()["check"]["passed"]
    assert HfEngine(tiny_policy("llama", seed=1)).describe()["fingerprint"] != first.describe()["fingerprint"]
    assert first.sample([], Sampling()) == []
    assert first.sample([PromptRequest(SHORT, ())], Sampling(max_new_tokens=2)) == [[]]


def test_weights_that_are_no_numbers_are_an_error_and_no_completion():
    broken = load_policy((tiny_model("llama"), word_tokenizer()))
    engine = HfEngine(broken, mode="shared")
    with torch.no_grad():
        broken.model.lm_head.weight[7] = float("nan")
    with pytest.raises(EngineError, match="cannot be sampled: the policy's logits are NaN or infinite"):
        engine.sample([PromptRequest("w5", (1, 2))], Sampling(max_new_tokens=2))


@pytest.mark.parametrize("mode", ["prefixed", "shared", "repeated", "uncached"])
def test_completions_are_reported_as_they_end(tiny, mode):
    count, requests = CountTokens(), [PromptRequest(SHORT, tuple(range(40))), PromptRequest(LONG, tuple(range(40, 60)))]
    rows = HfEngine(tiny("llama"), mode=mode).sample(requests, Sampling(max_new_tokens=20), count)
    completions = [c for group in rows for c in group]
    assert count.rows == 60
    assert count.tokens == sum(c.n_tokens + (not c.truncated) for c in completions)
    assert count.first < count.tokens / 2  # long before the last

"""Sampling by `generate`: the law of its tokens, the least length, and independence of the batch; causal and encoder–decoder."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.paper.grue.conftest import word_tokenizer  # noqa: E402

from flatspot.core.records import PromptRequest, Sampling  # noqa: E402
from flatspot.engines.policy import load_policy  # noqa: E402
from flatspot_paper.grue.engine import GenerateEngine  # noqa: E402

N = 12
EOS = 2


def tiny(kind):
    """A random GPT-2 or T5 with 12 tokens, and its tokenizer of words."""
    torch.manual_seed(0)
    marks = {"vocab_size": N, "eos_token_id": EOS, "pad_token_id": 0}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_positions=64, n_embd=16, n_layer=1, n_head=2, initializer_range=0.4, bos_token_id=EOS, **marks)
        return transformers.GPT2LMHeadModel(config).eval(), word_tokenizer(size=N - 3)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(decoder_start_token_id=0, initializer_factor=3.0, **shape, **marks)
    return transformers.T5ForConditionalGeneration(config).eval(), word_tokenizer(size=N - 3, ends=True)


def first_law(model, tokenizer, text, *, ends):
    """Probabilities of the first token, without the end token where it is not allowed, by a plain forward pass."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        seq2seq = model.config.is_encoder_decoder
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits if seq2seq else model(ids).logits
    logits = logits[0, -1].double()
    if not ends:
        logits[EOS] = -torch.inf
    return torch.softmax(logits, -1).numpy()


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
@pytest.mark.parametrize("least", [0, 3])
def test_tokens_follow_the_models_law_and_no_completion_ends_too_soon(kind, least):
    model, tokenizer = tiny(kind)
    engine = GenerateEngine(load_policy((model, tokenizer)), min_new_tokens=least, batch=500)
    requests = [PromptRequest(text, tuple(range(2000))) for text in ("w1 w2", "w3 w4 w5 w6")]
    drawn = engine.sample(requests, Sampling(max_new_tokens=5))
    for request, completions in zip(requests, drawn, strict=True):
        first = np.bincount([c.token_ids[0] if c.token_ids else EOS for c in completions], minlength=N) / 2000
        law = first_law(model, tokenizer, request.text, ends=least == 0)
        assert np.abs(first - law).max() < 4.5 * np.sqrt(0.25 / 2000)
        lengths = {c.n_tokens for c in completions}
        assert min(lengths) == least
        assert all(c.truncated == (c.n_tokens == 5) for c in completions)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_a_row_depends_on_its_seed_and_not_on_its_batch(kind):
    engine = GenerateEngine(load_policy(tiny(kind)), batch=3)
    together = engine.sample([PromptRequest("w1 w2 w3", (5, 6, 7)), PromptRequest("w4", (5, 9))], Sampling(max_new_tokens=8))
    [alone] = engine.sample([PromptRequest("w1 w2 w3", (6,))], Sampling(max_new_tokens=8))
    assert alone[0].token_ids == together[0][1].token_ids
    assert together[0][0].token_ids != together[0][1].token_ids


def test_only_the_most_probable_tokens_are_drawn_with_top_k():
    model, tokenizer = tiny("gpt2")
    engine = GenerateEngine(load_policy((model, tokenizer)), batch=200)
    [drawn] = engine.sample([PromptRequest("w1 w2", tuple(range(400)))], Sampling(top_k=2, max_new_tokens=1))
    best = set(np.argsort(first_law(model, tokenizer, "w1 w2", ends=True))[-2:].tolist())
    assert {completion.token_ids[0] if completion.token_ids else EOS for completion in drawn} == best


def test_a_prompt_beyond_the_context_is_an_error_of_its_rows():
    engine = GenerateEngine(load_policy(tiny("gpt2")))
    [long, short] = engine.sample([PromptRequest("w1 " * 70, (1, 2)), PromptRequest("w1", (1,))], Sampling(max_new_tokens=4))
    assert [completion.error is None for completion in (*long, *short)] == [False, False, True]

import pytest
import torch
from tiny_policies import EOS, tiny_policy

from flatspot.core.errors import EngineError
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.hf import HfEngine
from flatspot.engines.prompts import to_completion
from flatspot.engines.scripted import ScriptedEngine
from flatspot.engines.sequences import draw_batch
from flatspot.engines.token_rows import completion_logits, refuse_without_weights, trainable, weights_of

KINDS = ["llama", "gpt2", "t5", "bart"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_whole_sequence(kind):
    policy = tiny_policy(kind)
    prompt, completion = [5, 6, 7], [11, 12, EOS]
    outputs = completion_logits(policy, prompt, temperature=2.0)(completion).detach()
    with torch.no_grad():
        for place in range(3):
            before = completion[:place]
            if policy.encoder_decoder:
                start = [policy.model.config.decoder_start_token_id]
                logits = policy.model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([start + before])).logits
            else:
                logits = policy.model(input_ids=torch.tensor([prompt + before])).logits
            assert outputs[place] == pytest.approx(logits[0, -1].numpy() / 2, abs=2e-4)
    assert outputs.shape == (3, policy.model.config.vocab_size)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_score_by_finite_differences(kind):
    policy = tiny_policy(kind)
    policy.model.double()
    logits_of, completion = completion_logits(policy, [5, 6]), [11, 12, 13]

    def log_p():
        return torch.log_softmax(logits_of(completion).double(), -1)[range(3), completion].sum()

    parameters = trainable(policy)
    gradient = torch.autograd.grad(log_p(), parameters, allow_unused=True)
    direction = [torch.randn(p.shape, generator=torch.Generator().manual_seed(i)).double() for i, p in enumerate(parameters)]
    along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True) if g is not None)
    values = []
    with torch.no_grad():
        for step in (1e-4, -2e-4):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=step)
            values.append(float(log_p()))
    # completion_logits returns float32, which limits the accuracy of a difference
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(along, rel=0.02)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_sampled_ids_are_the_engine_s_completions_with_their_end_token(kind):
    policy, seeds, sampling = tiny_policy(kind), tuple(range(8)), Sampling(max_new_tokens=6)
    ids = policy.tokenizer("w5 w6")["input_ids"]
    rows = draw_batch(policy, [ids], seeds, sampling, "shared", copies=[8])
    engine = HfEngine(policy, mode="shared")
    (completions,) = engine.sample([PromptRequest("w5 w6", seeds)], sampling)
    assert [to_completion(policy, row.ids, 6) for row in rows] == completions
    assert all(row.ids[-1] == EOS or len(row.ids) == 6 for row in rows)


def test_policies_without_weights_are_refused_before_loading():
    for engine, policy in (("scripted", "answers.json"), ("auto", ScriptedEngine({"a": {"b": 1.0}})), ("openai", "m")):
        with pytest.raises(EngineError, match="no weights to differentiate"):
            refuse_without_weights(engine, policy)
    for engine in ("auto", "hf", "openvino"):
        refuse_without_weights(engine, "some/name")


def test_an_engine_in_memory_lends_its_policy():
    engine = HfEngine(tiny_policy("llama"), mode="repeated")
    assert weights_of("auto", engine) == (engine.policy, "repeated")


def test_a_frozen_policy_is_refused():
    policy = tiny_policy("llama")
    assert len(trainable(policy)) == len(list(policy.model.parameters()))
    policy.model.requires_grad_(False)
    with pytest.raises(EngineError, match="requires a gradient"):
        trainable(policy)

"""PPO against enumeration, sums written out, and plain forward passes; and that it learns, resumes and fails as it says."""

import copy
import itertools
import math
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from flatspot.core.errors import RunFolderError, SettingsError, TrainingError  # noqa: E402
from flatspot.core.records import Prompt, Sampling, Score  # noqa: E402
from flatspot.engines.sequences import log_prob_and_entropy  # noqa: E402
from flatspot.theory import clipped_surrogate, enumerate_policy  # noqa: E402
from flatspot_paper.ppo import train as ppo  # noqa: E402
from flatspot_paper.ppo.credit import gae, group_levels  # noqa: E402
from flatspot_paper.ppo.networks import prepare, read, read_policy, read_reference, read_value  # noqa: E402
from flatspot_paper.ppo.settings import Outcome, PPOSettings, reward_metrics  # noqa: E402
from flatspot_paper.ppo.train import Credit, Row, Tokens, train_ppo  # noqa: E402

pytestmark = pytest.mark.thorough

EOS = 2


def words(n, *, special=True):
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {f"w{i}": i for i in range(n)}
    marks = {}
    if special:
        vocabulary = {"<pad>": 0, "<unk>": 1, "<eos>": EOS} | {f"w{i}": i for i in range(3, n)}
        marks = {"eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=marks.get("unk_token", "w0")))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **marks)


def tiny(kind, *, n=12, seed=0, width=16, ends=True):
    """A random model with n tokens; without `ends` no token ends a completion."""
    torch.manual_seed(seed)
    marks = {"eos_token_id": EOS if ends else None, "pad_token_id": 0 if ends else None, "bos_token_id": 1 if ends else None}
    sized = {"vocab_size": n, **marks}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_positions=32, n_embd=width, n_layer=1, n_head=2, initializer_range=0.4, **sized)
        return transformers.GPT2LMHeadModel(config).eval()
    if kind == "llama":
        shape = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(initializer_range=0.4, **shape, **sized)).eval()
    if kind == "bart":
        shape = {f"{s}_{what}": k for s in ("encoder", "decoder") for what, k in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}
        config = transformers.BartConfig(
            d_model=width, max_position_embeddings=32, init_std=0.4, decoder_start_token_id=2, **shape, **sized
        )
        return transformers.BartForConditionalGeneration(config).eval()
    config = transformers.T5Config(d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0, **sized)
    model = transformers.T5ForConditionalGeneration(config).eval()
    for parameter in model.parameters():  # its own initialization is nearly uniform over tokens
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model


def settings(**changes):
    base = {"steps": 2, "buffer_tokens": 24, "prompts_per_round": 8, "minibatch_tokens": 8, "epochs": 2, "learning_rate": 3e-3}
    return PPOSettings(**(base | {"sampling": Sampling(max_new_tokens=3)} | changes))


class Judge:
    """The `Reward` protocol around f(text, call number) → number or None."""

    names = ("f",)

    def __init__(self, f):
        self.f, self.calls = f, 0

    def score(self, prompts, completions):
        self.calls += 1
        values = [self.f(completion.text, self.calls) for completion in completions]
        return [Score(value, {"f": value}, None if value is not None else "it failed") for value in values]

    def describe(self):
        return {"names": ["f"]}


def starts_with_w7(text, _):
    return float(text.startswith("w7"))


def row(ids, *, prompt=(3, 4), number=0, reward=1.0):
    return Row(number, Prompt("p", "w3 w4"), list(prompt), list(ids), False, reward, None if reward is not None else "it failed")


def weights_of(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


# --- the gradient, exactly


def enumerable(length, temperature):
    """(networks, all completions, logits [prefix, token], Jacobian [prefix, token, parameter]) of a policy over 3 tokens, in float64."""
    nets = prepare(tiny("gpt2", n=3, width=4, ends=False).double(), words(3, special=False), settings())
    return nets, list(itertools.product(range(3), repeat=length)), *table_of(nets.policy.model, length, temperature)


def table_of(model, length, temperature):
    parameters = list(model.parameters())
    logits, jacobian = [], []
    for size in range(length):
        for prefix in itertools.product(range(3), repeat=size):
            now = model(input_ids=torch.tensor([[0, 1, *prefix]])).logits[0, -1] / temperature
            rows = [torch.autograd.grad(z, parameters, retain_graph=True) for z in now]
            jacobian.append(np.stack([torch.cat([g.reshape(-1) for g in grads]).numpy() for grads in rows]))
            logits.append(now.detach().numpy())
    return np.stack(logits), np.stack(jacobian)


def expected_gradient(nets, completions, probability, old, advantage, temperature):
    """∇ Σ_y p_old(y) Σ_l min(ρA, clip(ρ)A) through the functions that training uses; old, advantage: {completion: [token]}."""
    options = settings(sampling=Sampling(temperature=temperature, max_new_tokens=9), normalize_advantages=False)
    total = 0.0
    for y, p in zip(completions, probability, strict=True):
        credit = Credit(old[y], np.zeros(len(y)), np.zeros(len(y)), advantage[y])
        terms = ppo.terms_of(nets, [row(y, prompt=(0, 1))], {0: credit}, ppo.tokens_of(credit), options)
        total = total - p * terms[0]
    grads = torch.autograd.grad(total, list(nets.policy.model.parameters()))
    return torch.cat([g.reshape(-1) for g in grads]).numpy()


def values_by_hand(completions, probability, rewards):
    """E[r | prefix] of every prefix, by summing over all completions."""
    value = {}
    for size in range(len(completions[0]) + 1):
        for prefix in {y[:size] for y in completions}:
            inside = [i for i, y in enumerate(completions) if y[:size] == prefix]
            value[prefix] = sum(probability[i] * rewards[i] for i in inside) / sum(probability[i] for i in inside)
    return value


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_at_the_old_policy_is_the_exact_one(temperature):
    nets, ys, logits, jacobian = enumerable(2, temperature)
    rewards = np.random.default_rng(0).normal(size=len(ys))
    exact = enumerate_policy(logits, rewards, jacobian=jacobian)
    at = (np.repeat(np.arange(len(ys)), 2), np.tile(np.arange(2), len(ys)))
    log_prob = read_policy(nets, [[0, 1]] * len(ys), ys, at, temperature)[0].detach().numpy().reshape(-1, 2)
    np.testing.assert_allclose(np.exp(log_prob.sum(1)), exact.probability, rtol=1e-10)
    old = dict(zip(ys, log_prob, strict=True))
    value = values_by_hand(ys, exact.probability, rewards)
    by_token = {y: np.array([value[y[: k + 1]] - value[y[:k]] for k in range(2)]) for y in ys}
    result = expected_gradient(nets, ys, exact.probability, old, by_token, temperature)
    np.testing.assert_allclose(result, exact.gradient, rtol=1e-8, atol=1e-12)
    # and with the credit that training gives for the true values and γ = λ = 1, whose tokens are noisier but right on average
    options = settings(gamma=1.0, gae_lambda=1.0)
    advantages = {
        y: ppo.credit(row(y, reward=r), old[y], np.zeros(2), np.array([value[y[:k]] for k in range(2)]), 0.0, options).advantage
        for y, r in zip(ys, rewards, strict=True)
    }
    assert np.linalg.norm(exact.gradient) > 1e-2
    np.testing.assert_allclose(
        expected_gradient(nets, ys, exact.probability, old, advantages, temperature), exact.gradient, rtol=1e-8, atol=1e-12
    )


def test_the_gradient_away_from_the_old_policy_is_that_of_the_clipped_surrogate():
    nets, ys, old_logits, _ = enumerable(2, 1.0)
    rewards = np.random.default_rng(1).normal(size=len(ys))
    probability = enumerate_policy(old_logits, rewards).probability
    value = values_by_hand(ys, probability, rewards)
    by_token = {y: np.array([value[y[: k + 1]] - value[y[:k]] for k in range(2)]) for y in ys}
    at = (np.repeat(np.arange(len(ys)), 2), np.tile(np.arange(2), len(ys)))
    log_prob = read_policy(nets, [[0, 1]] * len(ys), ys, at, 1.0)[0].detach().numpy().reshape(-1, 2)
    with torch.no_grad():
        for parameter in nets.policy.model.parameters():
            parameter += 0.15 * torch.randn_like(parameter, generator=None)
    logits, jacobian = table_of(nets.policy.model, 2, 1.0)
    exact = clipped_surrogate(logits, old_logits, rewards, jacobian=jacobian)
    plain = clipped_surrogate(logits, old_logits, rewards, jacobian=jacobian, clip_range=0.99)
    assert np.linalg.norm(exact.gradient - plain.gradient) > 1e-2  # clipping had something to clip
    result = expected_gradient(nets, ys, probability, dict(zip(ys, log_prob, strict=True)), by_token, 1.0)
    np.testing.assert_allclose(result, exact.gradient, rtol=1e-7, atol=1e-12)


# --- the pieces, by hand


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0.0, 0.5)])
def test_gae_is_the_sum_it_says(gamma, lam):
    chance = np.random.default_rng(2)
    rewards, values = chance.normal(size=7), chance.normal(size=7)
    after = [*values[1:], 0.0]
    delta = [rewards[k] + gamma * after[k] - values[k] for k in range(7)]
    by_hand = [sum((gamma * lam) ** (k - start) * delta[k] for k in range(start, 7)) for start in range(7)]
    np.testing.assert_allclose(gae(rewards, values, gamma, lam), by_hand, rtol=1e-12)


def test_credit_pays_the_task_at_the_last_token_and_the_kl_at_every_one():
    log_ratio = np.array([0.5, -1.0, 2.0])
    result = ppo.credit(row((3, 4, 2), reward=0.75), np.zeros(3), log_ratio, np.zeros(3), 0.1, settings(gamma=0.0))
    np.testing.assert_allclose(result.advantage, [-0.05, 0.1, -0.2 + 0.75])


@pytest.mark.parametrize("kl", [-3.0, 0.0, 0.45, 0.5, 0.55, 0.65, 9.0])
def test_the_kl_controller_follows_its_formula(kl):
    step = (kl - 0.5) / 0.5
    assert ppo.next_kl_coef(0.2, kl, 0.5) == pytest.approx(0.2 * (1 + 0.1 * np.clip(step, -0.2, 0.2)), rel=1e-12)
    assert ppo.next_kl_coef(0.2, kl, None) == 0.2


def test_entropy_and_its_gradient_are_the_closed_forms():
    z = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    p = torch.softmax(z, -1).detach()
    log_prob, entropy = log_prob_and_entropy(z, [3])
    h = float(-(p * p.log()).sum())
    assert entropy.item() == pytest.approx(h)
    zero = torch.zeros(1, dtype=torch.float64)
    for kind, expected in (("analytic", -p * (p.log() + h)), ("sampled", p - torch.nn.functional.one_hot(torch.tensor([3]), 5))):
        bonus = ppo.ppo_terms(log_prob, entropy, zero, zero, zero, zero, settings(entropy=kind))[2]
        (result,) = torch.autograd.grad(bonus, z, retain_graph=True)
        torch.testing.assert_close(result, expected.to(result.dtype))
    masked = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    entropy = log_prob_and_entropy(masked, [0])[1]
    (slope,) = torch.autograd.grad(entropy.sum(), masked)
    assert entropy.item() == pytest.approx(math.log(2)) and bool(slope.isfinite().all())


@pytest.mark.parametrize("kind", ["analytic", "sampled"])
def test_the_bonus_alone_spreads_the_policy(kind):
    nets = prepare(tiny("gpt2"), words(12), settings())
    ids, options = [int(token_of(nets))], settings(entropy=kind, entropy_coef=1.0, vf_coef=0.0)
    before = read_policy(nets, [[3, 4]], [ids], (np.array([0]), np.array([0])), 1.0)
    credit = Credit(before[0].detach().double().numpy(), np.zeros(1), np.zeros(1), np.zeros(1))
    ppo.minibatch_step(nets, [row(ids)], {0: credit}, ppo.tokens_of(credit), 1, options)
    after = read_policy(nets, [[3, 4]], [ids], (np.array([0]), np.array([0])), 1.0)
    assert after[1].item() > before[1].item() if kind == "analytic" else after[0].item() < before[0].item()


def token_of(nets):
    return nets.policy.model(input_ids=torch.tensor([[3, 4]])).logits[0, -1].argmax()


def test_advantages_are_normalized_within_the_minibatch():
    values = np.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(ppo.normalized(values), (values - 3.0) / (np.sqrt(7.0) + 1e-8))
    assert ppo.normalized(np.array([0.3])).tolist() == [0.3]
    assert ppo.normalized(np.full(4, 0.25)).tolist() == [0.0] * 4


def test_an_epoch_takes_every_token_once(monkeypatch):
    minibatches = []
    monkeypatch.setattr(ppo, "minibatch_step", lambda nets, rows, credits, tokens, size, s: minibatches.append((tokens, size)) or [0.0] * 5)
    rows = [row([5] * n, number=number) for number, n in ((0, 3), (1, 1), (4, 9))]
    credits = {r.number: Credit(*[np.arange(len(r.ids)) + 100.0 * r.number] * 4) for r in rows}
    ppo.update(None, rows, credits, settings(epochs=3, minibatch_tokens=4, normalize_advantages=False), 0)
    everything = sorted((i, place) for i, r in enumerate(rows) for place in range(len(r.ids)))
    per_epoch = len(minibatches) // 3
    assert per_epoch == 4 and all(size == len(tokens.row) <= 4 for tokens, size in minibatches)
    for epoch in range(3):
        some = minibatches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted((r, p) for tokens, _ in some for r, p in zip(tokens.row.tolist(), tokens.place.tolist(), strict=True)) == everything
        assert all(
            (tokens.advantage == [100.0 * rows[r].number + p for r, p in zip(tokens.row, tokens.place, strict=True)]).all()
            for tokens, _ in some
        )
    assert minibatches[0][0].place.tolist() != minibatches[per_epoch][0].place.tolist()


# --- what the networks say


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5", "bart"])
def test_rows_say_the_same_alone_and_padded_beside_longer_ones(kind):
    nets = prepare(tiny(kind), words(12), settings())
    torch.nn.init.normal_(nets.value["head"].weight)
    prompts, completions = [[3, 4], [5, 6, 7, 8, 9], [10]], [[7, 8, EOS], [9], [3, 5, 6, 11]]
    at = (np.array([0, 0, 0, 1, 2, 2, 2, 2]), np.array([0, 1, 2, 0, 0, 1, 2, 3]))
    together = [read(nets, prompts, completions, at) for read in (lambda *a: read_policy(*a, 0.7)[0], read_reference, read_value)]
    model = nets.policy.model
    for i, (prompt, answer) in enumerate(zip(prompts, completions, strict=True)):
        if nets.policy.encoder_decoder:
            start = model.config.decoder_start_token_id
            plain = model(
                input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *answer[:-1]]]), output_hidden_states=True
            )
            logits, states = plain.logits[0], plain.decoder_hidden_states[-1][0]
        else:
            plain = model(input_ids=torch.tensor([prompt + answer]), output_hidden_states=True)
            first = len(prompt) - 1
            logits, states = plain.logits[0, first:-1], plain.hidden_states[-1][0, first:-1]
        here = at[0] == i
        places = torch.arange(len(answer))
        torch.testing.assert_close(together[0][here], torch.log_softmax(logits / 0.7, -1)[places, answer], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[1][here], torch.log_softmax(logits, -1)[places, answer], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[2][here], nets.value["head"](states)[:, 0], rtol=1e-4, atol=1e-5)


def test_draws_follow_the_tempered_policy_and_kl_compares_it_with_the_reference_untempered():
    options = settings(buffer_tokens=3000, prompts_per_round=3000, sampling=Sampling(temperature=2.0, max_new_tokens=1))
    nets = prepare(tiny("gpt2"), words(12), options)
    rows = ppo.sample_buffer(nets, [Prompt("a", "w3 w4")], [[3, 4]], Judge(starts_with_w7), options, 0)
    with torch.no_grad():
        logits = nets.policy.model(input_ids=torch.tensor([[3, 4]])).logits[0, -1]
    share = np.bincount([r.ids[0] for r in rows], minlength=12) / len(rows)
    tempered = torch.softmax(logits / 2, -1).numpy()
    assert 0.5 * np.abs(share - tempered).sum() < 0.03 < 0.5 * np.abs(torch.softmax(logits, -1).numpy() - tempered).sum()
    (credit,) = ppo.evaluate(nets, rows[:1], 0.0, options)
    token = rows[0].ids[0]
    assert credit.log_ratio[0] == pytest.approx(math.log(tempered[token]) - float(torch.log_softmax(logits, -1)[token]), abs=1e-5)


def test_completions_end_with_their_end_token_and_the_buffer_is_filled():
    options = settings(buffer_tokens=100, samples_per_prompt=3, sampling=Sampling(max_new_tokens=6))
    nets = prepare(tiny("t5"), words(12), options)
    prompts = [Prompt("a", "w3 w4"), Prompt("b", "w5")]
    rows = ppo.sample_buffer(nets, prompts, [[3, 4], [5]], Judge(starts_with_w7), options, 0)
    assert sum(len(r.ids) for r in rows) >= 100 and len(rows) % 24 == 0
    assert all(EOS not in r.ids[:-1] and r.truncated == (r.ids[-1] != EOS) for r in rows)
    assert {r.truncated for r in rows} == {True, False}
    assert all(len({r.prompt.id for r in rows[i : i + 3]}) == 1 for i in range(0, len(rows), 3))
    again = ppo.sample_buffer(nets, prompts, [[3, 4], [5]], Judge(starts_with_w7), options, 0)
    other = ppo.sample_buffer(nets, prompts, [[3, 4], [5]], Judge(starts_with_w7), options, 1)
    assert again == rows != other


def test_the_precision_is_of_one_training_and_not_of_those_after_it(monkeypatch):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    AcceleratorState._reset_state(reset_partial_state=True)
    model, rows = tiny("llama"), ([[3, 4, 5]], [[6, 7]])
    half = prepare(copy.deepcopy(model), words(12), settings(mixed_precision="bf16"))
    assert Accelerator().mixed_precision == "no"
    plain = prepare(model, words(12), settings())
    first, second = (read_policy(nets, *rows, (np.array([0, 0]), np.array([0, 1])), 1.0)[0] for nets in (half, plain))
    assert first.shape == second.shape and 1e-5 < float((first - second).detach().abs().max()) < 0.1
    assert (half.precision, plain.precision) == ("bf16", "no")


def test_chunks_of_a_minibatch_add_up():
    gradients = []
    for rows_per_forward in (1, 64):
        options = settings(rows_per_forward=rows_per_forward, epochs=1, minibatch_tokens=99)
        nets = prepare(tiny("llama"), words(12), options)
        rows = [row([5, 6, EOS]), row([7], number=1, reward=0.0), row([8, 9], number=2, prompt=[3, 4, 5])]
        ppo.learn(nets, rows, 0.1, options, 0)
        gradients.append(torch.cat([p.grad.reshape(-1) for p in nets.policy.model.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert float(gradients[0].norm()) > 0.05


def test_biases_and_norms_are_not_decayed():
    nets = prepare(tiny("gpt2"), words(12), settings(weight_decay=0.5))
    decayed, others = nets.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    named = {id(p): name for model in (nets.policy.model, nets.value["trunk"]) for name, p in model.named_parameters()}
    assert all(("bias" in named[id(p)]) or ("ln_" in named[id(p)]) for p in others["params"])
    assert not any(("bias" in named.get(id(p), "")) or ("ln_" in named.get(id(p), "")) for p in decayed["params"])
    assert len(decayed["params"]) + len(others["params"]) == 2 * len(list(nets.policy.model.parameters())) + 1


# --- training


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_the_reward_rises(kind):
    reports = []
    options = settings(steps=8, buffer_tokens=96, prompts_per_round=32, minibatch_tokens=48, learning_rate=1e-2)
    history = train_ppo(tiny(kind), words(12), ["w3 w4", "w5 w6 w8"], Judge(starts_with_w7), options, on_step=reports.append)
    assert reports == history and [metrics.step for metrics in history] == list(range(8))
    assert history[0].reward < 0.3 and history[0].kl == pytest.approx(0.0, abs=1e-6)
    assert max(metrics.reward for metrics in history[-3:]) > 0.7
    for before, after in itertools.pairwise(history):
        assert after.kl_coef == ppo.next_kl_coef(before.kl_coef, before.kl, 1.0)


def test_metrics_give_the_std_of_each_prompt():
    rows = [(0, "a", 1.0, False, 3, None), (1, "a", 0.0, True, 5, None), (2, "b", None, True, 4, "bad"), (3, "b", 1.0, False, 4, None)]
    rows += [(4, "c", 0.5, False, 4, None), (5, "c", 0.5, False, 4, None)]
    result = reward_metrics([Outcome(*one) for one in rows])
    assert result["prompts"]["a"] == {"n": 2, "reward": 0.5, "reward_std": pytest.approx(math.sqrt(0.5))}
    assert result["prompts"]["b"] == {"n": 1, "reward": 1.0, "reward_std": None}
    assert result["prompts"]["c"]["reward_std"] == 0.0
    assert (result["completions"], result["unscored"], result["reward"]) == (6, 1, pytest.approx(0.6))
    assert result["reward_std"] == pytest.approx(math.sqrt(0.5) / 2) and result["truncated"] == pytest.approx(1 / 3)


def test_a_completion_without_a_reward_takes_no_part():
    rows = [row([5, 6, EOS], number=0, reward=1.0), row([7], number=1, reward=None), row([8, 9], number=2, reward=0.0)]
    start, result = tiny("gpt2"), []
    for some in (rows, [rows[0], rows[2]]):
        nets = prepare(copy.deepcopy(start), words(12), settings())
        metrics = ppo.learn(nets, some, 0.1, settings(), 0)
        result.append((weights_of(nets.policy.model), metrics.reward, metrics.policy_loss))
    assert torch.equal(result[0][0], result[1][0]) and result[0][1:] == result[1][1:] and result[0][1] == 0.5
    assert not torch.equal(result[0][0], weights_of(start))


def test_one_prompt_and_equal_rewards_go_through():
    options = settings(steps=1, buffer_tokens=1, prompts_per_round=1, sampling=Sampling(max_new_tokens=1))
    (alone,) = train_ppo(tiny("gpt2"), words(12), ["w3"], Judge(lambda *_: 0.0), options)
    assert (alone.completions, alone.reward_std, alone.reward) == (1, None, 0.0)


# --- going on, and stopping


@pytest.fixture
def broken_off(tmp_path):
    """A folder where training was interrupted in its third step."""

    def interrupt(text, call):
        if call == 3:
            raise KeyboardInterrupt
        return starts_with_w7(text, call)

    with pytest.raises(KeyboardInterrupt):
        train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], Judge(interrupt), resumable(4), checkpoints=tmp_path)
    return tmp_path


def resumable(steps, **changes):
    return settings(steps=steps, save_every=1, buffer_tokens=8, **changes)


def test_an_interrupted_training_ends_as_one_that_was_not(broken_off):
    whole, resumed = tiny("gpt2"), tiny("gpt2")
    expected = train_ppo(whole, words(12), ["w3 w4", "w5"], Judge(starts_with_w7), resumable(4))
    reports = []
    result = train_ppo(
        resumed, words(12), ["w3 w4", "w5"], Judge(starts_with_w7), resumable(4), checkpoints=broken_off, on_step=reports.append
    )
    assert result == expected and len(reports) == 2
    assert torch.equal(weights_of(resumed), weights_of(whole))
    judge = Judge(starts_with_w7)
    assert train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], judge, resumable(4), checkpoints=broken_off) == expected
    assert judge.calls == 0


def test_a_checkpoint_of_another_training_is_refused(broken_off):
    content = (broken_off / "ppo.pt").read_bytes()
    for model, prompts, options, named in (
        (tiny("gpt2"), ["w3 w4", "w5"], resumable(4, learning_rate=1e-5), "settings.learning_rate"),
        (tiny("gpt2"), ["w3 w4"], resumable(4), "prompts"),
        (tiny("gpt2", seed=1), ["w3 w4", "w5"], resumable(4), "policy"),
    ):
        with pytest.raises(RunFolderError, match=named):
            train_ppo(model, words(12), prompts, Judge(starts_with_w7), options, checkpoints=broken_off)
    assert (broken_off / "ppo.pt").read_bytes() == content
    (broken_off / "ppo.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunFolderError, match="damaged"):
        train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], Judge(starts_with_w7), resumable(4), checkpoints=broken_off)


@pytest.mark.parametrize("f", [lambda text, call: 1e45, lambda text, call: None], ids=["infinite loss", "nothing scored"])
def test_what_cannot_be_learned_from_stops_with_the_last_checkpoint_kept(broken_off, f):
    content, model = (broken_off / "ppo.pt").read_bytes(), tiny("gpt2")
    with pytest.raises(TrainingError, match=r"step 2: .*(not finite|could be scored \(it failed\)).*ppo.pt, is unchanged"):
        train_ppo(model, words(12), ["w3 w4", "w5"], Judge(f), resumable(4), checkpoints=broken_off)
    assert (broken_off / "ppo.pt").read_bytes() == content
    saved = torch.load(broken_off / "ppo.pt", weights_only=True)["state"]["policy"]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_steps_that_break_the_model_are_not_saved(tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        train_ppo(tiny("gpt2"), words(12), ["w3"], Judge(starts_with_w7), resumable(3, learning_rate=1e20, epochs=1, minibatch_tokens=99),
                  checkpoints=tmp_path)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_checkpoint_that_was_there(broken_off, monkeypatch):
    content = (broken_off / "ppo.pt").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunFolderError, match="No space left"):
        train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], Judge(starts_with_w7), resumable(4), checkpoints=broken_off)
    assert [(p.name, p.read_bytes() == content) for p in broken_off.iterdir()] == [("ppo.pt", True)]


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": math.nan}, {"gamma": 1.1}, {"clip_range": 0.0}, {"kl_target": 0.0}, {"entropy": "exact"},
     {"epochs": -1}, {"kl_coef": math.inf}, {"max_grad_norm": 0.0}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        PPOSettings(**wrong)


def test_weights_that_cannot_take_a_step_are_refused():
    for model in (tiny("gpt2").bfloat16(), tiny("gpt2").requires_grad_(False)):
        with pytest.raises(SettingsError, match="32 bits"):
            train_ppo(model, words(12), ["w3"], Judge(starts_with_w7), settings())


SCRIPT = """
import torch
torch.set_num_threads(1)
import importlib.util
spec = importlib.util.spec_from_file_location("test_ppo", {file!r}); t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
model = t.tiny("gpt2")
history = t.train_ppo(model, t.words(12), ["w3 w4", "w5"], t.Judge(t.starts_with_w7), t.settings(prompts_per_round=7), checkpoints={out!r})
import os
logits = model(torch.tensor([[3, 4], [5, 7]])).logits.detach()
torch.save((history[-1].reward, history[-1].policy_loss, t.weights_of(model), logits), {out!r} + "/rank" + os.environ.get("RANK", "0"))
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    result = {}
    for world in (1, 2):
        out = tmp_path / str(world)
        out.mkdir()
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(file=__file__, out=str(out)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = []
        for rank in range(world):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            variables = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | {name: str(value) for name, value in place.items()}
            with (out / f"log{rank}").open("w") as log:
                started.append(subprocess.Popen([sys.executable, str(script)], env=os.environ | variables, stdout=log, stderr=log))
        try:
            codes = [process.wait(timeout=120) for process in started]
        finally:
            for process in started:
                process.kill()
        assert codes == [0] * world, (out / "log0").read_text()[-3000:]
        result[world] = [torch.load(out / f"rank{rank}", weights_only=True) for rank in range(world)]
    first, second = result[2]
    assert first[:2] == second[:2] and torch.equal(first[2], second[2])
    assert first[0] == result[1][0][0] and first[1] == pytest.approx(result[1][0][1], abs=1e-4)
    # not the weights: a key's bias moves no logit, so Adam steps along the sign of its rounding
    torch.testing.assert_close(first[3], result[1][0][3], rtol=1e-3, atol=1e-3)


def test_tokens_of_rows_are_renumbered():
    tokens = Tokens(np.array([4, 1, 4, 7]), np.array([0, 5, 2, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
    result = tokens.of_rows(np.array([1, 7]))
    assert (result.row.tolist(), result.place.tolist(), result.advantage.tolist()) == ([0, 1], [5, 1], [0.2, 0.4])


# --- prompts read once, a head instead of a network, groups instead of values


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_rows_that_share_a_prompt_say_and_teach_what_they_do_alone(kind):
    from flatspot.engines.sequences import token_logits, token_logits_and_states, token_states

    policy = prepare(tiny(kind).double(), words(12), settings()).policy
    prompts = [[3, 4], [5, 6, 7, 8, 9], [3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]
    completions = [[7, 8, EOS], [9], [3, 5, 6, 11], [4, 4], [10, 3, EOS]]
    at = (np.repeat(np.arange(5), [3, 1, 4, 2, 3]), np.concatenate([np.arange(n) for n in (3, 1, 4, 2, 3)]))
    calls = []
    policy.model.register_forward_pre_hook(lambda m, args, kwargs: calls.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True)
    results = []
    for share in (False, True):
        policy.model.zero_grad()
        logits, states = token_logits_and_states(policy, prompts, completions, at, share=share)
        torch.testing.assert_close(token_logits(policy, prompts, completions, at, share=share), logits, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(token_states(policy, policy.model, prompts, completions, at, share=share), states)
        (torch.log_softmax(logits, -1)[:, 5].sum() + (states**2).sum()).backward()
        results.append((logits.detach(), states.detach(), [p.grad.clone() for p in policy.model.parameters()]))
    assert calls == [(5, 7)] * 3 + [(2, 4), (5, 4)] * 3  # five rows whole; then two prompts, and five rows behind them
    close = {"rtol": 1e-9, "atol": 1e-11} if kind == "gpt2" else {"rtol": 1e-3, "atol": 1e-5}  # Llama's rotations are float32 in any case
    for alone, shared in zip(*results, strict=True):
        torch.testing.assert_close(shared, alone, **close)


def test_a_value_head_teaches_the_policy_nothing_and_learns_itself():
    nets = prepare(tiny("llama"), words(12), settings(value="head"))
    torch.nn.init.normal_(nets.value["head"].weight)
    at = (np.array([0, 0, 1]), np.array([0, 1, 0]))
    log_prob, entropy, value = read(nets, [[3, 4], [3, 4]], [[5, 6], [7]], at, 0.7)
    expected = read_policy(nets, [[3, 4], [3, 4]], [[5, 6], [7]], at, 0.7)
    torch.testing.assert_close((log_prob, entropy), expected)
    states = nets.policy.model(input_ids=torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states[-1][0, 1:]
    torch.testing.assert_close(value[:2], nets.value["head"](states)[:, 0], rtol=1e-4, atol=1e-5)
    value.sum().backward()
    assert all(p.grad is None for p in nets.policy.model.parameters()) and float(nets.value["head"].weight.grad.norm()) > 0


def test_levels_of_groups_by_hand():
    outcomes = [Outcome(i, "a", r, False, 3, None) for i, r in enumerate([1.0, 0.0, 0.5, 0.2, None, 0.7, 0.3, 0.3, 0.3])]
    centered = group_levels(outcomes, settings(advantages="group", samples_per_prompt=3))
    normal = group_levels(outcomes, settings(advantages="group-normalized", samples_per_prompt=3))
    by_hand = {0: 0.5, 1: -0.5, 2: 0.0, 3: -0.25, 5: 0.25, 6: 0.0, 7: 0.0, 8: 0.0}
    assert centered == pytest.approx(by_hand)
    stds = {0: 0.5, 1: 0.5, 2: 0.5, 3: math.sqrt(0.125), 5: math.sqrt(0.125), 6: 0.0, 7: 0.0, 8: 0.0}
    assert normal == pytest.approx({n: by_hand[n] / (stds[n] + 1e-4) for n in by_hand})


@pytest.mark.parametrize("advantages", ["group", "group-normalized"])
def test_groups_raise_the_reward_without_a_value(advantages):
    options = settings(
        steps=8, buffer_tokens=96, samples_per_prompt=4, minibatch_tokens=48, learning_rate=1e-2, advantages=advantages,
        normalize_advantages=False,
    )  # fmt: skip
    history = train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5 w6 w8"], Judge(starts_with_w7), options)
    assert history[0].reward < 0.3 and max(metrics.reward for metrics in history[-3:]) > 0.7
    assert all(metrics.value_loss == 0 for metrics in history)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_an_adapter_alone_is_trained(tmp_path):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(tiny("llama"), peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    options = settings(steps=8, buffer_tokens=96, minibatch_tokens=48, samples_per_prompt=4, learning_rate=3e-2, value="head", save_every=4)
    history = train_ppo(model, words(12), ["w3 w4", "w5 w6 w8"], Judge(starts_with_w7), options, checkpoints=tmp_path)
    assert max(metrics.reward for metrics in history[-3:]) > 0.5 > history[0].reward
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def test_settings_that_compare_nothing_are_refused():
    with pytest.raises(SettingsError, match="samples_per_prompt to 2 or more"):
        settings(advantages="group")
    with pytest.raises(SettingsError, match="value must be one of network, head, got 'none'"):
        settings(value="none")


def test_without_a_kl_coefficient_there_is_no_reference_and_no_kl(tmp_path):
    options = settings(steps=2, kl_coef=0.0, kl_target=None, save_every=1)
    assert prepare(tiny("gpt2"), words(12), options).reference is None
    history = train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], Judge(starts_with_w7), options, checkpoints=tmp_path)
    assert [metrics.kl for metrics in history] == [None, None]
    watched = train_ppo(tiny("gpt2"), words(12), ["w3 w4", "w5"], Judge(starts_with_w7), settings(kl_coef=0.0))
    assert [metrics.reward for metrics in watched] == [metrics.reward for metrics in history]
    assert watched[0].kl == pytest.approx(0.0, abs=1e-6)

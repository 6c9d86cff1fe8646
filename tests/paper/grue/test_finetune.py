"""The settings of finetuning: those of the paper's configurations, small ones, and what the algorithms differ in."""

from dataclasses import asdict, replace

import pytest

from flatspot_paper.grue.finetune import PAPER, finetuning_of
from flatspot_paper.grue.plan import SCALES, plan_tasks
from flatspot_paper.grue.stages import arms_of
from flatspot_paper.grue.tasks import TASKS


def of(task, scale="paper", algorithm="ppo", **changes):
    [plan] = plan_tasks(SCALES[scale], [task])
    return finetuning_of(plan, scale, algorithm, **changes)


# from the official configurations: buffer, rate, entropy, KL coefficient and target, steps, top-k, longest completion
RFT = {
    "narrativeqa": (2560, 2e-6, 0.0, 0.001, 1.0, 100, 50, 50),
    "totto": (2560, 2e-6, 0.0, 0.001, 2.0, 100, 0, 50),
    "commongen": (1280, 2e-6, 0.01, 0.001, 2.0, 100, 0, 20),
    "iwslt2017": (5120, 1e-6, 0.0, 0.001, 0.2, 50, 10, 128),
    "cnn_dm": (5120, 2e-6, 0.0, 0.001, 0.2, 100, 50, 100),
    "dailydialog": (1280, 1e-6, 0.0, 0.2, 0.5, 50, 20, 20),
    "imdb": (1280, 1e-6, 0.0, 0.1, 0.1, 50, 50, 48),
}
AFTER_SFT = {
    "narrativeqa": {"learning_rate": 5e-7, "kl_target": 0.2},
    "totto": {"learning_rate": 5e-7, "kl_coef": 0.01, "kl_target": 0.2, "top_k": 50},
    "commongen": {"kl_coef": 0.01, "kl_target": 1.0, "top_k": 50},
    "iwslt2017": {"learning_rate": 5e-7, "top_k": 5},
    "cnn_dm": {"kl_coef": 0.01, "top_k": 100, "steps": 50},
    "dailydialog": {"kl_target": 0.05},
    "imdb": {},
}


@pytest.mark.parametrize("task", TASKS)
def test_rl_has_the_papers_settings(task):
    made = of(task)
    rl, sampling = made.rl, made.rl.sampling
    told = (
        rl.buffer_tokens,
        rl.learning_rate,
        rl.entropy_coef,
        rl.kl_coef,
        rl.kl_target,
        rl.steps,
        sampling.top_k,
        sampling.max_new_tokens,
    )
    assert told == RFT[task]
    assert (rl.minibatch_tokens, rl.epochs, rl.gamma, rl.gae_lambda, rl.clip_range, rl.vf_coef) == (64, 5, 0.99, 0.95, 0.2, 0.5)
    assert (rl.max_grad_norm, rl.normalize_advantages, rl.advantages, rl.value) == (0.5, True, "gae", "network")
    assert (rl.prompts_per_round, rl.samples_per_prompt, rl.weight_decay, made.adapter_rank) == (10, 1, 1e-6, None)
    expected = {**asdict(rl), **AFTER_SFT[task]}
    top_k = expected.pop("top_k", sampling.top_k)
    assert asdict(made.rl_after_sft) == {**expected, "sampling": asdict(replace(sampling, top_k=top_k))}


@pytest.mark.parametrize(
    ("task", "batch", "epochs", "rate", "schedule", "decay", "whole_text"),
    [
        ("narrativeqa", 64, 5, 1e-5, "constant", 0.01, False),
        ("totto", 8, 5, 1e-4, "constant_with_warmup", 0.1, False),
        ("commongen", 8, 4, 1e-5, "cosine", 0.01, False),
        ("iwslt2017", 64, 5, 1e-5, "constant", 0.1, False),
        ("cnn_dm", 16, 2, 1e-4, "cosine", 0.1, False),
        ("dailydialog", 32, 20, 1e-5, "constant", 0.0, True),
        ("imdb", 16, 10, 1e-5, "constant", 0.0, True),
    ],
)
def test_sft_has_the_papers_settings(task, batch, epochs, rate, schedule, decay, whole_text):
    made = of(task)
    names = ("per_device_train_batch_size", "num_train_epochs", "learning_rate", "lr_scheduler_type", "weight_decay")
    assert tuple(made.sft[name] for name in names) == (batch, epochs, rate, schedule, decay)
    assert made.whole_text is whole_text
    assert PAPER.keys() == TASKS.keys()


def test_grpo_differs_from_ppo_in_its_advantages_alone_at_small_scale():
    ppo, grpo = asdict(of("imdb", "small").rl), asdict(of("imdb", "small", "grpo").rl)
    assert {name for name in ppo if ppo[name] != grpo[name]} == {"advantages", "normalize_advantages"}
    assert grpo["advantages"] == "group-normalized" and ppo["samples_per_prompt"] > 1
    paper = of("totto", algorithm="grpo").rl
    assert (paper.prompts_per_round, paper.samples_per_prompt) == (2, 5)  # ten completions a round, as under PPO


def test_steps_can_be_given():
    made = of("imdb", "small", rl_steps=3, sft_steps=4, seed=5)
    assert (made.rl.steps, made.rl_after_sft.steps, made.sft["max_steps"], made.rl.seed, made.sft["seed"]) == (3, 3, 4, 5, 5)


def test_the_arms_of_a_stage():
    assert arms_of("rft", ["ppo", "grpo"]) == ["rft-ppo", "rft-grpo"]
    assert arms_of("sft+rft", ["grpo"]) == ["sft", "sft+rft-grpo"]
    assert arms_of("warmup", ["ppo"]) == ["warmup", "warmup+rft-ppo"]
    assert arms_of("all", ["ppo"]) == ["rft-ppo", "sft", "sft+rft-ppo", "warmup", "warmup+rft-ppo"]
    assert arms_of("stats", ["ppo"]) == []


def test_tokens_are_counted_as_if_nothing_were_short():
    [plan] = plan_tasks(SCALES["paper"], ["narrativeqa"])
    made = finetuning_of(plan, "paper")
    rows = 60  # six rounds of ten completions of 50 tokens are the first to fill 2,560
    sampled, read = made.tokens("rft-ppo", plan)
    assert sampled == 100 * rows * 50
    assert read == 2 * 100 * 5 * 47 * rows * (512 + 50)  # 3,000 tokens are 47 minibatches of at most 64; policy and value network
    assert finetuning_of(plan, "paper", "grpo").tokens("rft-grpo", plan) == (sampled, read // 2)
    assert made.tokens("sft", plan) == (0, 5 * 79 * 64 * (512 + 19))  # 5,000 inputs are 79 batches of 64
    [plan] = plan_tasks(SCALES["small"], ["imdb"])
    made = finetuning_of(plan, "small", rl_steps=3, sft_steps=4)
    assert made.tokens("rft-ppo", plan) == (3 * 16 * 48, 3 * 2 * 16 * (64 + 48))
    assert made.tokens("sft", plan) == (0, 4 * 8 * (64 + 48))

"""How a task's policy is finetuned: RL and SFT with the paper's settings, or with small ones that two CPU cores can pay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from flatspot.core.plain import Json
from flatspot.core.records import Sampling
from flatspot.training.warmup.probe import ProbeSettings
from flatspot.training.warmup.stop_rule import StopRule
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.ppo.settings import PPOSettings

Algorithm = Literal["ppo", "grpo"]
ALGORITHMS: tuple[Algorithm, ...] = ("ppo", "grpo")
SMALL_RATE = 3e-4  # of adapters, under RL and under SFT
WARMUP_LABELS = "5%"  # of the inputs


@dataclass(frozen=True, slots=True)
class Paper:
    """A task's settings in the official configurations: of PPO, of PPO after SFT where they differ, and of SFT."""

    buffer_tokens: int
    rate: float
    kl_coef: float
    kl_target: float
    steps: int
    entropy_coef: float = 0.0
    top_k: int | None = None  # None: as in the statistics
    max_new_tokens: int | None = None
    after_sft: Mapping[str, float] = ()  # type: ignore[assignment]
    sft: Mapping[str, Json] = ()  # type: ignore[assignment]


def _sft(batch: int, epochs: int, rate: float, schedule: str, decay: float) -> dict[str, Json]:
    return {
        "per_device_train_batch_size": batch,
        "num_train_epochs": epochs,
        "learning_rate": rate,
        "lr_scheduler_type": schedule,
        "weight_decay": decay,
    }


PAPER: Mapping[str, Paper] = {
    "narrativeqa": Paper(
        2560, 2e-6, 0.001, 1.0, 100, max_new_tokens=50,
        after_sft={"rate": 5e-7, "kl_target": 0.2}, sft=_sft(64, 5, 1e-5, "constant", 0.01),
    ),
    "totto": Paper(
        2560, 2e-6, 0.001, 2.0, 100,
        after_sft={"rate": 5e-7, "kl_coef": 0.01, "kl_target": 0.2, "top_k": 50}, sft=_sft(8, 5, 1e-4, "constant_with_warmup", 0.1),
    ),
    "commongen": Paper(
        1280, 2e-6, 0.001, 2.0, 100, entropy_coef=0.01,
        after_sft={"kl_coef": 0.01, "kl_target": 1.0, "top_k": 50}, sft=_sft(8, 4, 1e-5, "cosine", 0.01),
    ),
    "iwslt2017": Paper(5120, 1e-6, 0.001, 0.2, 50, after_sft={"rate": 5e-7, "top_k": 5}, sft=_sft(64, 5, 1e-5, "constant", 0.1)),
    "cnn_dm": Paper(
        5120, 2e-6, 0.001, 0.2, 100, after_sft={"kl_coef": 0.01, "top_k": 100, "steps": 50}, sft=_sft(16, 2, 1e-4, "cosine", 0.1)
    ),
    "dailydialog": Paper(1280, 1e-6, 0.2, 0.5, 50, after_sft={"kl_target": 0.05}, sft=_sft(32, 20, 1e-5, "constant", 0.0)),
    "imdb": Paper(1280, 1e-6, 0.1, 0.1, 50, after_sft={}, sft=_sft(16, 10, 1e-5, "constant", 0.0)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finetuning:
    """How one task's policy is finetuned.

    rl, rl_after_sft  of the pretrained policy, and of the one after SFT
    sft               options of the trainer
    whole_text        SFT's loss is also on the prompt, as the paper has it for causal models
    answer_tokens     SFT's answers are cut to so many tokens; None: whole
    adapter_rank      of LoRA on every linear layer; None: all weights are trained
    probe             of the warm-up, which is SFT as above until it stops by itself
    """

    rl: PPOSettings
    rl_after_sft: PPOSettings
    sft: Mapping[str, Json]
    whole_text: bool
    answer_tokens: int | None
    adapter_rank: int | None
    probe: ProbeSettings

    def to_json(self, arm: str) -> dict[str, Json]:
        """Every setting of an arm: "rft-…", "sft", "warmup", "sft+rft-…", "warmup+rft-…"."""
        shared: dict[str, Json] = {"adapter_rank": self.adapter_rank}
        if "rft-" in arm:
            return {**shared, "rl": asdict(self.rl_of(arm))}
        own = {**shared, "sft": dict(self.sft), "whole_text": self.whole_text, "answer_tokens": self.answer_tokens}
        return own if arm == "sft" else {**own, "warmup_labels": WARMUP_LABELS, "probe": asdict(self.probe), "rule": asdict(StopRule())}

    def rl_of(self, arm: str) -> PPOSettings:
        """RL's settings in an arm: of the pretrained policy, or of one that was trained on labels before."""
        return self.rl_after_sft if "+" in arm else self.rl

    def tokens(self, arm: str, plan: TaskPlan) -> tuple[int, int]:
        """(tokens sampled, tokens read in training) by an arm without the SFT before it, as if prompts and answers had their full lengths.

        RL reads every completion with tokens in a minibatch whole, by the policy and by a value network; SFT, one reference per input.
        """
        prompt, most = plan.task.prompt_tokens, plan.sampling.max_new_tokens
        if "rft-" not in arm:
            batch, passes = int(str(self.sft["per_device_train_batch_size"])), int(str(self.sft.get("num_train_epochs", 1)))
            steps = int(str(self.sft.get("max_steps", passes * math.ceil((plan.asked.size or 0) / batch))))
            probes = 0 if arm == "sft" else 1 + steps // (self.probe.every or max(1, steps // 20))
            return probes * self.probe.prompts * self.probe.max_completions * most, steps * batch * (prompt + most)
        rl = self.rl_of(arm)
        most = rl.sampling.max_new_tokens
        a_round = rl.prompts_per_round * rl.samples_per_prompt
        rows = a_round * max(1, math.ceil(rl.buffer_tokens / (a_round * most)))
        updates = math.ceil(rows * most / rl.minibatch_tokens)
        networks = 2 if rl.learns_value and rl.value == "network" else 1
        return rl.steps * rows * most, rl.steps * rl.epochs * updates * min(rows, rl.minibatch_tokens) * (prompt + most) * networks


def finetuning_of(
    plan: TaskPlan, scale: str, algorithm: Algorithm = "ppo", *, rl_steps: int | None = None, sft_steps: int | None = None, seed: int = 0
) -> Finetuning:
    """The settings of a task at a scale; `None` leaves what the scale says.

    algorithm  "ppo": advantages by GAE from a value, normalized over a minibatch; "grpo": a completion's reward minus the mean of its
               prompt's, over their std. All else is equal
    """
    made = _paper(plan, algorithm, seed) if scale == "paper" else _small(plan, algorithm, seed)
    if rl_steps is not None:
        made = replace(made, rl=replace(made.rl, steps=rl_steps), rl_after_sft=replace(made.rl_after_sft, steps=rl_steps))
    if sft_steps is not None:
        made = replace(made, sft={**made.sft, "max_steps": sft_steps})
    return made


def _by_groups(settings: PPOSettings, algorithm: Algorithm) -> PPOSettings:
    if algorithm == "ppo":
        return settings
    per_prompt = max(settings.samples_per_prompt, 5)
    return replace(
        settings,
        advantages="group-normalized",
        normalize_advantages=False,
        samples_per_prompt=settings.samples_per_prompt if settings.samples_per_prompt > 1 else per_prompt,
        prompts_per_round=settings.prompts_per_round if settings.samples_per_prompt > 1 else settings.prompts_per_round // per_prompt,
    )


def _paper(plan: TaskPlan, algorithm: Algorithm, seed: int) -> Finetuning:
    own = PAPER[plan.task.name]

    def settings(values: Paper) -> PPOSettings:
        top_k = plan.sampling.top_k if values.top_k is None else values.top_k
        most = values.max_new_tokens or plan.sampling.max_new_tokens
        made = PPOSettings(
            steps=values.steps,
            buffer_tokens=values.buffer_tokens,
            learning_rate=values.rate,
            entropy_coef=values.entropy_coef,
            kl_coef=values.kl_coef,
            kl_target=values.kl_target,
            sampling=Sampling(top_k=top_k, max_new_tokens=most),
            seed=seed,
        )
        return _by_groups(made, algorithm)

    after = replace(own, **dict(own.after_sft))  # type: ignore[arg-type]
    options: dict[str, Json] = {**own.sft, "seed": seed, "logging_steps": 50}
    return Finetuning(settings(own), settings(after), options, plan.task.policy != "t5-base", None, None, ProbeSettings(seed=seed))


def _small(plan: TaskPlan, algorithm: Algorithm, seed: int) -> Finetuning:
    rl = PPOSettings(
        steps=20,
        buffer_tokens=1,  # one round a step
        prompts_per_round=4,
        samples_per_prompt=4,
        minibatch_tokens=100_000,  # one update an epoch
        epochs=2,
        learning_rate=SMALL_RATE,
        kl_coef=0.0,
        kl_target=None,
        value="head",
        mixed_precision="bf16",
        sampling=Sampling(top_k=plan.sampling.top_k, max_new_tokens=plan.sampling.max_new_tokens),
        seed=seed,
        save_every=5,
    )
    rl = _by_groups(rl, algorithm)
    sft: dict[str, Json] = {
        "per_device_train_batch_size": 8,
        "max_steps": 30,
        "learning_rate": SMALL_RATE,
        "lr_scheduler_type": "constant",
        "bf16": True,
        "seed": seed,
        "logging_steps": 10,
    }
    probe = ProbeSettings(prompts=16, max_completions=8, every=4, seed=seed)
    return Finetuning(rl, rl, sft, False, plan.sampling.max_new_tokens, 16, probe)

"""The objectives to maximize, per sample, from log-probabilities.

With one output token and a reward for every label, the expected reward V = Σ_k p_k r_k and its gradient are exact. Everything starts from
log p = log_softmax(logits): log(softmax(logits)) is -inf as soon as a probability underflows, which happens in the regime studied here.
"""

from __future__ import annotations

import torch

_CORRECT, _WRONG, _WRONG_HIGH_INIT = 1.0, -1.0, 0.5


def reward_table(target: torch.Tensor, moved: torch.Tensor, classes: int, *, high_init: bool = False) -> torch.Tensor:
    """[n, class]: the reward of answering each label: +1 for the target, else -1.

    With `high_init`, a wrong answer on a sample whose label moved has +0.5.

    >>> reward_table(torch.tensor([0, 1]), torch.tensor([False, True]), 2, high_init=True).tolist()
    [[1.0, -1.0], [0.5, 1.0]]
    """
    wrong = torch.where(moved, _WRONG_HIGH_INIT, _WRONG) if high_init else torch.full(target.shape, _WRONG)
    return wrong.to(torch.float32).unsqueeze(1).repeat(1, classes).scatter(1, target.unsqueeze(1), _CORRECT)


def set_log_likelihood(log_p: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """Pretraining: the mean log-probability of a sample's plausible labels; its maximum, -ln K, is the uniform distribution on them.

    log_p [n, class], sets [n, K] → [n]
    """
    return log_p.gather(1, sets).mean(dim=1)


def log_likelihood(log_p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """SFT: log p of the target. log_p [n, class], target [n] → [n]"""
    return log_p.gather(1, target.unsqueeze(1)).squeeze(1)


def expected_reward(log_p: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """RFT: V = Σ_k p_k r_k, exactly. Its gradient in the logits is p_k (r_k - V). log_p, rewards [n, class] → [n]

    >>> expected_reward(torch.log(torch.tensor([[0.25, 0.75]])), torch.tensor([[1.0, -1.0]])).item()
    -0.5
    """
    return (log_p.exp() * rewards).sum(dim=1)


def reinforce(log_p: torch.Tensor, rewards: torch.Tensor, sample: torch.Tensor, penalty: torch.Tensor | None = None) -> torch.Tensor:
    """REINFORCE with one sampled label and no baseline: r(y) log p(y), whose gradient is an unbiased estimate of that of V.

    log_p, rewards [n, class]; sample [n], drawn from p; penalty [n], subtracted from the reward and held constant → [n]
    """
    reward = rewards.gather(1, sample.unsqueeze(1)).squeeze(1)
    return (reward if penalty is None else reward - penalty.detach()) * log_likelihood(log_p, sample)


def draw_labels(log_p: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One label per sample from its distribution: the place of the largest log p plus Gumbel noise. [n, class] → [n]"""
    noise = torch.empty(log_p.shape, dtype=log_p.dtype).exponential_(generator=generator).clamp_min(1e-38).log_().neg_()
    return (log_p.detach() + noise.to(log_p.device)).argmax(dim=1)


def kl_divergence(log_p: torch.Tensor, log_reference: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ reference) = Σ_k p_k (log p_k - log q_k), exactly. [n, class] twice → [n]

    >>> kl_divergence(torch.zeros(1, 1), torch.zeros(1, 1)).item()
    0.0
    """
    return (log_p.exp() * (log_p - log_reference)).sum(dim=1)


def log_ratio(log_p: torch.Tensor, log_reference: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """log p(y) - log q(y) of the sampled label: its mean over p is the KL divergence. → [n]"""
    return log_likelihood(log_p - log_reference, sample)

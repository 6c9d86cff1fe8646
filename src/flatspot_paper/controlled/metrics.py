"""Metrics during training, from the forward pass of the training itself.

A batch is split into the samples whose label moved (small reward std) and the others (large reward std). The objective of the batch is the
mean over its samples, so its gradient is the weighted sum of the two groups' gradients: two backward passes give three norms and the step.
Where samples do not interact, each group runs through its own half of the network's graph, and the two together cost one pass. Under
BatchNorm the batch is normalized as one, and each group's gradient is taken through the shared statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flatspot_paper.controlled.models import Inputs, Network

GROUPS = ("small_std", "large_std")
# per sample means, in this order; the norms follow
PER_SAMPLE = ("loss", "accuracy", "reward", "reward_std", "objective", "kl")
NORMS = ("grad_norm", "params_norm")
# log-probabilities [n, class] and positions [n] → the objective [n] to maximize (with its graph), and the columns of PER_SAMPLE [n, 6]
Objective = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Measured:
    """One batch.

    counts   [3] samples in each group and in the batch
    values   [3, 8] columns PER_SAMPLE + NORMS: means over the small-std group, the large-std group and the batch; NaN for an empty group
    """

    counts: tuple[int, int, int]
    values: torch.Tensor


def reward_statistics(log_p: torch.Tensor, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std of each sample's reward under the policy, in float64. [n, class] twice → [n], [n]

    mean = Σ_k p_k r_k, std = √(Σ_k p_k (r_k - mean)²).

    >>> mean, std = reward_statistics(torch.log(torch.tensor([[0.2, 0.8]])), torch.tensor([[1.0, -1.0]]))
    >>> round(mean.item(), 6), round(std.item(), 6)
    (-0.6, 0.8)
    """
    p, r = log_p.detach().double().exp(), rewards.double()
    p = p / p.sum(dim=1, keepdim=True)
    mean = (p * r).sum(dim=1)
    return mean, (p * (r - mean.unsqueeze(1)) ** 2).sum(dim=1).sqrt()


def measure_batch(
    network: Network, inputs: Inputs, groups: Sequence[torch.Tensor], objective: Objective, *, norms: bool = True
) -> tuple[Measured, list[torch.Tensor]]:
    """Measure one batch and the gradient of its objective.

    groups  positions of the batch's samples, one tensor per group of `GROUPS`; a group may be empty
    norms   measure each group's gradient norm; otherwise it is NaN, and one backward pass gives the batch's norm
    → the metrics, and the gradient of the batch's mean objective, one tensor per parameter
    """
    parameters = network.parameters
    counts = [len(rows) for rows in groups]
    log_ps = _forward(network, inputs, groups, together=network.coupled or not norms)
    present = [i for i, count in enumerate(counts) if count]
    values = torch.full((3, len(PER_SAMPLE) + len(NORMS)), torch.nan, dtype=torch.float64)
    total: list[torch.Tensor] = []
    objectives: list[torch.Tensor] = []
    for i in present:
        maximized, columns = objective(log_ps[i], groups[i])
        values[i, : len(PER_SAMPLE)] = columns.mean(dim=0)
        objectives.append(maximized)
        if not norms:
            continue
        keep = network.coupled and i != present[-1]
        gradient = list(torch.autograd.grad(maximized.mean(), parameters, retain_graph=keep))
        values[i, len(PER_SAMPLE)] = torch.nn.utils.get_total_norm(gradient)
        share = counts[i] / sum(counts)
        total = [t.add_(g, alpha=share) for t, g in zip(total, gradient, strict=True)] if total else [g.mul_(share) for g in gradient]
    if not norms:
        total = list(torch.autograd.grad(torch.cat(objectives).mean(), parameters))
    shares = torch.tensor([counts[i] / sum(counts) for i in present], dtype=torch.float64)
    values[2, : len(PER_SAMPLE)] = shares @ values[present, : len(PER_SAMPLE)]
    values[2, len(PER_SAMPLE)] = torch.nn.utils.get_total_norm(total)
    values[[*present, 2], -1] = torch.nn.utils.get_total_norm([p.detach() for p in parameters]).double().cpu()
    return Measured((counts[0], counts[1], sum(counts)), values), total


def _forward(network: Network, inputs: Inputs, groups: Sequence[torch.Tensor], *, together: bool) -> list[torch.Tensor]:
    """Log-probabilities of each group, every sample run once."""
    if together:
        rows = torch.cat(list(groups))
        return list(network.log_p(tuple(t[rows] for t in inputs)).split([len(rows) for rows in groups]))
    return [network.log_p(tuple(t[rows] for t in inputs)) if len(rows) else torch.empty(0) for rows in groups]


def epoch_means(batches: Sequence[Measured]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sample-weighted means over the batches of an epoch: a batch counts by its samples of the group. → counts [3], values [3, 8]"""
    counts = np.array([batch.counts for batch in batches], dtype=np.int64)
    values = torch.stack([batch.values for batch in batches]).numpy()
    weights = counts / np.maximum(counts.sum(axis=0), 1)
    present = counts > 0
    means = np.where(present[:, :, None], weights[:, :, None] * np.where(present[:, :, None], values, 0.0), 0.0).sum(axis=0)
    means[counts.sum(axis=0) == 0] = np.nan
    return counts.sum(axis=0), means

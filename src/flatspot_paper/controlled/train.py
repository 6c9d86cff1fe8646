"""Pretraining and finetuning: one loop, deterministic under its seed, whose results do not change if it is stopped and resumed.

All samples are tensors on the device; a batch is an index into them. The curves of an epoch are measured before each of its updates, and
epoch 0 is the state before any.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot_paper.controlled import objectives
from flatspot_paper.controlled.labels import Labels
from flatspot_paper.controlled.metrics import Measured, Objective, epoch_means, measure_batch, reward_statistics
from flatspot_paper.controlled.models import Inputs, Network, only_measuring
from flatspot_paper.controlled.plans import Plan

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True)
class Samples:
    """The tensors of one experiment, on its device."""

    train: Inputs
    test: Inputs
    labels: Labels


@dataclass(frozen=True)
class EpochRow:
    """One epoch: counts [3] and means [3, 8] as returned by `metrics.epoch_means`; loss and accuracy on the test samples, or None."""

    epoch: int
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    test: tuple[float, float] | None


@dataclass
class Progress:
    """The state of a training run: its optimizer, its random generators and its rows so far."""

    optimizer: torch.optim.Optimizer
    order: torch.Generator
    draws: torch.Generator
    rows: list[EpochRow] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return max(len(self.rows) - 1, 0)


OnEpoch = Callable[[Progress], None]


class State(TypedDict):
    """A checkpoint: the network, the optimizer, the random generators, and (epoch, counts, means, test) of each row."""

    module: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, object]
    order: torch.Tensor
    draws: torch.Tensor
    rows: list[tuple[int, list[int], list[list[float]], tuple[float, float] | None]]


def start(network: Network, plan: Plan, method: str) -> Progress:
    """The state before the first epoch. `method` is "pretrain" or one of `plans.METHODS`; all methods of a seed use the same batches."""
    adam = method == "pretrain" or plan.optimizer == "adam"
    lr = plan.schedule.pretrain_lr if method == "pretrain" else plan.lr
    make = torch.optim.Adam if adam else torch.optim.SGD
    order = torch.Generator().manual_seed(2 * plan.seed + (method != "pretrain"))
    return Progress(make(network.parameters, lr=lr, maximize=True, fused=True), order, torch.Generator().manual_seed(plan.seed))


def train(network: Network, samples: Samples, plan: Plan, method: str, progress: Progress, on_epoch: OnEpoch) -> None:
    """Train from `progress` to the plan's last epoch; `on_epoch` is called after each.

    Raises `SettingsError` if the objective or the gradient is not finite.
    """
    last = plan.schedule.pretrain_epochs if method == "pretrain" else plan.schedule.epochs
    reference = _reference(network, samples, plan) if method != "pretrain" and plan.kl_coeff else None
    objective = pretraining(samples) if method == "pretrain" else finetuning(samples, plan, method, progress.draws, reference)
    moved = samples.labels.moved if method != "pretrain" else torch.zeros_like(samples.labels.moved)
    every = 1 if method != "pretrain" else plan.test_every
    if samples.train[0].device.type == "cpu":
        keep_memory()
    if not progress.rows:
        before = progress.draws.get_state()
        with only_measuring(network):
            measured = [measure_batch(network, samples.train, rows, objective)[0] for rows in _batches(moved, plan.schedule.batch, None)]
        progress.draws.set_state(before)
        _add_row(progress, 0, measured, _test(network, samples, method), plan, method)
        on_epoch(progress)
    while progress.epoch < last:
        epoch = progress.epoch + 1
        measured, norms = [], epoch == last or epoch % plan.norms_every == 0
        for rows in _batches(moved, plan.schedule.batch, progress.order):
            batch, gradient = measure_batch(network, samples.train, rows, objective, norms=norms)
            for parameter, value in zip(network.parameters, gradient, strict=True):
                parameter.grad = value
            progress.optimizer.step()
            measured.append(batch)
        tested = epoch == last or epoch % max(every, plan.test_every) == 0
        _add_row(progress, epoch, measured, _test(network, samples, method) if tested else None, plan, method)
        on_epoch(progress)


@cache
def keep_memory() -> None:
    """Make glibc keep freed memory for the next batch until the process ends: new pages cost more than the computations on them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _batches(moved: torch.Tensor, size: int, order: torch.Generator | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The samples in batches, shuffled if there is a generator; each as (those whose label moved, the others)."""
    everyone = torch.arange(len(moved)) if order is None else torch.randperm(len(moved), generator=order)
    return [(rows[moved[rows]], rows[~moved[rows]]) for rows in everyone.to(moved.device).split(size)]


def _add_row(progress: Progress, epoch: int, measured: list[Measured], test: tuple[float, float] | None, plan: Plan, method: str) -> None:
    counts, means = epoch_means(measured)
    if not np.isfinite(means[2]).all():
        lr = progress.optimizer.param_groups[0]["lr"]
        raise SettingsError(
            f"training diverged: {method} of {plan.setting.dataset} has a loss or gradient that is not finite in epoch {epoch}, at "
            f"learning rate {lr:g}. Use a smaller {'--pretrain-lr' if method == 'pretrain' else '--lr'} and another --out."
        )
    progress.rows.append(EpochRow(epoch, counts, means, test))


def pretraining(samples: Samples) -> Objective:
    """Mean log-probability of the plausible labels; the column "accuracy" is the probability mass on them, rewards are NaN."""
    sets = samples.labels.sets[samples.labels.original]

    def objective(log_p: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maximized = objectives.set_log_likelihood(log_p, sets[rows])
        value = maximized.detach().double()
        mass = log_p.detach().double().gather(1, sets[rows]).exp().sum(dim=1)
        nothing = torch.zeros_like(value)
        return maximized, torch.stack([-value, mass, nothing, nothing, value, nothing], dim=1)

    return objective


def finetuning(samples: Samples, plan: Plan, method: str, draws: torch.Generator, log_reference: torch.Tensor | None) -> Objective:
    """The objective of a method, minus the KL divergence if the plan has one.

    log_reference  [n_train, class] log-probabilities of the KL reference
    """
    labels = samples.labels
    rewards = objectives.reward_table(labels.target, labels.moved, plan.setting.classes, high_init=plan.high_init)

    def objective(log_p: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        target, reward = labels.target[rows], rewards[rows]
        likelihood = objectives.log_likelihood(log_p, target)
        kl = None if log_reference is None else objectives.kl_divergence(log_p, log_reference[rows])
        if method == "reinforce":
            sample = objectives.draw_labels(log_p, draws)
            ratio = None if log_reference is None else plan.kl_coeff * objectives.log_ratio(log_p, log_reference[rows], sample)
            maximized = objectives.reinforce(log_p, reward, sample, ratio)
        else:
            maximized = likelihood if method == "sft" else objectives.expected_reward(log_p, reward)
            maximized = maximized if kl is None else maximized - plan.kl_coeff * kl
        mean, std = reward_statistics(log_p, reward)
        hit = (log_p.detach().argmax(dim=1) == target).double()
        apart = torch.zeros_like(mean) if kl is None else kl.detach().double()
        return maximized, torch.stack([-likelihood.detach().double(), hit, mean, std, maximized.detach().double(), apart], dim=1)

    return objective


def _reference(network: Network, samples: Samples, plan: Plan) -> torch.Tensor:
    """Log-probabilities of the KL reference for every train sample; of the initial network in evaluation mode."""
    if plan.kl_reference == "uniform":
        return torch.full(
            (len(samples.labels.target), plan.setting.classes), 1 / plan.setting.classes, device=samples.train[0].device
        ).log()
    return _predict(network, samples.train)


def _predict(network: Network, inputs: Inputs, size: int = 500) -> torch.Tensor:
    network.module.eval()
    with torch.no_grad():
        parts = [network.log_p(tuple(t[i : i + size] for t in inputs)) for i in range(0, len(inputs[0]), size)]
    network.module.train()
    return torch.cat(parts)


def _test(network: Network, samples: Samples, method: str) -> tuple[float, float]:
    """Loss and accuracy on the test samples; of pretraining, the loss and the mass on the plausible labels."""
    log_p = _predict(network, samples.test).double()
    target = samples.labels.test_target
    if method == "pretrain":
        sets = samples.labels.sets[target]
        return -objectives.set_log_likelihood(log_p, sets).mean().item(), log_p.gather(1, sets).exp().sum(dim=1).mean().item()
    return -objectives.log_likelihood(log_p, target).mean().item(), (log_p.argmax(dim=1) == target).double().mean().item()


def state_of(network: Network, progress: Progress) -> State:
    """The state for `restore`, as tensors and plain values."""
    return {
        "module": network.module.state_dict(),
        "optimizer": progress.optimizer.state_dict(),
        "order": progress.order.get_state(),
        "draws": progress.draws.get_state(),
        "rows": [(row.epoch, row.counts.tolist(), row.means.tolist(), row.test) for row in progress.rows],
    }


def restore(network: Network, progress: Progress, state: State) -> None:
    """Restore the network and the progress from `state_of`."""
    network.module.load_state_dict(state["module"])
    progress.optimizer.load_state_dict(state["optimizer"])
    progress.order.set_state(state["order"])
    progress.draws.set_state(state["draws"])
    progress.rows[:] = [
        EpochRow(epoch, np.array(counts), np.array(means), None if test is None else (test[0], test[1]))
        for epoch, counts, means, test in state["rows"]
    ]

"""What an entry is, and what it is given: a `World` with prompts, a policy that it can sample and train, and two budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vanishbench.policy import (
    LETTERS,
    Adam,
    Floats,
    Group,
    Ints,
    Parameters,
    completion_weights,
    letters_of,
    number_of,
    token_log_probabilities,
    weighted_gradient,
)
from vanishbench.tasks import Instance
from vanishbench.truth import GROUP_SIZE, expected_rewards, is_flat, probabilities

GROUPS = 8  # of each RL step: 64 completions
COMPLETIONS_PER_PROMPT = 256  # of the budget
LABEL_SHARE = 0.05  # of the prompts may have a label
# of Adam, in RL and in SFT: those of a grid at which other people's rules did best, on a seed of its own (design/0052)
RATE = 0.06
SFT_RATE = 0.025
SFT_STEPS = 100  # the longest supervised phase
SFT_BATCH = 8
_CURVE_POINTS = 32


class BudgetSpent(Exception):
    """More completions or labels were asked for than are left: the run ends here, with the policy as it is."""


class Entry(Protocol):
    """A rule: it spends the budget on the world's policy. What counts is the policy that it leaves behind, or the one at `BudgetSpent`."""

    def __call__(self, world: World) -> None:
        """Train."""


@dataclass
class World:
    """One task of one seed, for one entry.

    prompts     [N] texts, as "rotate:bca="
    left        completions that may still be drawn; every draw counts, whatever it is for
    labels_left prompts whose answer may still be read
    rng         for the entry's own choices
    group_size, groups    of an RL step: 8 groups of 8 completions
    sft_steps   the longest supervised phase
    """

    instance: Instance = field(repr=False)
    seed: int
    left: int
    labels_left: int
    group_size: int = GROUP_SIZE
    groups: int = GROUPS
    sft_steps: int = SFT_STEPS

    def __post_init__(self) -> None:
        self.prompts = self.instance.texts
        self.n = len(self.prompts)
        self.rng = np.random.default_rng([self.seed, 1])
        self._draws = np.random.default_rng([self.seed, 2])
        self._order = np.random.default_rng([self.seed, 3])
        self._parameters = self.instance.start.copy()
        self._rl, self._sft = Adam.of(self._parameters, RATE), Adam.of(self._parameters, SFT_RATE)
        self._answers: dict[int, str] = {}
        self._budget = self.left
        self.spent_on_flat = 0
        self.curve: list[tuple[int, float]] = []
        self._note()

    # what an entry does

    def sample(self, prompts: Sequence[int] | Ints, k: int = GROUP_SIZE) -> Group:
        """k completions of each of some prompts, from the policy as it is now, and their rewards. Raises `BudgetSpent`."""
        rows = np.asarray(prompts, np.int64)
        return self.sample_at(rows, self._draws.random((len(rows), k)))

    def sample_at(self, prompts: Ints, uniforms: Floats) -> Group:
        """The completions at these quantiles [m, k] of each prompt's distribution: for a rule that brings its own random numbers."""
        if uniforms.size > self.left:
            raise BudgetSpent(f"{uniforms.size} completions asked for, {self.left} left")
        self.left -= uniforms.size
        p = probabilities(self._parameters, self.instance.inputs, prompts)
        cumulative = p.cumsum(1)
        drawn = np.stack([np.searchsorted(c, u * c[-1], side="right") for c, u in zip(cumulative, uniforms, strict=True)])
        drawn = np.minimum(drawn, p.shape[1] - 1)
        self.spent_on_flat += int(is_flat(p, self.instance.rewards[prompts]).sum()) * uniforms.shape[1]
        if (self._budget - self.left) * _CURVE_POINTS // self._budget >= len(self.curve):
            self._note()
        return Group(prompts, drawn, np.take_along_axis(self.instance.rewards[prompts], drawn, 1))

    def learn(self, group: Group, advantages: Floats) -> None:
        """A policy-gradient step of Adam: advantages [m, k] times the gradients of the log-probabilities, averaged over completions."""
        weight = completion_weights(group.completions, advantages / advantages.size)
        self._rl.ascend(self._parameters, weighted_gradient(self._parameters, self.instance.inputs, group.prompts, weight))

    def label(self, prompt: int) -> str:
        """The answer of a prompt; the second look at one is free. Raises `BudgetSpent`."""
        if prompt not in self._answers:
            if self.labels_left < 1:
                raise BudgetSpent("no label is left")
            self.labels_left -= 1
            self._answers[int(prompt)] = self.instance.answers[prompt]
        return self._answers[int(prompt)]

    def references(self) -> tuple[str, ...]:
        """[N] every answer, for a tool that scores completions itself: to read labels there instead of by `label` is to cheat."""
        return self.instance.answers

    def fit(self, prompts: Sequence[int] | Ints) -> None:
        """A supervised step of Adam on the labels of some prompts, each of which was asked for by `label`; no completion is drawn."""
        rows = np.asarray(prompts, np.int64)
        completions = np.array([[number_of(self._answers[int(row)])] for row in rows])
        weight = completion_weights(completions, np.full(completions.shape, 1 / len(rows)))
        self._sft.ascend(self._parameters, weighted_gradient(self._parameters, self.instance.inputs, rows, weight))

    def batches(self, prompts: Sequence[int] | Ints, size: int) -> Iterator[Ints]:
        """Batches of so many prompts without end, in a new random order in each epoch; a batch of all where there are no more."""
        rows = np.asarray(prompts, np.int64)
        queue = np.zeros(0, np.int64)
        while len(rows):
            while len(queue) < min(size, len(rows)):
                queue = np.concatenate([queue, self._order.permutation(rows)])
            yield queue[:size]
            queue = queue[size:]

    def checkpoint(self) -> Parameters:
        """The policy as it is now."""
        return self._parameters.copy()

    def restore(self, checkpoint: Parameters) -> None:
        """An earlier policy; both optimizers start afresh."""
        self._parameters = checkpoint.copy()
        self._rl, self._sft = Adam.of(self._parameters, RATE), Adam.of(self._parameters, SFT_RATE)

    def entropy(self, prompts: Sequence[int] | Ints, completions: Ints) -> float:
        """Mean entropy per letter, in nats, of the policy along some completions [m]: a forward pass, as of training, and no draw."""
        rows, letters = np.asarray(prompts, np.int64), letters_of(completions)
        tables = token_log_probabilities(self._parameters, self.instance.inputs, rows)
        total = 0.0
        for place, table in enumerate(tables):
            log_p = table[np.arange(len(rows)), letters[:, place - 1] if place else 0]
            total += float(-(np.exp(log_p) * log_p).sum())
        return total / letters.size

    # what the runner asks

    def values(self) -> Floats:
        """[N] the exact expected rewards."""
        p = probabilities(self._parameters, self.instance.inputs, np.arange(self.n))
        return expected_rewards(p, self.instance.rewards)

    def flat(self) -> np.ndarray:
        """[N] which prompts are flat now."""
        return is_flat(probabilities(self._parameters, self.instance.inputs, np.arange(self.n)), self.instance.rewards)

    def _note(self) -> None:
        self.curve.append((self._budget - self.left, float(self.values().mean())))


def text_of(completion: int) -> str:
    """The letters of a completion.

    >>> text_of(1)
    'aab'
    """
    return "".join(LETTERS[v] for v in letters_of(np.array(completion)))


def new_world(instance: Instance, seed: int, *, all_labels: bool = False, scale: float = 1.0) -> World:
    """A world with the full budgets; `all_labels` for the reference, `scale` for less of everything in a quick run."""
    n = len(instance.texts)
    labels = n if all_labels else int(np.ceil(LABEL_SHARE * n))
    return World(instance, seed, int(COMPLETIONS_PER_PROMPT * n * scale), labels)

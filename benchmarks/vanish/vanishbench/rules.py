"""The rules that people use, each a function of a `World`; defaults are those of the trainer or the paper that each is known from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from vanishbench.entry import SFT_BATCH, World
from vanishbench.policy import Floats, Group, Ints

PILOT = 8  # completions of each prompt before a filter
FIRST_MIXED_MOST = 32
BAND = (0.2, 0.8)
DAPO_ROUNDS = 10  # draws of a batch before it is taken as it is: max_num_gen_batches
REFERENCE_EPOCHS = 100
EVERY = 4  # RL steps to a supervised one, where they are interleaved


def leave_one_out(rewards: Floats) -> Floats:
    """RLOO: r less the mean of the others of its group."""
    k = rewards.shape[1]
    return np.asarray((rewards - rewards.mean(1, keepdims=True)) * (k / (k - 1)))


def normalized(rewards: Floats) -> Floats:
    """GRPO: (r − mean) / (std + 1e-4) of the group, std with ddof 1 as in TRL."""
    return np.asarray((rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-4))


def by_mean(rewards: Floats) -> Floats:
    """MaxRL: (r − mean) / mean of the group; 0 where all are 0."""
    mean = rewards.mean(1, keepdims=True)
    return np.asarray(np.divide(rewards - mean, mean, out=np.zeros_like(rewards), where=mean > 0))


def train(
    world: World,
    prompts: Sequence[int] | Ints | None = None,
    advantages: Callable[[Floats], Floats] = leave_one_out,
    fitted: Sequence[int] = (),
) -> None:
    """On-policy RL on these prompts until the budget is spent; on all of them where there are none."""
    rows = np.arange(world.n) if prompts is None or not len(prompts) else np.asarray(prompts)
    labels = world.batches(fitted, SFT_BATCH)
    for step, batch in enumerate(world.batches(rows, world.groups), 1):
        group = world.sample(batch, world.group_size)
        world.learn(group, advantages(group.rewards))
        if len(fitted) and step % EVERY == 0:
            world.fit(next(labels))


def rloo(world: World) -> None:
    """RLOO on all prompts, as they come: the baseline."""
    train(world)


def grpo(world: World) -> None:
    """GRPO: advantages over the std of their group."""
    train(world, advantages=normalized)


def maxrl(world: World) -> None:
    """MaxRL: advantages over the mean of their group."""
    train(world, advantages=by_mean)


def fixed_filter(world: World) -> None:
    """8 completions of each prompt; RLOO on those whose rewards differ."""
    pilot = world.sample(np.arange(world.n), PILOT)
    train(world, pilot.prompts[pilot.mixed])


def band_pass(world: World) -> None:
    """8 completions of each prompt; RLOO on those with a mean reward from 0.2 to 0.8."""
    pilot = world.sample(np.arange(world.n), PILOT)
    mean = pilot.rewards.mean(1)
    train(world, pilot.prompts[(mean >= BAND[0]) & (mean <= BAND[1])])


def first_mixed(world: World) -> None:
    """Completions of each prompt until two rewards differ, at most 32; RLOO on the prompts where they do."""
    first = world.sample(np.arange(world.n), 1).rewards[:, 0]
    equal = np.arange(world.n)
    for _ in range(FIRST_MIXED_MOST - 1):
        equal = equal[world.sample(equal, 1).rewards[:, 0] == first[equal]]
        if not len(equal):
            break
    train(world, np.setdiff1d(np.arange(world.n), equal))


def joined(groups: Sequence[Group]) -> Group:
    """Groups of several draws as one."""
    return Group(*(np.concatenate([getattr(g, name) for g in groups]) for name in ("prompts", "completions", "rewards")))


def dapo(world: World) -> None:
    """DAPO's dynamic sampling: flat groups are thrown away and others drawn until 8 are mixed, at most 10 times; advantages as GRPO."""
    batches = world.batches(np.arange(world.n), world.groups)
    while True:
        kept = list[Group]()
        for batch in islice(batches, DAPO_ROUNDS):
            group = world.sample(batch, world.group_size)
            kept.append(group[group.mixed])
            if sum(len(g.prompts) for g in kept) >= world.groups:
                break
        usable = joined(kept)[: world.groups]
        if len(usable.prompts):
            world.learn(usable, normalized(usable.rewards))


_FLAT_SHARES = {True: 0.25 / 3, False: 0.5 / 3}  # GRESO's targets, by whether the flat groups are solved


class _Skipping:
    """GRESO: after z flat groups in a row a prompt is skipped with probability 1 − q^z; q, of solved and of hard prompts apart, moves by
    0.01 so that a quarter of the groups drawn are flat, a third of these solved."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.flat_in_a_row, self.solved = np.zeros(world.n, int), np.zeros(world.n, bool)
        self.q = {True: 0.5, False: 0.5}

    def next_batch(self, batches: Iterator[Ints]) -> Ints:
        """The prompts that are not skipped of the next batch that has any; after an epoch of nothing but skipped ones, a whole batch."""
        for _ in range(-(-self.world.n // self.world.groups)):
            batch = next(batches)
            q = np.where(self.solved[batch], self.q[True], self.q[False])
            left = batch[self.world.rng.random(len(batch)) < q ** self.flat_in_a_row[batch]]
            if len(left):
                return left
        return batch

    def see(self, group: Group, top: float) -> None:
        """Count flat groups, and move q."""
        flat = ~group.mixed
        solved = flat & (group.rewards[:, 0] >= top)
        self.flat_in_a_row[group.prompts] = np.where(flat, self.flat_in_a_row[group.prompts] + 1, 0)
        self.solved[group.prompts] = solved
        for easy, share in ((True, solved.mean()), (False, (flat & ~solved).mean())):
            step = -0.01 if share >= _FLAT_SHARES[easy] else 0.01
            self.q[easy] = min(max(self.q[easy] + step, 0.01), 1.0)


def greso(world: World) -> None:
    """GRESO-style: prompts whose groups were flat are skipped by chance before they are drawn, over DAPO's dynamic sampling."""
    batches, skipping = world.batches(np.arange(world.n), world.groups), _Skipping(world)
    while True:
        kept, drawn = list[Group](), 0
        while sum(len(g.prompts) for g in kept) < world.groups and drawn < DAPO_ROUNDS * world.groups:
            batch = skipping.next_batch(batches)
            group = world.sample(batch, world.group_size)
            skipping.see(group, top=1.0)
            drawn += len(batch)
            kept.append(group[group.mixed])
        usable = joined(kept)[: world.groups]
        if len(usable.prompts):
            world.learn(usable, normalized(usable.rewards))


def random_labels(world: World) -> list[int]:
    """As many labels as there are to be had, of prompts drawn at random."""
    chosen = [int(i) for i in world.rng.permutation(world.n)[: world.labels_left]]
    for i in chosen:
        world.label(i)
    return chosen


def supervise(world: World, labels: Sequence[int], steps: int) -> None:
    """So many supervised steps."""
    for batch in islice(world.batches(labels, SFT_BATCH), steps):
        world.fit(batch)


def interleaved(world: World) -> None:
    """RLOO on all prompts; after every fourth step a supervised one on the labels, of prompts drawn at random."""
    train(world, fitted=random_labels(world))


def sft(world: World) -> None:
    """100 supervised steps on the labels, of prompts drawn at random; no RL."""
    supervise(world, random_labels(world), world.sft_steps)


def sft_then_rloo(world: World) -> None:
    """100 supervised steps on the labels, of prompts drawn at random; then RLOO on all prompts."""
    sft(world)
    train(world)


def full_sft_then_rloo(world: World) -> None:
    """The reference: labels of all prompts, 100 epochs; then RLOO on all prompts."""
    supervise(world, random_labels(world), REFERENCE_EPOCHS * world.n // SFT_BATCH)
    train(world)

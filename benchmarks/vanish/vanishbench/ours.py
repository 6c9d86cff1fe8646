"""flatspot as an entry, by its own functions and defaults: diagnose, plan, warm up with its stop rule, diagnose again, train.

The world is sampled through an `Engine`; the prompt set, the reward and the group size are what a user would give. Nothing was chosen on
these tasks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from flatspot import ProbeSettings, Prompt, Run, Sampling, StopRule, diagnose
from flatspot.core.records import Completion, PromptRequest
from flatspot.core.seeds import fold_seed
from flatspot.planning.labels import plan_labels
from flatspot.rewards import LoadedReward, load_reward
from flatspot.training.warmup.curve import ProbeRow
from flatspot.training.warmup.probe import Probed, draw, labels_solved, probed_prompts, shares_of
from flatspot.training.warmup.stop_rule import Choice, choose
from vanishbench.entry import SFT_BATCH, World, text_of
from vanishbench.policy import LENGTH, number_of
from vanishbench.rules import train

_PROBES = 20  # of a whole warm-up, as flatspot's callback has them
_TRAINED = ("learnable", "undecided")  # what `flatspot export` writes for an RL run, by the tutorial


@dataclass
class WorldEngine:
    """The world's policy as flatspot's engine: the completion of a seed depends on the seed, the prompt and the policy."""

    world: World
    name: str = "vanishbench"
    rows_per_call: int = 4096

    def __post_init__(self) -> None:
        self.rows = {text: row for row, text in enumerate(self.world.prompts)}

    def sample(
        self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """One completion per seed; raises `BudgetSpent`."""
        drawn: list[list[Completion]] = [[] for _ in requests]
        counts = np.array([len(request.seeds) for request in requests])
        for k in np.unique(counts[counts > 0]):
            at = [int(i) for i in np.flatnonzero(counts == k)]
            rows = np.array([self.rows[str(requests[i].text)] for i in at])
            uniforms = np.array([[fold_seed(seed, 53) / (1 << 53) for seed in requests[i].seeds] for i in at])
            for i, own in zip(at, self.world.sample_at(rows, uniforms).completions, strict=True):
                drawn[i] = [Completion(text_of(int(y)), LENGTH, truncated=False) for y in own]
        return drawn

    def describe(self) -> Mapping[str, object]:
        """A name alone: no run is resumed."""
        return {"engine": self.name, "policy": "vanishbench"}


@dataclass(frozen=True)
class Diagnosed:
    """A judged run, and what flatspot would have the user do."""

    run: Run
    labels: tuple[int, ...]
    trainable: tuple[int, ...]


def prompts_of(world: World) -> list[Prompt]:
    """The prompts as flatspot takes them; the reward needs the reference, and no label is read of it."""
    return [
        Prompt(f"p{i}", text, {"reference": answer}) for i, (text, answer) in enumerate(zip(world.prompts, world.references(), strict=True))
    ]


def reward_of(world: World) -> str:
    """exact_match, or the share of letters in place."""
    return f"{Path(__file__).parent / 'letters.py'}:letters_in_place" if world.instance.task.graded else "exact_match"


def diagnosed(world: World, folder: Path) -> Diagnosed:
    """`flatspot diagnose` and `flatspot plan`, with their defaults."""
    run = diagnose(prompts_of(world), WorldEngine(world), reward_of(world), out=folder, seed=world.seed, group_size=world.group_size)
    row_of = {name: row for row, name in enumerate(run.ids)}
    labels = tuple(row_of[label.prompt.id] for label in plan_labels(run).labels)
    verdicts = run.verdicts["verdict"].to_pylist()
    return Diagnosed(run, labels, tuple(row for row, verdict in enumerate(verdicts) if verdict in _TRAINED))


def bought(world: World, rows: Sequence[int]) -> list[int]:
    """The prompts whose labels were read."""
    for row in rows:
        world.label(row)
    return list(rows)


def warm_up(world: World, run: Run, labels: Sequence[int]) -> tuple[Choice, list[ProbeRow]]:
    """SFT on the labels until flatspot's rule stops it; the world's policy is then the chosen checkpoint."""
    texts = [world.prompts[row] for row in labels]
    settings = ProbeSettings()
    probed = probed_prompts(run, settings, without=texts)
    rule = replace(StopRule(), max_steps=world.sft_steps)
    every, engine = max(1, world.sft_steps // _PROBES), WorldEngine(world)
    curve, saved = list[ProbeRow](), {}
    batches = world.batches(labels, SFT_BATCH)
    with load_reward(reward_of(world)) as reward:
        for step in range(0, world.sft_steps + 1, every):
            curve.append(_probe(world, engine, reward, probed, step, labels))
            saved[step] = world.checkpoint()
            if (choice := choose(curve, rule)).stop:
                break
            for batch in islice(batches, every):
                world.fit(batch)
    world.restore(saved[choice.step])
    return choice, curve


def _probe(world: World, engine: WorldEngine, reward: LoadedReward, probed: Probed, step: int, labels: Sequence[int]) -> ProbeRow:
    """A row of the curve, as flatspot's callback makes it."""
    draws = draw(engine, reward, probed)
    row = ProbeRow(step=step, labels=len(labels), saved=True)
    row.update(shares_of(draws, probed))
    some = [(engine.rows[str(prompt.text)], number_of(completion.text)) for prompt, completion in draws.some]
    row["entropy"] = world.entropy([at for at, _ in some], np.array([y for _, y in some]))
    if step == 0:
        prompts = [Prompt(f"label-{i}", world.prompts[i], {"reference": world.label(i)}) for i in labels]
        row["labels_solved"], extra = labels_solved(engine, reward, probed, prompts)
        row["generations"] += extra
    return row


def learnable_only(world: World) -> None:
    """flatspot's labels, its warm-up, then RLOO on the prompts that it calls learnable or undecided after that."""
    with tempfile.TemporaryDirectory() as folder:
        first = diagnosed(world, Path(folder) / "before")
        trainable = first.trainable
        if first.labels:
            warm_up(world, first.run, bought(world, first.labels))
            trainable = diagnosed(world, Path(folder) / "warmed").trainable
    train(world, trainable)


def recipe(world: World) -> None:
    """flatspot's labels, its warm-up, then RLOO on all prompts: what `flatspot run` does."""
    with tempfile.TemporaryDirectory() as folder:
        first = diagnosed(world, Path(folder) / "before")
        if first.labels:
            warm_up(world, first.run, bought(world, first.labels))
    train(world)


def interleaved_planned(world: World) -> None:
    """As `interleaved`, with the labels that flatspot chooses: the completions of its diagnosis count."""
    with tempfile.TemporaryDirectory() as folder:
        labels = bought(world, diagnosed(world, Path(folder) / "before").labels)
    train(world, fitted=labels)

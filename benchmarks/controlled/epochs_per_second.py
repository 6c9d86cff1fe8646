"""Finetuning epochs per second: this package, a three-pass loop, and the official code, in turns.

    python benchmarks/controlled/epochs_per_second.py                       # ours against the three-pass loop
    python benchmarks/controlled/epochs_per_second.py --official FOLDER     # and against the official code, unpacked in FOLDER

The official code (apple/ml-rlgrad) is not part of this repository; it needs torchvision. Its own data module, model, trainer and evaluators
run as they are, on the same images; only its download of MNIST is replaced by the images loaded here. The three-pass loop is ours, written
after the description of the official one: a DataLoader, probabilities, and a forward and backward pass for each group and for the batch.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from flatspot.core.provenance import provenance
from flatspot.reproduce.controlled.data import Dataset, load_dataset
from flatspot.reproduce.controlled.encode import encode
from flatspot.reproduce.controlled.labels import label_samples
from flatspot.reproduce.controlled.models import build_network
from flatspot.reproduce.controlled.objectives import reward_table
from flatspot.reproduce.controlled.plans import Plan, plan_for
from flatspot.reproduce.controlled.train import Samples, start, train

Turn = Callable[[int], None]  # runs this many epochs


def ours(plan: Plan, samples: Samples, method: str) -> Turn:
    network = build_network(plan, torch.device("cpu"))
    progress = start(network, plan, method)

    def turn(epochs: int) -> None:
        until = replace(plan, schedule=replace(plan.schedule, epochs=progress.epoch + epochs))
        train(network, samples, until, method, progress, lambda _: None)

    return turn


class _OneByOne(torch.utils.data.Dataset):
    """A sample at a time, normalised when asked for, as torchvision's transforms do."""

    def __init__(self, images, labels, moved):
        self.images, self.labels, self.moved = images, labels, moved

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = torch.from_numpy(self.images[i].copy()).to(torch.float32).div(255).unsqueeze(0)
        return image.sub(0.1307).div(0.3081), self.labels[i], self.moved[i]


def three_pass(plan: Plan, dataset: Dataset, samples: Samples, method: str) -> Turn:
    labels = samples.labels
    network = build_network(plan, torch.device("cpu"))
    optimizer = torch.optim.Adam(network.parameters, lr=plan.lr)
    train_set = _OneByOne(dataset.train.samples[labels.train], labels.target, labels.moved)
    test_set = _OneByOne(dataset.test.samples[labels.test], labels.test_target, torch.zeros(len(labels.test), dtype=torch.bool))
    batches = torch.utils.data.DataLoader(train_set, batch_size=plan.schedule.batch, shuffle=True)
    tests = torch.utils.data.DataLoader(test_set, batch_size=plan.schedule.batch)

    def one_pass(x, y, moved):
        p = network.logits(x).softmax(1)
        rewards = reward_table(y, moved, 10)
        value = (p * rewards).sum(1)
        std = (p.detach() * (rewards - value.detach().unsqueeze(1)) ** 2).sum(1).sqrt().mean()
        loss = -value.mean() if method == "rft" else torch.nn.functional.nll_loss(p.log(), y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in network.parameters]).norm()
        return [loss.item(), value.mean().item(), std.item(), norm.item(), (p.argmax(1) == y).float().mean().item()]

    def turn(epochs: int) -> None:
        for _ in range(epochs):
            for x, y, moved in batches:
                for group in (moved, ~moved, torch.ones_like(moved)):
                    if group.any():
                        one_pass(x[group], y[group], moved[group])
                optimizer.step()
            with torch.no_grad():
                for x, y, _ in tests:
                    p = network.logits(x).softmax(1)
                    torch.nn.functional.nll_loss(p.log(), y).item()
                    (p.argmax(1) == y).float().mean().item()

    return turn


def official(folder: Path, dataset: Dataset, method: str) -> Turn:
    sys.path.insert(0, str(folder))
    # torchvision's compiled operators belong to another build of torch and are not used here
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    import torchvision

    class Loaded(torchvision.datasets.MNIST):
        def __init__(self, root, train=True, download=False, transform=None):
            torchvision.datasets.VisionDataset.__init__(self, root, transform=transform)
            pool = dataset.train if train else dataset.test
            self.train, self.data, self.targets = train, torch.from_numpy(pool.samples), torch.from_numpy(pool.labels)

    torchvision.datasets.MNIST = Loaded
    from common.train.callbacks import Callback
    from sft_vs_rft.experiment import sft_vs_rft_controlled_experiment as theirs

    written = json.loads((folder / "sft_vs_rft/experiment_plans/sft_vs_rft_mlp_mnist_finetune_experiments_plan.json").read_text())
    configuration = written["configurations"][0]
    config = configuration["base_config"] | {name: values[0] for name, values in configuration["options"].items()}
    config |= {"opt_method": {"rft": "expected_reinforce", "sft": "supervised"}[method], "load_model_from_checkpoint": ""}
    experiment = theirs.SupervisedVSReinforcementFinetuningControlledExperiment()
    device, state, logger = torch.device("cpu"), {"device": torch.device("cpu")}, logging.getLogger("official")
    data = experiment.create_datamodule(config, state, logger)
    model = experiment.create_model(data, config, state, logger)
    seen = experiment.create_train_and_validation_evaluators(model, data, device, config, state, logger)
    trainer = experiment.create_trainer(model, data, *seen, Callback(), device, config, state, logger)
    batches = data.train_dataloader()
    return lambda epochs: trainer.fit(batches, num_epochs=epochs, validate_every=config["validate_every"])


def measure(turns: dict[str, Turn], epochs: dict[str, int], rounds: int) -> dict[str, list[float]]:
    """Epochs per second of each, in each round; a first turn of one epoch is not timed."""
    for turn in turns.values():
        turn(1)
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            began = time.perf_counter()
            turn(epochs[name])
            found[name].append(epochs[name] / (time.perf_counter() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of the unpacked official code")
    parser.add_argument("--data", type=Path, default=os.environ.get("FLATSPOT_DATA"), help="folder of data sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    given = parser.parse_args()
    dataset = load_dataset("mnist", given.data)
    plan = plan_for("mnist", test_every=1)  # the official code looks at the test samples in every epoch
    labels = label_samples(dataset.train.labels, dataset.test.labels, plan)
    samples = Samples(encode("mnist", dataset.train, labels.train), encode("mnist", dataset.test, labels.test), labels)
    results = {"threads": torch.get_num_threads(), "load_before": os.getloadavg()[0], "source": dataset.source, "epochs_per_second": {}}
    for method in ("sft", "rft"):
        turns = {"ours": ours(plan, samples, method), "three_pass": three_pass(plan, dataset, samples, method)}
        if given.official:
            turns["official"] = official(given.official, dataset, method)
        found = measure(turns, {"ours": 40, "three_pass": 8, "official": 4}, given.rounds)
        middle = {name: statistics.median(values) for name, values in found.items()}
        results["epochs_per_second"][method] = {name: [round(v, 2) for v in values] for name, values in found.items()}
        for name, rate in middle.items():
            print(f"{method}  {name:<11} {rate:7.2f} epochs/s   ours is {middle['ours'] / rate:5.1f} times as fast", flush=True)
    results |= {"load_after": os.getloadavg()[0], "provenance": provenance()}
    given.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

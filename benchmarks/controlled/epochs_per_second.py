"""Finetuning epochs per second: this package, a three-pass loop, and the official code, in turns.

    python benchmarks/controlled/epochs_per_second.py                       # MNIST: ours against the three-pass loop
    python benchmarks/controlled/epochs_per_second.py --official FOLDER     # and against the official code, unpacked in FOLDER
    python benchmarks/controlled/epochs_per_second.py --dataset cifar10 --official FOLDER
    python benchmarks/controlled/epochs_per_second.py --dataset stsb --official FOLDER

`official.py` says how the official code is run. The three-pass loop is ours, written after the description of the official one: a
DataLoader, probabilities, and a forward and backward pass for each group and for the batch; pairs of sentences are padded to the longest,
not to 512.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from official import official

from flatspot.core.provenance import provenance
from flatspot.reproduce.controlled.data import Dataset, load_dataset
from flatspot.reproduce.controlled.encode import encode
from flatspot.reproduce.controlled.labels import label_samples
from flatspot.reproduce.controlled.models import build_network
from flatspot.reproduce.controlled.objectives import reward_table
from flatspot.reproduce.controlled.plans import Plan, plan_for
from flatspot.reproduce.controlled.train import Samples, start, train

Turn = Callable[[int], None]  # runs this many epochs
MEAN_STD = {"mnist": ([0.1307], [0.3081]), "cifar10": ([0.491, 0.482, 0.446], [0.247, 0.243, 0.261])}
# what differs from the paper's sizes, for all alike: an epoch of the larger networks is one step
SIZES = {"mnist": {}, "cifar10": {"n_train": 512, "n_test": 100}, "stsb": {"n_train": 24, "n_test": 12, "batch": 24}}
EPOCHS = {
    "mnist": {"ours": 40, "three_pass": 8, "official": 4},
    "cifar10": {"ours": 2, "three_pass": 1, "official": 1},
    "stsb": {"ours": 6, "three_pass": 2, "official": 1},
}


def ours(plan: Plan, samples: Samples, method: str) -> Turn:
    network = build_network(plan, torch.device("cpu"))
    progress = start(network, plan, method)

    def turn(epochs: int) -> None:
        until = replace(plan, schedule=replace(plan.schedule, epochs=progress.epoch + epochs))
        train(network, samples, until, method, progress, lambda _: None)

    return turn


class _OneByOne(torch.utils.data.Dataset):
    """An image at a time, normalised when asked for, as torchvision's transforms do."""

    def __init__(self, images, mean_std, *columns):
        self.images, self.columns = images, columns
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in mean_std)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = torch.from_numpy(self.images[i].copy()).to(torch.float32).div(255)
        image = image.unsqueeze(0) if image.ndim == 2 else image.permute(2, 0, 1)
        return image.sub(self.mean).div(self.std), *(column[i] for column in self.columns)


def three_pass(plan: Plan, dataset: Dataset, samples: Samples, method: str) -> Turn:
    labels, classes, name = samples.labels, plan.setting.classes, plan.setting.dataset
    network = build_network(plan, torch.device("cpu"))
    optimizer = torch.optim.Adam(network.parameters, lr=plan.lr)
    if name == "stsb":
        train_set = torch.utils.data.TensorDataset(*samples.train, labels.target, labels.moved)
        test_set = torch.utils.data.TensorDataset(*samples.test, labels.test_target)
    else:
        train_set = _OneByOne(dataset.train.samples[labels.train], MEAN_STD[name], labels.target, labels.moved)
        test_set = _OneByOne(dataset.test.samples[labels.test], MEAN_STD[name], labels.test_target)
    batches = torch.utils.data.DataLoader(train_set, batch_size=plan.schedule.batch, shuffle=True)
    tests = torch.utils.data.DataLoader(test_set, batch_size=plan.schedule.batch)

    def one_pass(x, y, moved):
        p = network.logits(*x).softmax(1)
        rewards = reward_table(y, moved, classes)
        value = (p * rewards).sum(1)
        std = (p.detach() * (rewards - value.detach().unsqueeze(1)) ** 2).sum(1).sqrt().mean()
        loss = -value.mean() if method == "rft" else torch.nn.functional.nll_loss(p.log(), y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in network.parameters]).norm()
        return [loss.item(), value.mean().item(), std.item(), norm.item(), (p.argmax(1) == y).float().mean().item()]

    def turn(epochs: int) -> None:
        for _ in range(epochs):
            for *x, y, moved in batches:
                for group in (moved, ~moved, torch.ones_like(moved)):
                    if group.any():
                        one_pass([t[group] for t in x], y[group], moved[group])
                optimizer.step()
            with torch.no_grad():
                for *x, y in tests:
                    p = network.logits(*x).softmax(1)
                    torch.nn.functional.nll_loss(p.log(), y).item()
                    (p.argmax(1) == y).float().mean().item()

    return turn


def measure(turns: dict[str, Turn], epochs: dict[str, int], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Epochs per second of each in each round, by the clock and by the processor's time; a first turn of one epoch is not timed.

    On one thread the two agree where nothing else runs; under load the processor's time is the fairer.
    """
    for turn in turns.values():
        turn(1)
    found: dict[str, dict[str, list[float]]] = {name: {"clock": [], "processor": []} for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            began, began_working = time.perf_counter(), time.process_time()
            turn(epochs[name])
            found[name]["clock"].append(round(epochs[name] / (time.perf_counter() - began), 4))
            found[name]["processor"].append(round(epochs[name] / (time.process_time() - began_working), 4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of the unpacked official code")
    parser.add_argument("--data", type=Path, default=os.environ.get("FLATSPOT_DATA"), help="folder of data sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dataset", choices=sorted(SIZES), default="mnist")
    parser.add_argument("--out", type=Path, help="default: results.json, or results-DATASET.json, beside this file")
    given = parser.parse_args()
    name = given.dataset
    dataset = load_dataset(name, given.data)
    plan = plan_for(name, test_every=1, **SIZES[name])  # the official code looks at the test samples in every epoch
    labels = label_samples(dataset.train.labels, dataset.test.labels, plan)
    samples = Samples(encode(name, dataset.train, labels.train), encode(name, dataset.test, labels.test), labels)
    results = {"threads": torch.get_num_threads(), "load_before": os.getloadavg()[0], "source": dataset.source, "sizes": SIZES[name]}
    results["epochs_per_second"] = {}
    for method in ("sft", "rft"):
        turns = {"ours": ours(plan, samples, method), "three_pass": three_pass(plan, dataset, samples, method)}
        if given.official:
            turns["official"] = official(given.official, plan, dataset, samples, method)
        found = measure(turns, EPOCHS[name], given.rounds)
        results["epochs_per_second"][method] = found
        for clock in ("clock", "processor"):
            middle = {who: statistics.median(rates[clock]) for who, rates in found.items()}
            for who, rate in middle.items():
                print(f"{method}  {who:<11} {rate:8.3f} epochs/s by the {clock:<9}  ours is {middle['ours'] / rate:5.1f} times as fast")
    results |= {"load_after": os.getloadavg()[0], "provenance": provenance()}
    out = given.out or Path(__file__).with_name("results.json" if name == "mnist" else f"results-{name}.json")
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

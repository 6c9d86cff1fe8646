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
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from official import official

from flatspot.core.provenance import provenance
from flatspot_paper.controlled.data import Dataset, load_dataset
from flatspot_paper.controlled.encode import encode
from flatspot_paper.controlled.labels import label_samples
from flatspot_paper.controlled.models import build_network
from flatspot_paper.controlled.objectives import reward_table
from flatspot_paper.controlled.plans import Plan, plan_for
from flatspot_paper.controlled.train import Progress, Samples, start, train

Turn = Callable[[int], None]  # runs this many epochs
MEAN_STD = {"mnist": ([0.1307], [0.3081]), "cifar10": ([0.491, 0.482, 0.446], [0.247, 0.243, 0.261])}
# what differs from the paper's sizes, for all alike: an epoch of the larger networks is one step
SIZES = {"mnist": {}, "cifar10": {"n_train": 512, "n_test": 100}, "stsb": {"n_train": 24, "n_test": 12, "batch": 24}}
# ours at its default, and with what is faster and not the default
OURS = {
    "ours": {},
    "ours_norms_10": {"norms_every": 10},
    "ours_bf16": {"precision": "bfloat16"},
    "ours_bf16_norms_10": {"precision": "bfloat16", "norms_every": 10},
}
EPOCHS = {
    "mnist": {"ours": 40, "three_pass": 8, "official": 4},
    "cifar10": {"ours": 2, "ours_norms_10": 10, "ours_bf16": 2, "ours_bf16_norms_10": 10, "three_pass": 1, "official": 1},
    "stsb": {"ours": 6, "three_pass": 2, "official": 1},
}


class _Enough(Exception):
    """The turn is over."""


def ours(plan: Plan, samples: Samples, method: str) -> Turn:
    network = build_network(plan, torch.device("cpu"))
    progress = start(network, plan, method)

    def turn(epochs: int) -> None:
        last = progress.epoch + epochs

        def on_epoch(progress: Progress) -> None:
            if progress.epoch == last:
                raise _Enough

        with suppress(_Enough):
            train(network, samples, plan, method, progress, on_epoch)

    return turn


class _OneByOne(torch.utils.data.Dataset):
    """An image at a time, normalized when asked for, as torchvision's transforms do."""

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


def contestant(connection: Connection, who: str, method: str, options: argparse.Namespace) -> None:
    """A process of its own, so that none works in memory that another has set up: runs as many epochs as it is told, and says how long."""
    name = options.dataset
    dataset = load_dataset(name, options.data)
    # the official code looks at the test samples in every epoch
    plan = plan_for(name, test_every=1, **SIZES[name], **OURS.get(who, {}))
    labels = label_samples(dataset.train.labels, dataset.test.labels, plan)
    samples = Samples(encode(name, dataset.train, labels.train), encode(name, dataset.test, labels.test), labels)
    if who in OURS:
        turn = ours(plan, samples, method)
    elif who == "three_pass":
        turn = three_pass(plan, dataset, samples, method)
    else:
        turn = official(options.official, plan, dataset, samples, method)
    turn(1)  # not timed
    connection.send(dataset.source)
    while epochs := connection.recv():
        began, began_working = time.perf_counter(), time.process_time()
        turn(epochs)
        connection.send({"clock": time.perf_counter() - began, "processor": time.process_time() - began_working})


def measure(options: argparse.Namespace, method: str) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """Epochs per second of each in each round, by the clock and by the processor's time. → the data's source, and the rates

    On one thread the two agree where nothing else runs; under load the processor's time is the fairer.
    """
    epochs = EPOCHS[options.dataset]
    names = [who for who in epochs if who != "official" or options.official]
    rates: dict[str, dict[str, list[float]]] = {who: {"clock": [], "processor": []} for who in names}
    spawn = multiprocessing.get_context("spawn")
    lines, processes = {}, []
    for who in names:
        lines[who], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=contestant, args=(theirs, who, method, options), daemon=True))
        processes[-1].start()
        theirs.close()
        source = lines[who].recv()
    for _ in range(options.rounds):
        for who in names:
            lines[who].send(epochs[who])
            for clock, seconds in lines[who].recv().items():
                rates[who][clock].append(round(epochs[who] / seconds, 4))
    for line, process in zip(lines.values(), processes, strict=True):
        line.send(0)
        process.join()
    return source, rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="folder of the unpacked official code")
    parser.add_argument("--data", type=Path, default=os.environ.get("FLATSPOT_DATA"), help="folder of data sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dataset", choices=sorted(SIZES), default="mnist")
    parser.add_argument("--out", type=Path, help="default: results.json, or results-DATASET.json, beside this file")
    options = parser.parse_args()
    name = options.dataset
    results = {"threads": torch.get_num_threads(), "load_before": os.getloadavg()[0], "source": "", "sizes": SIZES[name]}
    results["epochs_per_second"] = {}
    for method in ("sft", "rft"):
        results["source"], rates = measure(options, method)
        results["epochs_per_second"][method] = rates
        for clock in ("clock", "processor"):
            middle = {who: statistics.median(values[clock]) for who, values in rates.items()}
            for who, rate in middle.items():
                against = f"  {rate / middle['official']:5.1f} times the official" if options.official else ""
                print(f"{method}  {who:<17} {rate:8.3f} epochs/s by the {clock:<9}{against}")
    results |= {"load_after": os.getloadavg()[0], "provenance": provenance()}
    out = options.out or Path(__file__).with_name("results.json" if name == "mnist" else f"results-{name}.json")
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

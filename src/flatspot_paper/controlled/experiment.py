"""The whole experiment: data → labels → pretraining → each method from there, for each seed → results.

OUT/pretrain/seed-0/            a training run (store.py)
OUT/VARIANT/METHOD/seed-0/      another
OUT/VARIANT/results.json        start and end of each group, per run and over the seeds
OUT/VARIANT/curves.parquet      all epochs of all runs, with seed and method
OUT/VARIANT/curves.png, .svg    the figure
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flatspot.core.errors import SettingsError
from flatspot.rollouts.store import write_json, write_table
from flatspot_paper.controlled.data import Dataset, load_dataset
from flatspot_paper.controlled.encode import encode, tokens_of
from flatspot_paper.controlled.figures import draw_curves
from flatspot_paper.controlled.labels import Labels, label_samples
from flatspot_paper.controlled.models import Network, build_network
from flatspot_paper.controlled.pairs import keep_pairs
from flatspot_paper.controlled.plans import METHODS, Plan
from flatspot_paper.controlled.results import ControlledResults, collect_curves, summarize
from flatspot_paper.controlled.store import load_weights, train_in_folder
from flatspot_paper.controlled.train import Progress, Samples

Say = Callable[[str], None]
# plan of the run (its seed with it), method or "pretrain", progress
OnStep = Callable[[Plan, str, Progress], None]


@dataclass(frozen=True)
class Controlled:
    """A finished experiment: its folder, and the contents of results.json."""

    folder: Path
    results: ControlledResults


def run_controlled(
    plan: Plan,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    say: Say = lambda _: None,
    on_step: OnStep = lambda *_: None,
) -> Controlled:
    """Run an experiment, or the missing part of it, and write its results.

    methods  of `plans.METHODS`
    seeds    see `Plan.seed`
    data     a folder as for `data.load_dataset`

    Raises `SettingsError`, `DatasetError`, `RunFolderError` and `MissingExtra` for errors that the user can fix.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not methods or not seeds:
        raise SettingsError(f"methods are {', '.join(METHODS)}, at least one, and at least one seed; not {', '.join(unknown) or 'none'}.")
    dataset = load_dataset(plan.setting.dataset, data, say)
    if plan.shared_by > 1 and isinstance(dataset.train.samples, list):
        dataset = keep_pairs(dataset, tokens_of(dataset.train.samples, data), plan.shared_by)
    where = _device(device)
    runs = []
    for seed in dict.fromkeys(seeds):
        seeded = replace(plan, seed=seed)
        samples, network = _samples(dataset, seeded, data, where), build_network(seeded, where)
        before = out / "pretrain" / f"seed-{seed}"
        _train(before, network, samples, seeded, "pretrain", dataset.source, on_step)
        for method in dict.fromkeys(methods):
            load_weights(network, before / "weights.pt")
            folder = out / plan.variant / method / f"seed-{seed}"
            _train(folder, network, samples, seeded, method, dataset.source, on_step)
            runs.append((seed, method, folder))
    table = collect_curves(runs)
    results = summarize(plan, dataset.source, table, runs, [out / "pretrain" / f"seed-{seed}" for seed in dict.fromkeys(seeds)])
    write_table(table, out / plan.variant / "curves.parquet")
    draw_curves(table, plan, out / plan.variant)
    write_json(results, out / plan.variant / "results.json")
    return Controlled(out / plan.variant, results)


def _train(folder: Path, network: Network, samples: Samples, plan: Plan, method: str, source: str, on_step: OnStep) -> None:
    train_in_folder(folder, network, samples, plan, method, source, lambda name, progress: on_step(plan, name, progress))


def _samples(dataset: Dataset, plan: Plan, data: Path | None, device: torch.device) -> Samples:
    labels = label_samples(dataset.train.labels, dataset.test.labels, plan)
    tensors = [
        tuple(t.to(device) for t in encode(plan.setting.dataset, pool, rows, data))
        for pool, rows in ((dataset.train, labels.train), (dataset.test, labels.test))
    ]
    tensors_of_labels = {name: getattr(labels, name).to(device) for name in ("sets", "original", "target", "moved", "test_target")}
    return Samples(tensors[0], tensors[1], Labels(labels.train, labels.test, **tensors_of_labels))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"there is no device {name!r} ({str(error).splitlines()[0]}). Use --device cpu, cuda or auto.") from None
    return device

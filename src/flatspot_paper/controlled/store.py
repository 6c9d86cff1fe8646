"""One training run on disk: complete or absent, and resumed where it stopped.

run.json        identity (everything that the numbers depend on), provenance, and, once finished, the seconds it took
curves.parquet  a row per epoch and group: `COLUMNS`
weights.pt      of a pretraining: the weights from which finetuning starts
checkpoint.pt   while it runs: the state to resume from; a resumed run gives the numbers of an uninterrupted one
"""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import torch

from flatspot.core.errors import RunFolderError
from flatspot.core.leftovers import sweep
from flatspot.core.plain import Json
from flatspot.core.provenance import provenance
from flatspot.rollouts.locks import lock_folder
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, write_json, write_table, write_whole
from flatspot_paper.controlled.metrics import GROUPS, NORMS, PER_SAMPLE
from flatspot_paper.controlled.models import Network
from flatspot_paper.controlled.plans import Plan
from flatspot_paper.controlled.train import EpochRow, Progress, Samples, State, restore, start, state_of, train

if TYPE_CHECKING:
    import pyarrow as pa

_CHECKPOINT_EVERY_S = 15.0
# name, type, meaning
COLUMNS = (
    ("epoch", "int32", "0 is the state before training; else the mean over the epoch's batches, each measured before its update"),
    ("group", "string", "small_std: samples whose label moved; large_std: the others; train: both; test: test samples"),
    ("n", "int64", "samples in the group"),
    ("loss", "double", "mean -log p of the target; of a pretraining, of the plausible labels"),
    ("accuracy", "double", "share of samples whose most probable label is the target"),
    ("set_mass", "double", "of a pretraining: probability on the plausible labels"),
    ("reward", "double", "mean expected reward"),
    ("reward_std", "double", "mean std of the reward under the policy"),
    ("objective", "double", "the maximized objective"),
    ("kl", "double", "KL divergence from the reference, if the plan has one; else 0"),
    ("grad_norm", "double", "norm of the gradient of the group's mean objective; null for the two groups in epochs without it"),
    ("params_norm", "double", "norm of the parameters"),
    ("normalized_grad_norm", "double", "grad_norm / params_norm"),
)
OnStep = Callable[[str, Progress], None]


class RunRecord(TypedDict):
    """run.json; `seconds` is None until the run has finished."""

    identity: dict[str, Json]
    provenance: dict[str, object]
    seconds: float | None


def train_in_folder(folder: Path, network: Network, samples: Samples, plan: Plan, method: str, source: str, on_step: OnStep) -> Path:
    """Train `method` in a folder, resume it there, or do nothing if it has finished; → its curves.

    The weights are in `network` only if it trained.

    Raises `RunFolderError` if the folder is in use, damaged, or has a run with another identity.
    """
    identity = as_json(identity_of(plan, method, source))
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        record = _read(folder, identity)
        if record is not None and record["seconds"] is not None:
            return folder / "curves.parquet"
        progress = start(network, plan, method)
        seconds = _resume(folder, network, progress) if record is not None else 0.0
        if record is None:
            write_json({"identity": identity, "provenance": provenance(), "seconds": None}, folder / "run.json")
        began = saved = time.monotonic()

        def on_epoch(progress: Progress) -> None:
            nonlocal saved
            on_step(method, progress)
            if time.monotonic() - saved > _CHECKPOINT_EVERY_S:
                _save(folder / "checkpoint.pt", {"seconds": seconds + time.monotonic() - began, **state_of(network, progress)})
                saved = time.monotonic()

        train(network, samples, plan, method, progress, on_epoch)
        write_table(curves(progress.rows, method), folder / "curves.parquet")
        if method == "pretrain":
            _save(folder / "weights.pt", network.module.state_dict())
        total = round(seconds + time.monotonic() - began, 3)
        write_json({"identity": identity, "provenance": provenance(), "seconds": total}, folder / "run.json")
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder / "curves.parquet"


def identity_of(plan: Plan, method: str, source: str) -> dict[str, Json]:
    """Everything that a run's numbers depend on, except versions and the machine."""
    schedule = plan.schedule
    shared: dict[str, Json] = {
        "dataset": plan.setting.dataset,
        "model": plan.setting.model,
        "source": source,
        "n_train": schedule.n_train,
        "n_test": schedule.n_test,
        "batch": schedule.batch,
        "pretrain_epochs": schedule.pretrain_epochs,
        "pretrain_lr": schedule.pretrain_lr,
        "seed": plan.seed,
        "test_every": plan.test_every,
        "precision": plan.precision,
    }
    if method == "pretrain":
        return {**shared, "method": method}
    finetuned = ("optimizer", "lr", "high_init", "kl_coeff", "kl_reference", "moved_share", "norms_every")
    return {**shared, "method": method, "epochs": schedule.epochs, **{name: getattr(plan, name) for name in finetuned}}


def load_weights(network: Network, file: Path) -> None:
    """Put a pretraining's weights into the network."""
    network.module.load_state_dict(_load(file))


def curves(rows: Sequence[EpochRow], method: str) -> pa.Table:
    """The rows of a run as a table with `COLUMNS`."""
    import pyarrow as pa

    names = [*PER_SAMPLE, *NORMS]
    records: list[dict[str, float | str | None]] = []
    for row in rows:
        for i, group in enumerate((*GROUPS, "train")):
            if row.counts[i] and (method != "pretrain" or group == "train"):
                means = dict(zip(names, row.means[i].tolist(), strict=True))
                norm = None if math.isnan(means["grad_norm"]) else means["grad_norm"]
                relative = None if norm is None else norm / means["params_norm"]
                place: dict[str, float | str | None] = {"epoch": row.epoch, "group": group, "n": int(row.counts[i])}
                records.append({**place, **means, "grad_norm": norm, "normalized_grad_norm": relative})
        if row.test is not None:
            records.append({"epoch": row.epoch, "group": "test", "loss": row.test[0], "accuracy": row.test[1]})
    if method == "pretrain":
        for record in records:
            record |= {"set_mass": record["accuracy"], "accuracy": None, "reward": None, "reward_std": None, "kl": None}
    schema = pa.schema([pa.field(name, pa.type_for_alias(kind), metadata={"meaning": text}) for name, kind, text in COLUMNS])
    return pa.Table.from_pylist(records, schema=schema)


def run_record(folder: Path) -> RunRecord:
    """run.json of a run."""
    record: RunRecord = json.loads((folder / "run.json").read_text("utf-8"))
    return record


_WRITTEN = ("run.json", "curves.parquet", "checkpoint.pt", "weights.pt")


def _read(folder: Path, identity: Mapping[str, object]) -> RunRecord | None:
    sweep(folder)
    for name in _WRITTEN:
        (folder / f"{name}.tmp").unlink(missing_ok=True)  # of a run that was killed while writing
    try:
        record = run_record(folder)
        changed = differences(record["identity"], identity)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder / 'run.json'} is damaged ({error!r}). Remove the folder {folder}, or give another --out.") from None
    if changed:
        raise RunFolderError(
            f"{folder} contains a run with other settings:\n  " + "\n  ".join(changed) + "\nGive another --out, or the settings as before."
        )
    return record


def _resume(folder: Path, network: Network, progress: Progress) -> float:
    """Restore the checkpoint; → seconds spent so far. Without a checkpoint the run starts over."""
    file = folder / "checkpoint.pt"
    if not file.exists():
        return 0.0
    state = _load(file)
    restore(network, progress, cast(State, state))
    return float(cast(float, state["seconds"]))


def _save(file: Path, state: Mapping[str, object]) -> None:
    with write_whole(file) as stream:
        torch.save(state, stream)


def _load(file: Path) -> Mapping[str, object]:
    try:
        # weights_only: a file from elsewhere cannot run code
        state: Mapping[str, object] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RunFolderError(f"{file} is damaged ({type(error).__name__}). Remove the folder {file.parent} and run again.") from error
    return state

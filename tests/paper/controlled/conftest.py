"""A tiny experiment: 200 made-up images of ten classes, a network of the real shape, a few epochs."""

import os
from pathlib import Path

import numpy as np
import pytest

from flatspot_paper.controlled.data import Dataset, Pool
from flatspot_paper.controlled.encode import encode
from flatspot_paper.controlled.labels import label_samples
from flatspot_paper.controlled.plans import plan_for
from flatspot_paper.controlled.train import Samples


def images(n, seed, shape=(28, 28)):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    means = np.random.default_rng(0).integers(0, 60, (10, *shape))
    return Pool((means[labels] + rng.integers(0, 195, (n, *shape))).astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(scope="session")
def digits():
    return Dataset(images(300, 1), images(60, 2), "made up")


@pytest.fixture
def plan():
    return plan_for("mnist", n_train=200, n_test=50, batch=64, pretrain_epochs=30, pretrain_lr=1e-3, epochs=12, lr=1e-3, test_every=5)


@pytest.fixture
def samples(digits, plan):
    return samples_of(digits, plan)


def samples_of(dataset, plan):
    labels = label_samples(dataset.train.labels, dataset.test.labels, plan)
    return Samples(
        encode(plan.setting.dataset, dataset.train, labels.train), encode(plan.setting.dataset, dataset.test, labels.test), labels
    )


@pytest.fixture(scope="session")
def real_data():
    folder = os.environ.get("FLATSPOT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FLATSPOT_DATA names no folder of data sets")
    return Path(folder)

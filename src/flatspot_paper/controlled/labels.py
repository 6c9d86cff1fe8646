"""The samples used, the plausible labels of each, and the samples that get a label outside these.

The construction of the paper's section 4.2, with the random draws in the official order, so that equal seeds give equal labels:

    1  train samples, then test samples, stratified by label (numpy's legacy generator, through scikit-learn)
    2  label sets per class: the class itself and K-1 others (torch's generator)
    3  the positions whose label moves, then their new labels, uniform over the labels outside the set (the same generator)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.core.optional import require
from flatspot_paper.controlled.plans import Plan

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """The samples of one experiment and their labels.

    train, test  [n] positions of the samples in their pools
    sets         [class, K] plausible labels of each class, the class itself first
    original     [n_train] the labels of the train samples
    target       [n_train] the same, with some moved outside their set
    moved        [n_train] whether the label moved; the reward std is then small after pretraining
    test_target  [n_test] the labels of the test samples; none moves
    """

    train: Integers
    test: Integers
    sets: torch.Tensor
    original: torch.Tensor
    target: torch.Tensor
    moved: torch.Tensor
    test_target: torch.Tensor


def label_samples(train_labels: Integers, test_labels: Integers, plan: Plan) -> Labels:
    """Select the samples and label them, with `plan.samples_seed`.

    Raises `SettingsError` if there are fewer samples than requested, or too few of a class.
    """
    numbers = np.random.RandomState(plan.samples_seed)
    generator = torch.Generator().manual_seed(plan.samples_seed)
    train = choose(train_labels, plan.schedule.n_train, numbers, "training")
    test = choose(test_labels, plan.schedule.n_test, numbers, "test")
    sets = draw_sets(plan.setting.classes, plan.setting.set_size, generator)
    original = torch.from_numpy(train_labels[train])
    target, moved = move_labels(original, sets, plan.moved_share, generator)
    return Labels(train, test, sets, original, target, moved, torch.from_numpy(test_labels[test]))


def choose(labels: Integers, count: int | None, numbers: np.random.RandomState, what: str) -> Integers:
    """`count` positions, stratified by class; all of them, without sampling, if there are that many or `count` is None."""
    if count is None or count == len(labels):
        return np.arange(len(labels))
    if count > len(labels):
        raise SettingsError(f"{count} {what} samples were requested, and there are {len(labels)}. Request fewer.")
    splitter = require("sklearn.model_selection", extra="reproduce", purpose="Selecting samples by class")
    try:
        selection, _ = splitter.train_test_split(np.arange(len(labels)), train_size=count, stratify=labels, random_state=numbers)
    except ValueError as error:
        raise SettingsError(f"{count} of {len(labels)} {what} samples cannot be selected by class ({error}). Request more.") from None
    return np.asarray(selection, dtype=np.int64)


def draw_sets(classes: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """[class, size]: each class, then size-1 other labels, uniform without replacement.

    >>> draw_sets(3, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    every = torch.arange(classes).expand(classes, -1)
    own = torch.arange(classes).unsqueeze(1)
    others = every[every != own].view(classes, classes - 1)
    order = torch.rand((classes, classes - 1), generator=generator).argsort(dim=1)
    return torch.cat([own, others.gather(1, order)[:, : size - 1]], dim=1)


def move_labels(labels: torch.Tensor, sets: torch.Tensor, share: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a share of the samples a label outside their set.

    labels [n], sets [class, K] → (labels with int(share·n) of them moved [n], whether each moved [n])
    """
    classes, size = sets.shape
    count = int(len(labels) * share)
    where = torch.randperm(len(labels), generator=generator)[:count]
    outside = torch.ones((classes, classes), dtype=torch.bool).scatter(1, sets, False)
    options = torch.arange(classes).expand(classes, -1)[outside].view(classes, classes - size)
    option = torch.randint(0, classes - size, size=(count,), generator=generator)
    target, moved = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    target[where] = options[labels[where], option]
    moved[where] = True
    return target, moved

"""The construction of section 4.2, against a second reading of it: loops, and the libraries' global generators."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from flatspot.core.errors import SettingsError
from flatspot_paper.controlled.data import load_dataset
from flatspot_paper.controlled.labels import draw_sets, label_samples, move_labels
from flatspot_paper.controlled.plans import plan_for


def by_the_letter(train_labels, test_labels, n_train, n_test, classes, size, seed):
    """np.random.seed, torch.manual_seed; then samples, sets per class, moved labels, in this order."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    train = train_test_split(np.arange(len(train_labels)), train_size=n_train, stratify=train_labels)[0]
    test = train_test_split(np.arange(len(test_labels)), train_size=n_test, stratify=test_labels)[0]
    scores = torch.rand(classes, classes - 1)
    sets = []
    for c in range(classes):
        others = [k for k in range(classes) if k != c]
        sets.append([c] + [others[i] for i in np.argsort(scores[c].numpy(), kind="stable")[: size - 1]])
    positions = torch.randperm(n_train)[: n_train // 10].tolist()
    places = torch.randint(0, classes - size, size=(n_train // 10,)).tolist()
    targets = [int(train_labels[i]) for i in train]
    for position, place in zip(positions, places, strict=True):
        outside = [k for k in range(classes) if k not in sets[targets[position]]]
        targets[position] = outside[place]
    return train, test, sets, targets, sorted(positions)


@pytest.mark.parametrize("seed", [0, 3])
def test_labels_are_those_of_the_letter(digits, seed):
    plan = plan_for("mnist", n_train=200, n_test=50, seed=seed)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    labels = label_samples(digits.train.labels, digits.test.labels, plan)
    assert torch.equal(state[0], torch.get_rng_state()) and (state[1] == np.random.get_state()[1]).all()  # nobody else's numbers move
    train, test, sets, targets, moved = by_the_letter(digits.train.labels, digits.test.labels, 200, 50, 10, 5, 192 + seed)
    assert labels.train.tolist() == train.tolist()
    assert labels.test.tolist() == test.tolist()
    assert labels.sets.tolist() == sets
    assert labels.target.tolist() == targets
    assert labels.moved.nonzero().flatten().tolist() == moved
    assert labels.test_target.tolist() == digits.test.labels[test].tolist()


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "stsb"])
def test_real_data_are_labeled_by_the_letter(real_data, dataset):
    loaded, plan = load_dataset(dataset, real_data), plan_for(dataset, n_train=500, n_test=300)
    labels = label_samples(loaded.train.labels, loaded.test.labels, plan)
    classes, size = plan.setting.classes, plan.setting.set_size
    _, _, sets, targets, moved = by_the_letter(loaded.train.labels, loaded.test.labels, 500, 300, classes, size, 192)
    assert (labels.sets.tolist(), labels.target.tolist(), labels.moved.nonzero().flatten().tolist()) == (sets, targets, moved)


def test_all_samples_are_used_without_a_draw(digits):
    """As for STS-B: step 1 is skipped, so the label sets come from the seed's first numbers."""
    labels = label_samples(digits.train.labels, digits.test.labels, plan_for("mnist", n_train=300, n_test=60))
    assert labels.train.tolist() == list(range(300))
    assert labels.sets.tolist() == draw_sets(10, 5, torch.Generator().manual_seed(192)).tolist()


@pytest.mark.parametrize(("classes", "size"), [(10, 5), (6, 3), (3, 2)])
def test_sets_and_moved_labels_keep_apart(classes, size):
    generator = torch.Generator().manual_seed(7)
    sets = draw_sets(classes, size, generator)
    assert all(len(set(row)) == size and row[0] == c for c, row in enumerate(sets.tolist()))
    labels = torch.randint(0, classes, (5000,), generator=generator)
    target, moved = move_labels(labels, sets, 0.1, generator)
    assert int(moved.sum()) == 500
    assert torch.equal(target[~moved], labels[~moved])
    assert not (sets[labels[moved]] == target[moved].unsqueeze(1)).any()
    for c in range(classes):  # every label outside the set is met
        assert set(target[moved & (labels == c)].tolist()) == set(range(classes)) - set(sets[c].tolist())


def test_too_many_or_too_few_samples(digits):
    with pytest.raises(SettingsError, match="301 training samples were requested, and there are 300"):
        label_samples(digits.train.labels, digits.test.labels, plan_for("mnist", n_train=301))
    with pytest.raises(SettingsError, match="5 of 60 test samples cannot be selected by class"):
        label_samples(digits.train.labels, digits.test.labels, plan_for("mnist", n_train=200, n_test=5))

"""The choice of pairs, against every subset of a small set, and against removing one pair at a time."""

import random
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from flatspot.core.errors import DatasetError
from flatspot_paper.controlled.data import Dataset, Pool, load_dataset
from flatspot_paper.controlled.encode import tokens_of
from flatspot_paper.controlled.pairs import keep_pairs, sharing_words
from flatspot_paper.controlled.plans import plan_for


def shares(tokens, rows, count):
    result = Counter(token for i in rows for token in set(tokens[i]))
    return all(result[token] >= count for i in rows for token in tokens[i])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_largest_set_that_shares_its_words(count):
    rng = random.Random(count)
    sizes = []
    for _ in range(30):
        tokens = [[rng.randrange(6) for _ in range(rng.randint(1, 4))] for _ in range(8)]
        result = sharing_words(tokens, count)
        every = [set(rows) for size in range(9) for rows in combinations(range(8), size) if shares(tokens, rows, count)]
        largest = max(every, key=len)
        assert set(result) == largest and all(rows <= largest for rows in every)
        sizes.append(len(result))
    assert len(set(sizes)) > 1 or count == 1


def test_one_at_a_time_in_any_order_gives_the_same():
    rng = random.Random(0)
    tokens = [[int(rng.expovariate(0.05)) for _ in range(6)] for _ in range(300)]
    rest = list(range(300))
    while not shares(tokens, rest, 3):
        result = Counter(token for i in rest for token in set(tokens[i]))
        rest.remove(rng.choice([i for i in rest if min(result[token] for token in tokens[i]) < 3]))
    assert 0 < len(rest) < 300
    assert sharing_words(tokens, 3) == rest


def test_no_pair_may_be_left():
    assert sharing_words([], 2) == sharing_words([[1], [2]], 2) == []
    pool = Pool([("a", "b")], np.array([0]))
    with pytest.raises(DatasetError, match="among 1 pairs of sentences there are none whose words each occur in 2 of them"):
        keep_pairs(Dataset(pool, pool, "made up"), [[1, 2]], 2)


def test_the_same_two_sentences_are_kept_once():
    pool = Pool([("a", "b"), ("b", "a"), ("a", "a b"), ("b", "b c")], np.array([5, 0, 1, 2]))
    test = Pool([("d", "e")], np.array([3]))
    rest = keep_pairs(Dataset(pool, test, "made up"), [[1, 2], [2, 1], [1, 1, 2], [2, 2, 3]], 2)
    assert rest.train.samples == [("a", "b"), ("a", "a b")]
    assert rest.train.labels.tolist() == [5, 1]
    assert rest.test is test
    assert rest.source == "made up (2 pairs, each word in 2 of them or more)"


def test_the_pairs_of_the_quick_scale(real_data):
    plan, dataset = plan_for("stsb", scale="quick"), load_dataset("stsb", real_data)
    rest = keep_pairs(dataset, tokens_of(dataset.train.samples, real_data), plan.shared_by)
    tokens = tokens_of(rest.train.samples, real_data)
    assert len(tokens) == 73 and shares(tokens, range(73), 4)
    assert np.bincount(rest.train.labels).tolist() == [5, 15, 16, 16, 10, 11]


@pytest.mark.parametrize(("dataset", "scale"), [("stsb", "paper"), ("mnist", "quick")])
def test_nothing_else_chooses_pairs(dataset, scale):
    assert plan_for(dataset, scale=scale).shared_by == 1

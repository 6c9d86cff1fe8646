"""Strategies on small sets, against every choice there is."""

import itertools

import numpy as np
import pytest

from flatspot.planning.coverage import FEWEST, coverage, knee, recommended
from flatspot.planning.embeddings import unit_rows
from flatspot.planning.strategies import STRATEGIES, Failing, greedy, similarity


def failing(m, seed=0, width=3, **given):
    rng = np.random.default_rng(seed)
    arrays = {
        "p_vanishing": rng.uniform(0.5, 1, m),
        "mean": rng.uniform(0, 0.3, m),
        "headroom": rng.uniform(0.1, 1, m),
        "n_samples": rng.integers(4, 60, m),
        "prompts": unit_rows(rng.normal(size=(m, width))),
        "habits": unit_rows(rng.normal(size=(m, width))),
        "demand": np.ones(m, bool),
    }
    return Failing(**arrays | given)


def cosines(vectors):
    return np.array([[max(0.0, float(np.dot(a, b))) for b in vectors.astype(float)] for a in vectors.astype(float)])


def covered(found, chosen):
    """The objective, spelled out."""
    similar = (cosines(found.prompts) + cosines(found.habits)) / 2
    np.fill_diagonal(similar, 1.0)
    return sum(
        p * room * max(similar[j, i] for j in chosen) for i, (p, room) in enumerate(zip(found.p_vanishing, found.headroom, strict=True))
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_greedy_is_within_its_guarantee_of_the_best_choice_and_better_in_practice(seed, k):
    found = failing(9, seed)
    best = max(covered(found, chosen) for chosen in itertools.combinations(range(9), k))
    reached = covered(found, STRATEGIES["facility-location"](found, k))
    assert reached >= (1 - 1 / np.e) * best
    assert reached >= 0.85 * best  # what it gives on such sets
    if k == 1:
        assert reached == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_lazy_greedy_is_greedy(seed):
    rng = np.random.default_rng(seed)
    similar, weight = rng.random((30, 40)).astype(np.float32), rng.random(40)
    chosen, best = [], np.zeros(40)
    for _ in range(10):
        gains = [(np.maximum(row, best) - best) @ weight if i not in chosen else -1 for i, row in enumerate(similar)]
        chosen.append(int(np.argmax(gains)))
        best = np.maximum(best, similar[chosen[-1]])
    assert greedy(similar, weight, 10).tolist() == chosen


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_cover_leaves_no_prompt_twice_as_far_as_the_best_centers_do(seed, k):
    found = failing(10, seed)
    distance = np.linalg.norm(found.prompts[:, None] - found.prompts[None], axis=-1)
    best = min(distance[:, chosen].min(1).max() for chosen in map(list, itertools.combinations(range(10), k)))
    assert distance[:, STRATEGIES["cover"](found, k)].min(1).max() <= 2 * best + 1e-6


def test_hardest_is_the_surest_to_vanish_then_the_lowest_then_the_most_drawn():
    found = failing(
        5,
        p_vanishing=np.array([0.9, 0.99, 0.99, 0.99, 0.99]),
        mean=np.array([0.0, 0.1, 0.0, 0.0, 0.0]),
        n_samples=np.array([64, 64, 8, 16, 8]),
    )
    assert STRATEGIES["hardest"](found, 5).tolist() == [3, 2, 4, 1, 0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_gives_different_prompts_in_an_order_whose_beginning_does_not_depend_on_its_end(name):
    found = failing(20)
    every = STRATEGIES[name](found, 20)
    assert sorted(every) == list(range(20))
    assert STRATEGIES[name](found, 7).tolist() == every[:7].tolist()
    assert STRATEGIES[name](found, 50).tolist() == every.tolist()
    assert len(STRATEGIES[name](failing(0), 3)) == 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_equal_prompts_are_no_trouble(name):
    alike = np.tile(unit_rows(np.ones((1, 3))), (6, 1))
    blank = np.zeros((6, 3), np.float32)
    assert sorted(STRATEGIES[name](failing(6, prompts=alike, habits=alike), 6)) == list(range(6))
    assert sorted(STRATEGIES[name](failing(6, prompts=blank, habits=blank), 6)) == list(range(6))
    assert sorted(STRATEGIES[name](failing(6, headroom=np.zeros(6)), 6)) == list(range(6))


def test_each_failing_habit_is_covered_before_any_is_covered_twice():
    habits = unit_rows(np.repeat(np.eye(3), [10, 6, 4], axis=0))
    found = failing(20, habits=habits, prompts=np.zeros((20, 3), np.float32), p_vanishing=np.ones(20), headroom=np.ones(20))
    first = STRATEGIES["facility-location"](found, 3)
    assert [int(habits[i].argmax()) for i in first] == [0, 1, 2]  # the commonest habit first


def test_coverage_is_the_objective_of_each_prefix():
    found = failing(12)
    chosen = np.array([3, 7, 1])
    whole = (found.p_vanishing * found.headroom).sum()
    got = coverage(found, chosen)
    assert got.share == pytest.approx([covered(found, chosen[:k]) / whole for k in (1, 2, 3)], rel=1e-5)
    assert got.similar[3] == 1 and got.nearest[[3, 7, 1]].tolist() == [0, 1, 2]
    similar = similarity(found, np.arange(12), np.arange(12))
    assert got.nearest.tolist() == [int(similar[chosen, i].argmax()) for i in range(12)]
    assert coverage(found, np.arange(12)).share[-1] == pytest.approx(1.0, rel=1e-5)


def test_a_sample_stands_for_the_set():
    some = np.arange(12) < 5
    found = failing(12, demand=some)
    alone = failing(12)
    weight = np.where(some, alone.p_vanishing * alone.headroom, 0)
    assert found.weight == pytest.approx(weight)
    similar = similarity(alone, np.array([2]), np.arange(12))[0]
    assert coverage(found, np.array([2])).share[0] == pytest.approx(similar @ weight / weight.sum(), rel=1e-5)


def test_the_knee_of_curves_that_have_one():
    n = np.arange(1, 101)
    assert knee(np.minimum(n / 20, 1.0)) == 20
    exact = 10 * np.log(100 / 10 / (1 - np.exp(-10)))  # where the slope is that of the line to the end
    assert abs(knee(1 - np.exp(-n / 10)) - exact) <= 1
    assert recommended(np.minimum(n / 4, 1.0)) == FEWEST
    assert recommended(np.minimum(n[:9] / 4, 1.0)) == 9
    assert recommended(np.zeros(0)) == 0

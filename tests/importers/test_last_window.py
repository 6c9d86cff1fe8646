"""What is said of the groups whose rewards are equal: in all steps of a log and in the last ones, against a count by hand."""

import duckdb
import numpy as np
import pytest

from flatspot.importers.window import last_window


def said(rewards):
    """Of rewards [step, prompt, completion]."""
    db = duckdb.connect()
    table = np.indices(rewards.shape).reshape(3, -1)
    db.execute("CREATE TABLE rollouts (step BIGINT, prompt_id VARCHAR, reward DOUBLE)")
    rows = [[int(step), f"p{prompt}", float(reward)] for step, prompt, reward in zip(table[0], table[1], rewards.ravel(), strict=True)]
    if rows:
        db.executemany("INSERT INTO rollouts VALUES (?, ?, ?)", rows)
    return last_window(db, "(SELECT *, NULL AS split, NULL AS drawn_with FROM rollouts)")


@pytest.mark.parametrize("noise", [0.0, 1e-7], ids=["exact", "as float32 rounds them"])
@pytest.mark.parametrize("unit", [1.0, 1e-9], ids=["of size 1", "tiny"])
def test_equal_rewards_are_those_that_the_verdicts_take_for_equal(noise, unit):
    rng = np.random.default_rng(0)
    rewards = rng.uniform(0.2, 1, (8, 10, 4))
    flat = np.zeros((8, 10), bool)
    flat[:, :3], flat[6:, :6] = True, True  # more at the end
    rewards[flat] = 0.7 * (1 + noise * rng.uniform(-1, 1, (flat.sum(), 4)))
    assert said(unit * rewards) == (
        f" Rewards are equal in {flat.mean():.0%} of all 80 groups, and in {flat[6:].mean():.0%} of the 20 of the last 2 steps (--last 2)."
    )


def test_of_too_few_groups_nothing_is_said():
    assert said(np.zeros((4, 3, 2))) == "" and said(np.zeros((0, 0, 0))) == ""

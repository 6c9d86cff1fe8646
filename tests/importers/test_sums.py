"""Rewards that are added up, against numpy: weights, signs, what is missing, and what is in the sum twice."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import flatspot
from flatspot.core.errors import SettingsError


def rows(n=30, k=8, seed=0):
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.6, 0.6, n)
    for i in range(n):
        for j in range(k):
            yield {
                "prompt": f"question {i}",
                "completion": f"answer {j}",
                "right": float(rng.random() < chance[i]),
                "form": float(rng.random() < 0.7),
                "words": int(rng.integers(0, 40)),
            }


def judged(tmp_path, log, names, weights=None, **options):
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in log))
    return flatspot.inspect(file, columns={"reward": names}, reward_weights=weights, out=tmp_path / "run", **options)


def assert_sums(run, log, names, weights):
    """Each prompt's number of rewards, mean and std are numpy's; a missing part adds nothing, unless all are missing."""
    found = {
        text: (n, mean, std)
        for text, n, mean, std in zip(*(run.to_arrow()[c].to_pylist() for c in ("prompt", "n_scored", "mean", "std")), strict=True)
    }
    values = {}
    for row in log:
        parts = np.array([np.nan if row.get(name) is None else row[name] for name in names], float)
        values.setdefault(row["prompt"], []).append(np.nan if np.isnan(parts).all() else np.nansum(parts * np.array(weights)))
    assert found.keys() == values.keys()
    for text, own in values.items():
        own = np.array(own)[np.isfinite(own)]
        assert found[text][0] == len(own)
        if len(own) > 1:
            assert found[text][1:] == (pytest.approx(own.mean()), pytest.approx(own.std(ddof=1)))


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["right", "form"], (1.0, 0.2)),
        (["form", "right"], (0.2, 1.0)),
        (["right", "words"], (1.0, -0.01)),
        (["right", "form"], (0.0, 1.0)),
        (["right", "form"], None),
    ],
)
def test_the_total_is_the_weighted_sum(tmp_path, names, weights):
    log = list(rows())
    run = judged(tmp_path, log, names, weights)
    assert_sums(run, log, names, weights or (1.0, 1.0))
    assert {name: part.weight for name, part in run.summary.components.items()} == dict(zip(names, weights or (1.0, 1.0), strict=True))
    assert run.summary.components["right" if "right" in names else "form"].mean == pytest.approx(np.mean([row["right"] for row in log]))
    assert ("weights-assumed" in run.summary.caveat_codes) == (weights is None)
    assert "counted-twice" not in run.summary.caveat_codes and "missing-parts" not in run.summary.caveat_codes


def test_a_part_that_is_missing_adds_nothing_and_is_counted(tmp_path):
    log = [row | ({"form": None} if i % 5 == 0 else {}) | ({"right": None} if i % 10 == 0 else {}) for i, row in enumerate(rows())]
    del log[1]["form"]  # absent is missing, too
    run = judged(tmp_path, log, ["right", "form"], (1.0, 0.2))
    assert_sums(run, log, ["right", "form"], (1.0, 0.2))
    both = sum(row["right"] is None and row.get("form") is None for row in log)
    one = sum(row.get("form") is None and row["right"] is not None for row in log)
    assert f"On {one} of {len(log)} rows a reward is missing ('form' on {one})" in " ".join(run.summary.caveats)
    assert "missing-parts" in run.summary.caveat_codes
    assert run.summary.health.error_share == pytest.approx(both / len(log))


def test_a_total_beside_its_parts_is_named(tmp_path):
    log = [row | {"reward": row["right"] + 0.2 * row["form"]} for row in rows()]
    run = judged(tmp_path, log, ["right", "form", "reward"], (1.0, 0.2, 1.0))
    assert "counted-twice" in run.summary.caveat_codes
    assert "'reward' is right + 0.2 × form on every row, so 'right' counts twice" in " ".join(run.summary.caveats)


@pytest.mark.parametrize(("extra", "names", "twice"), [
    (lambda row: row["right"] + 0.2 * row["form"], ["extra", "right"], True),  # the other part is not named, and still in it
    (lambda row: row["right"], ["right", "extra"], True),
    (lambda row: row["right"] - 0.01 * row["words"], ["extra", "right"], True),
    (lambda row: row["right"] * row["form"], ["right", "extra"], False),  # no sum
])  # fmt: skip
def test_what_counts_twice_is_told_from_what_does_not(tmp_path, extra, names, twice):
    log = [row | {"extra": extra(row)} for row in rows()]
    run = judged(tmp_path, log, names)
    assert ("counted-twice" in run.summary.caveat_codes) == twice
    assert_sums(run, log, names, (1.0, 1.0))


def test_three_rows_prove_no_sum(tmp_path):
    log = [{"prompt": "a", "right": 1.0, "form": 0.5, "words": w} for w in (1, 2, 3)]
    assert "counted-twice" not in judged(tmp_path, log, ["right", "form"]).summary.caveat_codes


@pytest.mark.parametrize(
    ("names", "weights", "words"),
    [
        (["right", "form"], (1.0,), "2 reward columns need 2 weights, got 1"),
        ("right", (1.0, 2.0), "1 reward column needs 1 weight, got 2"),
        (["right", "right"], None, "--reward-col right is given twice"),
        (["right", "form"], (0.0, 0.0), "every --reward-weight is 0"),
        ("right", (0.0,), "every --reward-weight is 0"),
        (["right", "form"], (1.0, float("nan")), "--reward-weight must be finite"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(tmp_path, names, weights, words):
    with pytest.raises(SettingsError, match=words):
        judged(tmp_path, rows(), names, weights)


def test_a_negative_weight_of_one_column_turns_the_reward_around(tmp_path):
    log = list(rows())
    run = judged(tmp_path, log, "right", (-2.0,))
    assert_sums(run, log, ["right"], (-2.0,))
    assert str(run.summary.reward.range) == "(-2.0, 0.0)"  # and no -0.0


def test_the_command_takes_weights_in_the_order_of_the_columns(tmp_path):
    log = list(rows())
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    options = [
        "--reward-col",
        "right",
        "--reward-weight",
        "2",
        "--reward-col",
        "words",
        "--reward-weight",
        "-0.05",
        "--out",
        str(tmp_path / "run"),
    ]
    command = [sys.executable, "-m", "flatspot.cli", "inspect", str(tmp_path / "log.jsonl"), *options]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0 and "The reward is 2 × right − 0.05 × words." in " ".join(done.stdout.split())
    assert_sums(flatspot.open(tmp_path / "run"), log, ["right", "words"], (2.0, -0.05))

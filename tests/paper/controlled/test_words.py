"""The results as text: narrow enough for a terminal, with a gap between columns."""

import re

import pytest

pytest.importorskip("torch")
from flatspot_paper.controlled.words import results_text


def spread(mean, far):
    return {"mean": mean, "std": far / 2, "min": mean - far, "max": mean + far}


def test_the_widest_numbers_fit_80_columns_and_do_not_touch():
    widest = {"reward": (-0.598, 0.002), "reward_std": (0.7997, 0.0015), "accuracy": (0.228, 0.067), "grad_norm": (3.4e-11, 3.5e-12)}
    ends = {when: {name: spread(*pair) for name, pair in widest.items()} for when in ("start", "end")}
    results = {
        "variant": "sgd-high-init",
        "source": "folder: train.jsonl.gz",
        "plan": {
            "lr": 1e-4,
            "scale": "quick",
            "setting": {"dataset": "cifar10", "model": "resnet18"},
            "schedule": {"pretrain_epochs": 1000, "epochs": 5000},
        },
        "runs": [{"seed": seed} for seed in range(3)],
        "over_seeds": {"reinforce": {"small_std": ends, "large_std": ends}},
    }
    text = results_text(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "-0.598 (0.002) 0.7997 (0.0015) 0.228 (0.067) 3.4e-11 (3.5e-12)" in text
    assert not re.search(r"\)[^ \n.]", text)
    assert "REINFORCE" in text

"""The comparison of arms against numbers written out, and its intervals against simulation."""

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from flatspot_paper.grue.compare import across, compare  # noqa: E402


def table(means, stds, names=None):
    return pa.table({"input": names or [f"i{n}" for n in range(len(means))], "mean": means, "std": stds})


def test_a_task_by_hand():
    inputs = {
        "pretrained": table([0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.2, 0.3]),
        "again": table([0.2, 0.2, 0.2, 0.4], [0.1] * 4),
        "rft-ppo": table([0.1, 0.3, 0.5, 0.7], [0.1] * 4),
        "sft": table([0.6, 0.6, 0.6, 0.6], [0.1] * 4),
        "sft+rft-ppo": table([0.6, 0.8, 0.6, 0.8], [0.1] * 4),
        "warmup+rft-ppo": table([0.5, 0.7, 0.5, 0.7], [0.1] * 4),
        "warmup+rft-grpo": table([0.5, 0.7, 0.5, 0.7], [0.1] * 4),
    }
    told = compare(inputs)
    assert list(told["kept"]) == ["ppo"]  # GRPO has no full SFT before it
    assert told["kept"]["ppo"]["value"] == pytest.approx(0.6 / 0.7)
    assert told["kept"]["ppo"]["low"] == pytest.approx(0.5 / 0.6) and told["kept"]["ppo"]["high"] == pytest.approx(0.7 / 0.8)
    assert told["before"]["value"] == pytest.approx(0.25)
    assert told["arms"]["rft-ppo"]["reward"]["value"] == pytest.approx(0.4)
    assert told["arms"]["rft-ppo"]["change"]["value"] == pytest.approx(0.4 - 0.25)
    assert told["arms"]["rft-ppo"]["correlation"]["value"] == pytest.approx(1.0)  # changes 0, 0.1, 0.2, 0.3
    apart = np.corrcoef([0, 0.1, 0.2, 0.3], [-0.1, 0.1, 0.3, 0.3])[0, 1]
    assert told["arms"]["rft-ppo"]["correlation_apart"]["value"] == pytest.approx(apart)
    assert told["arms"]["sft"]["correlation"]["value"] == pytest.approx(-1.0)
    assert told["untrained"]["value"] == pytest.approx(np.corrcoef([0, 0.1, 0.2, 0.3], [0.1, 0, -0.1, 0])[0, 1])
    assert told["gaps"]["ppo"]["value"] == pytest.approx(0.2)
    assert (told["small"]["value"], told["tenth"]["value"]) == (0.25, pytest.approx(0.03))


def test_inputs_are_matched_by_name_and_those_without_a_number_are_left_out():
    nan = float("nan")
    inputs = {
        "pretrained": table([0.1, 0.2, 0.3], [0.0, 0.1, 0.3]),
        "again": table([0.3, 0.1, 0.2], [0.1] * 3, ["i2", "i0", "i1"]),
        "sft": table([0.5, nan, 0.9], [0.1, nan, 0.1]),
    }
    told = compare(inputs)
    assert told["inputs"] == 2
    assert told["untrained"] is None  # nothing changed
    assert told["arms"]["sft"]["change"]["value"] == pytest.approx(0.5)
    assert told["gaps"] == {}


def test_across_tasks_by_hand_and_with_the_seeds_of_a_task_averaged():
    def one(std, gap):
        return {
            "pretrained": table([0.1] * 20, [std] * 20),
            "again": table([0.1] * 20, [std] * 20),
            "rft-ppo": table([0.2] * 20, [0.1] * 20),
            "sft": table([0.2 + gap] * 20, [0.1] * 20),
        }

    tables = {("a", 0): one(0.01, 0.3), ("a", 1): one(0.01, 0.1), ("b", 0): one(0.1, 0.1), ("c", 0): one(0.2, 0.0)}
    told = across(tables, "ppo")
    assert told["tasks"] == ["a", "b", "c"]
    assert told["tenth"]["value"] == pytest.approx(-1.0)  # gaps 0.2, 0.1, 0.0
    assert told["small"]["value"] == pytest.approx(np.sqrt(3) / 2)  # shares 1, 0, 0: ranks 3, 1.5, 1.5
    assert across(tables, "grpo") == {"tasks": [], "tenth": None, "small": None}

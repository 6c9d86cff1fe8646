"""Which steps or split of a log are judged, and what is said of the last ones beside all."""

import json

import numpy as np
import pytest

import flatspot
from flatspot.core.errors import ImportFormatError, SettingsError
from flatspot.runs.by_step import groups_by_step

from . import writers
from .test_formats import judged
from .writers import batches, flat, truth

STEPS = batches(n_steps=6, n_prompts=8, seed=2)
VALIDATION = batches(n_steps=1, n_prompts=8, seed=9)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [({"steps": "2:4"}, STEPS[1:4]), ({"steps": ":2"}, STEPS[:2]), ({"steps": "5:"}, STEPS[4:]), ({"steps": (3, 3)}, STEPS[2:3]),
     ({"last": 2}, STEPS[4:]), ({"last": 99}, STEPS)],
)  # fmt: skip
def test_the_steps_that_are_asked_for_are_judged(tmp_path, asked, kept):
    writers.verl(tmp_path / "log", STEPS)
    summary, found, _ = judged(tmp_path, **asked)
    assert found == truth(kept)
    assert any(f"{len(kept)} of 6 steps" in text for text in summary.caveats)
    assert ("several-policies" in summary.caveat_codes) == (len(kept) > 1)


def test_a_split_is_judged_though_there_is_a_training(tmp_path):
    writers.verl(tmp_path / "log/a", STEPS)
    writers.verl(tmp_path / "log/b", VALIDATION, "val")
    summary, found, _ = judged(tmp_path, split="eval")
    assert found == truth(VALIDATION) and "evaluation-rows" not in summary.caveat_codes
    (tmp_path / "run").rename(tmp_path / "validation")
    assert judged(tmp_path, split="train", last=1)[1] == truth(STEPS[-1:])


def test_rows_of_any_log_have_a_window(tmp_path):
    rows = [
        {"prompt": writers.question(i), "completion": f"{k}", "reward": reward, "step": number, "split": "val" if number == 5 else "train"}
        for number, step in enumerate(STEPS)
        for i, k, reward in flat(step)
    ]
    writers.lines(tmp_path / "log/rows.jsonl", rows)
    assert judged(tmp_path, steps="1:2")[1] == truth(STEPS[1:3])
    (tmp_path / "run").rename(tmp_path / "first")
    assert judged(tmp_path, split="val")[1] == truth(STEPS[5:])


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [({"steps": "9:"}, ImportFormatError, "there are steps 1 to 6"), ({"steps": "4:2"}, SettingsError, "holds no step"),
     ({"steps": "4"}, SettingsError, "must be A:B"), ({"steps": "1:2", "last": 1}, SettingsError, "give one of them"),
     ({"last": 0}, SettingsError, "1 or more"), ({"split": "dev"}, ImportFormatError, "no row is of the split 'dev'; there are: train")],
)  # fmt: skip
def test_a_window_without_rows_is_refused(tmp_path, asked, error, said):
    writers.verl(tmp_path / "log", STEPS)
    with pytest.raises(error, match=said):
        judged(tmp_path, **asked)


def test_a_log_without_steps_has_none_to_pick_and_a_run_folder_has_its_rows(tmp_path):
    writers.verifiers_legacy(tmp_path / "log", VALIDATION)
    with pytest.raises(ImportFormatError, match="does not say steps"):
        judged(tmp_path, last=1)
    writers.verl(tmp_path / "other/log", STEPS)
    judged(tmp_path / "other")
    with pytest.raises(SettingsError, match="--steps"):
        flatspot.inspect(tmp_path / "other/run", last=1)


def test_the_last_steps_stand_beside_all_and_the_picture_has_the_groups_of_each(tmp_path):
    """Prompts that are solved in the second half: the share of groups without a difference, counted by hand."""
    steps = [*batches(n_steps=6, n_prompts=8, seed=2, chances=(0.5,)), *batches(n_steps=2, n_prompts=8, seed=3, chances=(1.0,))]
    writers.verl(tmp_path / "log", steps)
    summary, _, _ = judged(tmp_path)
    flat_groups = [sum(len(set(rewards)) == 1 for rewards in step.values()) for step in steps]
    share = round(100 * sum(flat_groups) / 32)
    assert any(
        f"equal in {share}% of all 32 groups, and in 100% of the 8 of the last 2 steps (--last 2)" in text for text in summary.caveats
    )
    curve = groups_by_step(tmp_path / "run")
    assert curve.groups.sum() == 32 and curve.step[-1] == 8
    assert (curve.flat * curve.groups).sum() == pytest.approx(sum(flat_groups))
    assert (curve.lo <= curve.flat).all() and (curve.flat <= curve.hi).all()
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "Over the steps" in page and "step 8: 100% of 8 groups" in page
    writers.verl(tmp_path / "one/log", steps[:1])
    judged(tmp_path / "one")
    assert "Over the steps" not in (tmp_path / "one/run/report.html").read_text("utf-8")


def test_groups_of_evaluations_are_counted_apart_from_those_of_the_training(tmp_path):
    rng, rows, groups = np.random.default_rng(0), [], []
    for step in range(8):
        for split, chance in (("train", 0.5), ("eval", 1.0)):
            for i in range(6):
                rewards = (rng.random(4) < chance).astype(float).tolist()
                groups.append(len(set(rewards)) == 1)
                rows += [{"question": f"q{i}", "output": str(k), "score": r, "step": step, "split": split} for k, r in enumerate(rewards)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(tmp_path / "log.jsonl", reward_range=(0, 1), out=tmp_path / "run")
    [said] = [text for text in run.summary.caveats if text.startswith("The log has 8 training steps")]
    assert f"Rewards are equal in {np.mean(groups):.0%} of all 96 groups" in said


@pytest.mark.parametrize("step", ["step-3", 1.5])
def test_steps_that_are_no_whole_numbers_are_said_to_be_unknown(tmp_path, step):
    rows = [{"question": f"q{i}", "output": str(k), "score": k % 2, "step": step if i else 4} for i in range(3) for k in range(4)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(tmp_path / "log.jsonl", reward_range=(0, 1), out=tmp_path / "run")
    assert [text for text in run.summary.caveats if f"On 8 of 12 rows the step, `step`, is no whole number (such as '{step}')" in text]
    assert "several-policies" in run.summary.caveat_codes

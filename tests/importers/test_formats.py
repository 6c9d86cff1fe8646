"""Each format of flatspot's own, read from logs made after the formats' sources: which rewards each prompt has, and what is said."""

import json
from collections import Counter

import pytest

import flatspot
from flatspot.core.errors import ImportFormatError
from flatspot.core.log_formats import LOG_FORMATS
from flatspot.importers.detection import FORMATS, own_format
from flatspot.importers.search import find_files
from flatspot.verdicts.codes import CODES

from . import writers
from .writers import batches, truth

STEPS = batches()
PLUS_ONE = truth(STEPS, lambda reward: reward + 1)
PLUS_FORMAT = truth(STEPS, lambda reward: reward + 0.2)
EVERY = {
    "trl": (writers.trl, PLUS_ONE, "trl", {"several-policies", "weights-assumed", "flat-component"}),
    "trl, chat": (lambda f, s: writers.trl(f, s, chat=True), PLUS_ONE, "trl", {"weights-assumed"}),
    "trl, extra": (lambda f, s: writers.trl(f, s, extra=lambda i: {"task_id": f"q{i}", "level": 3.0}), PLUS_ONE, "trl", set()),
    "wandb": (writers.wandb, PLUS_ONE, "wandb", {"repeated-rows", "several-policies"}),
    "verl V1": (writers.verl, truth(STEPS), "verl", {"several-policies"}),
    "verl V0": (lambda f, s: writers.verl(f, s, "v0"), truth(STEPS), "verl", {"several-policies"}),
    "verl validation": (lambda f, s: writers.verl(f, s, "val"), truth(STEPS), "verl", {"evaluation-split", "several-policies"}),
    "prime-rl": (writers.prime_rl, PLUS_FORMAT, "prime-rl", {"several-policies"}),
    "prime-rl, both": (lambda f, s: writers.prime_rl(f, s, effective=True), PLUS_FORMAT, "prime-rl", {"repeated-rows"}),
    "verifiers": (writers.verifiers, PLUS_FORMAT, "verifiers", {"evaluation-split"}),
    "verifiers, traces": (writers.verifiers_traces, PLUS_FORMAT, "verifiers", {"several-policies"}),
    "verifiers, legacy": (writers.verifiers_legacy, PLUS_FORMAT, "verifiers", {"evaluation-split", "flat-component"}),
    "verifiers, wrong id": (lambda f, s: writers.verifiers_legacy(f, s, "id"), PLUS_FORMAT, "verifiers", {"wrong-id"}),
    "nemo-rl": (writers.nemo_rl, truth(STEPS), "nemo-rl", {"several-policies", "evaluation-rows", "rescaled-rewards"}),
    "open-instruct": (writers.open_instruct, truth(STEPS, lambda reward: 10 * reward), "open-instruct", {"no-text", "several-policies"}),
    "ms-swift": (writers.swift, PLUS_ONE, "swift", {"several-policies", "weights-assumed", "flat-component"}),
    "ms-swift, Megatron": (lambda f, s: writers.swift(f, s, "gen_step"), PLUS_ONE, "swift", {"several-policies"}),
    "ms-swift, rows": (writers.swift_rows, truth(STEPS), "swift", {"several-policies"}),
    "areal": (writers.areal, truth(STEPS), "areal", {"several-policies", "evaluation-rows"}),
    "roll": (writers.roll, truth(STEPS), "roll", {"several-policies"}),
    "skyrl": (writers.skyrl, truth(STEPS), "skyrl", {"evaluation-split", "several-policies"}),
    "lm-eval": (writers.lm_eval, truth(STEPS), "lm-eval", {"several-scorers", "evaluation-split"}),
    "inspect_ai": (writers.inspect_json, truth(STEPS), "inspect-ai", {"evaluation-split"}),
    "inspect_ai, zip": (writers.inspect_eval, truth(STEPS), "inspect-ai", {"evaluation-split"}),
    "open-r1": (writers.open_r1, truth(STEPS), "open-r1", set()),
    "flatspot": (writers.recorded, truth(STEPS), "flatspot", {"several-policies", "evaluation-rows"}),
}


def judged(folder, **options):
    """The summary of a folder's log, and how many prompts there are of each number of rewards and mean."""
    said = []
    run = flatspot.inspect(folder / "log", out=folder / "run", say=said.append, **options)
    rows = run.verdicts.select(["n_scored", "mean"]).to_pylist()
    return run.summary, Counter((row["n_scored"], round(row["mean"], 6)) for row in rows if row["n_scored"]), said


@pytest.mark.parametrize("case", EVERY)
def test_each_prompt_has_its_rewards_and_what_the_format_hides_is_said(tmp_path, case):
    write, expected, name, codes = EVERY[case]
    write(tmp_path / "log", STEPS)
    summary, found, said = judged(tmp_path)
    assert found == expected
    assert codes <= set(summary.caveat_codes) and summary.verdict is not None
    format = own_format("auto", find_files([tmp_path / "log"], {})).format
    assert format.name == name and f"as {format.title}" in said[0] and any(f"Read as {format.title}" in text for text in summary.caveats)
    forced, _, _ = judged(tmp_path, format=name)  # the same run folder: nothing is read again
    assert forced.counts == summary.counts


# what a reward gets of a row: a column of the log, and whether completions are messages
GIVEN = {
    "trl, chat": ("step", True), "trl, extra": ("task_id", False), "verl V1": ("gts", False), "prime-rl": ("answer", True),
    "verifiers": ("answer", True), "verifiers, legacy": ("answer", True), "open-instruct": ("ground_truth", False),
    "roll": ("difficulty", False), "skyrl": ("ground_truth", False), "lm-eval": ("target", False), "inspect_ai": ("target", False),
    "open-r1": ("solution", False), "flatspot": ("answer", False),
}  # fmt: skip


@pytest.mark.parametrize("case", GIVEN)
def test_rescoring_gives_the_reward_what_the_log_has(tmp_path, case):
    EVERY[case][0](tmp_path / "log", STEPS)
    flatspot.inspect(tmp_path / "log", out=tmp_path / "run")
    column, chat = GIVEN[case]

    def reward(prompts, completions, **columns):
        there = columns.get(column, [column == "step"] * len(prompts))
        return [float(isinstance(c, list) == chat and value is not None) for c, value in zip(completions, there, strict=True)]

    run = flatspot.rescore(tmp_path / "run", reward, out=tmp_path / "again")
    assert run.summary.reward.mean == 1.0 and run.summary.health.error_share == 0


def test_the_names_of_formats_are_those_of_the_table_and_each_hides_what_has_a_code():
    assert set(LOG_FORMATS) == {"auto", "generic", *(format.name for format in FORMATS)}
    assert {code for format in FORMATS for code in format.hides} <= set(CODES)
    assert len({format.title for format in FORMATS}) == len(FORMATS)


def test_every_log_is_of_one_format(tmp_path):
    """No file fits two formats: the order only saves time, but for those whose columns are others' and more."""
    for case, (write, _, name, _) in EVERY.items():
        write(tmp_path / case, STEPS)
        from flatspot.importers.sample import read_sample

        for path in find_files([tmp_path / case], {}):
            told = [format.name for format in FORMATS if format.told_by(read_sample(path)) is not None]
            assert set(told) <= {name}, (case, path, told)


def test_two_formats_in_one_folder_are_listed(tmp_path):
    writers.verl(tmp_path / "log/a", STEPS)
    writers.areal(tmp_path / "log/b", STEPS)
    with pytest.raises(ImportFormatError, match=r"(?s)logs of 2 formats.*verl: 3 files.*AReaL: 13 files"):
        judged(tmp_path)
    assert judged(tmp_path, format="verl")[1] == truth(STEPS)


def test_a_format_that_was_named_and_is_not_there_is_refused(tmp_path):
    writers.verl(tmp_path / "log", STEPS)
    with pytest.raises(ImportFormatError, match=r"no log in the trl format. It is written as .completions/"):
        judged(tmp_path, format="trl")


def test_three_thousand_files_are_read(tmp_path):
    (tmp_path / "log").mkdir()
    for n in range(3000):
        rows = [json.dumps(row) for row in writers.verl_rows({n % 7: [0.0, 1.0]}, n, "v1")]
        (tmp_path / f"log/{n}.jsonl").write_text("\n".join(rows) + "\n")
    summary, found, _ = judged(tmp_path)
    assert sum(n * prompts for (n, _), prompts in found.items()) == 6000 and summary.n_prompts == 7

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flatspot.core.request import resume_options
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.core.settings import Settings
from flatspot.report import blocks
from flatspot.report.blocks import key_facts, reward_range
from flatspot.report.run.next_steps import completions_command, diagnose_command, export_command, next_steps, train_command
from flatspot.runs.summary import RewardSummary, Summary
from flatspot.verdicts.judge import VERDICTS

FULL = {
    "verdict": "proceed",
    "counts": {"learnable": 3, "vanishing": 1},
    "fractions": {"learnable": {"mean": 0.75, "lo": 0.3, "hi": 0.95}},
    "forecast": {
        "16": {"informative": 0.6},
        "4": {"informative": 0.3, "lo": 0.2, "hi": 0.4},
        "x": {"informative": 1},
        "8": {"informative": None},
    },
    "group_size": 4,
}


def test_the_verdicts_are_those_that_are_given():
    assert tuple(verdict.name for verdict in blocks.VERDICTS) == VERDICTS


def test_missing_keys_are_missing_words_and_nothing_else():
    summary = Summary.from_json({})
    assert blocks.headline(summary) == ("No verdict", "plain")
    assert [share.count for share in blocks.shares(summary)] == [0] * 5
    assert blocks.forecasts(summary) == blocks.caveats(summary) == blocks.errors(summary) == blocks.health_facts(summary) == ()
    assert [fact.value for fact in blocks.cost_facts(summary)] == ["0", "0"]  # prompts and completions, nothing of tokens and error
    assert next_steps(summary) == ()
    assert blocks.reward_facts(summary)[0].value == "–"


@pytest.mark.parametrize("limits", [(0.0, 0.0), (1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_empty_or_endless_is_none(limits):
    assert blocks.range_limits(limits) is None
    assert blocks.reward_range(Summary(reward=RewardSummary(limits))) == ""


@pytest.mark.parametrize("bad", [{"reward": {"mean": "high"}}, {"counts": []}, {"n_prompts": 1.5}, {"caveats": 3}, {"verdict": {}}])
def test_a_value_of_another_kind_is_refused_as_it_is_read(bad):
    with pytest.raises(TypeError):
        Summary.from_json(bad)


def test_forecast_is_in_order_of_size_and_marks_the_planned_one():
    assert [(row.group_size, row.planned) for row in blocks.forecasts(Summary.from_json(FULL))] == [(4, True), (16, False)]


@pytest.mark.parametrize("verdict", ["proceed", "warm-up", "fix-reward", "fix-data"])
def test_every_verdict_has_a_headline_and_a_first_step_with_a_command(verdict):
    summary = FULL | {"verdict": verdict}
    assert blocks.headline(Summary.from_json(summary))[0] != verdict
    assert next_steps(Summary.from_json(summary))[0].command


def test_undecided_prompts_of_a_foreign_log_are_not_told_to_draw_more():
    undecided = {"verdict": "proceed", "counts": {"undecided": 2}}
    assert "--max-completions" in next_steps(Summary.from_json(undecided))[-1].text
    assert "--max-completions" not in next_steps(Summary.from_json(undecided | {"source": "inspect"}))[-1].text


def test_the_command_repeats_what_is_known_and_quotes_it():
    summary = {"settings": {"prompts": "my prompts.jsonl", "reward": "a.py:f", "model": "Engine (in memory)"}, "group_size": 4}
    assert (
        diagnose_command(Summary.from_json(summary)) == "flatspot diagnose 'my prompts.jsonl' --model MODEL --reward a.py:f --group-size 4"
    )


def test_the_command_samples_as_the_run_did():
    settings = {"prompts": "p.jsonl", "reward": "exact_match", "model": "answers.json"}
    sampling = {"temperature": 0.7, "top_p": 1.0, "top_k": 50, "max_new_tokens": 100000}
    summary = {"settings": settings, "sampling": sampling, "engine": {"engine": "scripted"}}
    sampled = "--temperature 0.7 --top-k 50 --max-new-tokens 100000"
    command = "flatspot diagnose p.jsonl --model"
    assert diagnose_command(Summary.from_json(summary)) == f"{command} answers.json --reward exact_match --engine scripted {sampled}"
    assert diagnose_command(Summary.from_json(summary), model="CHECKPOINT") == f"{command} CHECKPOINT --reward exact_match {sampled}"


def test_numbers_of_a_command_are_those_of_the_run():
    settings = {"prompts": "p", "reward": ["a", "b"], "model": "m", "reward_weights": [1.0, 1 / 3], "reward_timeout_s": 1234567.5}
    summary = {"settings": settings, "sampling": {"temperature": 0.70000001, "max_new_tokens": 1048576}}
    words = diagnose_command(Summary.from_json(summary)).split()
    given = {words[i]: words[i + 1] for i in range(3, len(words), 2)}
    assert given["--max-new-tokens"] == "1048576" and float(given["--temperature"]) == 0.70000001
    assert float(given["--reward-weight"]) == 1 / 3 and float(given["--reward-timeout"]) == 1234567.5
    assert resume_options(Settings(reward_range=(0, 1 / 3))) == ("--reward-range", "0", repr(1 / 3))


@pytest.mark.parametrize(
    ("resume", "each", "size", "ending"),
    [
        ([], 4.0, 8, "--max-completions 128"),
        (["--max-completions", "300", "--max-generations", "900"], 4.0, 8, "--max-completions 600"),
        (["--max-completions", "60", "--fixed-completions"], 60.0, 6, "--fixed-completions --max-completions 258"),
        (["--max-completions", "1500"], 900.0, 8, "--max-completions 2048"),
        (["--max-completions", "2048", "--max-generations", "9000"], 900.0, 8, "--max-completions 2048"),
        (["--max-completions", "2048", "--round-size", "4"], 900.0, 6, "run --max-completions 4098 --fixed-completions"),
        (["--max-completions", "2048", "--fixed-completions"], 2048.0, 8, "--fixed-completions --max-completions 8192"),
        (None, 4000.0, 8, "--max-completions 2048"),
    ],
)
def test_more_is_drawn_than_was_asked_for_and_no_more_than_can_be_weighed(resume, each, size, ending):
    settings = {"prompts": "p", "model": "m", "reward": ["r"], "out": "run"} | ({"resume": resume} if resume is not None else {})
    summary = {"verdict": "draw-more", "settings": settings, "generations": {"per_prompt": each}, "group_size": size}
    (step,) = next_steps(Summary.from_json(summary))
    assert step.command.endswith(ending) and step.command.count("--max-completions") == 1
    assert (
        "--max-generations" not in step.command and f"up to {ending.split()[ending.split().index('--max-completions') + 1]} " in step.text
    )
    words = dict(zip(step.command.split(), [*step.command.split()[1:], ""], strict=True))
    Settings(
        max_completions=int(words["--max-completions"]),
        fixed_completions="--fixed-completions" in words,
        round_size=4 if "--round-size" in words else None,
    )


@pytest.mark.parametrize(
    ("rewards", "flat", "given"),
    [
        (["r.py:accuracy", "regex[pattern=a:b]"], "accuracy", "r.py:accuracy"),
        (["r.py:accuracy", "regex[pattern=a]"], "regex", "'regex[pattern=a]'"),
        (["r.py:accuracy", "my.module.accuracy"], "accuracy", "REWARD"),
        (["r.py:accuracy", "r.py:form"], "accuracy_2", "REWARD"),
        ([], "accuracy", "REWARD"),
    ],
)
def test_a_flat_reward_is_scored_alone(rewards, flat, given):
    settings = {"out": "run", "reward": rewards, "reward_weights": [2.0, 1.0], "reward_timeout_s": 3.0}
    summary = {"verdict": "warm-up", "caveat_codes": ["flat-component"], "settings": settings, "health": {"flat_reward": flat}}
    assert next_steps(Summary.from_json(summary))[1].command == f"flatspot rescore run --reward {given} --reward-timeout 3"


def test_a_few_undecided_prompts_are_no_step_of_their_own():
    few = {"verdict": "proceed", "counts": {"undecided": 2, "learnable": 8}}
    assert (
        len(next_steps(Summary.from_json(few | {"counts": {"undecided": 3, "learnable": 7}})))
        == len(next_steps(Summary.from_json(few))) + 1
    )


@pytest.mark.parametrize("name", ["run", 'it\'s $HOME `x` "run"'])
def test_the_commands_do_what_they_say(name, make_report, tmp_path):
    if shutil.which("sh") is None:
        pytest.skip("no sh on PATH: the commands are written for one")
    data = make_report(12)
    (tmp_path / name / "rollouts").mkdir(parents=True)
    pq.write_table(data.prompts, tmp_path / name / "prompts.parquet")
    pq.write_table(data.verdicts, tmp_path / name / "verdicts.parquet")
    pq.write_table(data.completions, tmp_path / name / "rollouts" / "part-000-000000.parquet")
    summary = {"settings": {"out": name}}

    def shell(command: str) -> None:
        ready = command.replace("flatspot", f'"{Path(sys.executable).parent / "flatspot"}"', 1)
        subprocess.run(["sh", "-c", ready], cwd=tmp_path, check=True, capture_output=True, text=True)

    shell(export_command(Summary.from_json(summary), ("vanishing",), "out.jsonl"))
    import json

    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    wanted = [row["prompt_id"] for row in data.verdicts.to_pylist() if row["verdict"] == "vanishing"]
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    assert {type(row["prompt"]) for row in rows} == {str, list}
    shell(completions_command(Summary.from_json(summary)))
    assert len((tmp_path / "completions.jsonl").read_text("utf-8").splitlines()) == data.completions.num_rows


def test_the_schema_is_the_one_the_report_was_written_for():
    assert SCHEMA_VERSION == 2


def test_what_vanishes_leads_to_a_plan_and_a_warm_up():
    summary = {"verdict": "warm-up", "counts": {"vanishing": 3}, "settings": {"out": "a run", "model": "m", "reward": "exact_match"}}
    assert [step.command for step in next_steps(Summary.from_json(summary))] == [
        "flatspot plan 'a run' --labels 5%",
        "flatspot warmup 'a run' --labels 'a run/labels.jsonl' --out WARM",
    ]
    unnamed = summary | {"settings": {"out": "a", "logs": ["l.csv"]}, "engine": {"engine": "scripted"}}
    assert (
        next_steps(Summary.from_json(unnamed))[1].command
        == "flatspot warmup a --labels a/labels.jsonl --model MODEL --reward REWARD --out WARM"
    )
    undecided = summary | {"counts": {"undecided": 3}}
    assert "flatspot export" in next_steps(Summary.from_json(undecided))[0].command


def test_the_command_reads_the_prompts_as_the_run_did():
    settings = {"prompts": "p.csv", "model": "m", "reward": "a.py:f, b.py:g", "prompt_col": "q", "id_col": "key", "limit": 5}
    summary = {"verdict": "fix-data", "settings": settings, "counts": {"solved": 9}}
    read = "--prompt-col q --id-col key --limit 5"
    assert diagnose_command(Summary.from_json(summary)) == f"flatspot diagnose p.csv {read} --model m --reward a.py:f --reward b.py:g"
    assert next_steps(Summary.from_json(summary))[1].command == "flatspot diagnose unsolved.jsonl --model m --reward a.py:f --reward b.py:g"
    trained = train_command(Summary.from_json(summary), "warm/policy", "rl", ["--use_cpu"])
    assert trained.startswith("flatspot train p.csv --prompt-col q --limit 5 --model warm/policy") and trained.endswith(
        "--out rl --use_cpu"
    )


def test_the_share_of_mixed_groups_is_that_of_the_prompts_it_tells_to_train_on():
    counts = {"learnable": 6, "solved": 3, "vanishing": 1}
    summary = {"verdict": "proceed", "counts": counts, "group_size": 8, "forecast": {"8": {"informative": 0.4}}}
    told = summary | {"to_train": {"n_prompts": 6, "informative": 0.93}}
    assert (
        next_steps(Summary.from_json(told))[0].text
        == "Train on the 6 learnable prompts. Of groups of 8 from these prompts, 93% will be mixed."
    )
    assert (
        next_steps(Summary.from_json(summary))[0].text == "Train on the 6 learnable prompts."
    )  # a report of an earlier version does not say
    none_left = told | {"counts": {"solved": 8, "vanishing": 2}, "to_train": {"n_prompts": 0, "informative": None}}
    assert [step.command.split()[4] for step in next_steps(Summary.from_json(none_left))] == ["vanishing"]


def test_the_error_stands_with_the_most_it_may_be():
    known, unknown = ({"predicted_error": 0.03, "predicted_error_limit": limit, "generations": {"total": 12}} for limit in (0.091, None))
    notes = [
        next(fact.note for fact in blocks.key_facts(Summary.from_json(s)) if fact.label == "of verdicts may be wrong")
        for s in (known, unknown)
    ]
    assert notes == ["worst case 9.1% (97.5% limit)", "12 completions drawn"]
    assert [fact.note for fact in blocks.cost_facts(Summary.from_json(known)) if fact.label == "predicted error"] == [
        "of the verdicts, worst case 9.1% (97.5% limit)"
    ]


def test_where_every_reward_is_the_lowest_one_reads_completions_first():
    summary = {"verdict": "warm-up", "counts": {"vanishing": 40}, "settings": {"out": "a"}, "health": {"distinct_share": 0.9}}
    assert (
        next_steps(Summary.from_json(summary | {"caveat_codes": ["all-low"]}))[0].command
        == "flatspot export a --completions --to completions.jsonl"
    )
    assert next_steps(Summary.from_json(summary | {"caveat_codes": []}))[0].command == "flatspot plan a --labels 5%"


def test_where_one_of_several_rewards_decided_the_first_number_is_its_own(make_report):
    values = make_report(3).summary.to_json()
    parts = {"accuracy": {"mean": 0.0, "flat_share": 0.65}, "format": {"mean": 0.5, "flat_share": 0.0}}
    values |= {
        "components": parts,
        "rule": "'accuracy' vanishes where the total varies: 65% > 20%",
        "fractions": {"vanishing": {"mean": 0.0}},
    }
    values["health"] |= {"flat_reward": "accuracy"}
    fact = key_facts(Summary.from_json(values))[0]
    assert (fact.value, fact.label, fact.note) == ("65%", "of prompts vanish by accuracy, not by the total", "by the total: 0%")
    other = Summary.from_json(values | {"rule": "vanishing prompts: 30% > 20%"})
    assert key_facts(other)[0].label == "of prompts vanish"


@pytest.mark.parametrize(
    ("limits", "text"),
    [((0, 1), "in [0, 1]"), ((0, 1.5), "in [0, 1.5]"), ((-57.76, 52.24), "in [-57.8, 52.2]"), ((-1005, -5), "in [-1005, -5]")],
)
def test_a_range_is_written_as_short_as_the_caveat_writes_it(make_report, limits, text):
    summary = make_report(3).summary
    assert reward_range(dataclasses.replace(summary, reward=dataclasses.replace(summary.reward, range=limits))) == text

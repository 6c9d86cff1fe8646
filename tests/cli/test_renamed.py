"""Options by their old names: on the command line and in the environment, and which of two wins."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flatspot.cli.main import cli


@pytest.fixture
def completions(tmp_path, monkeypatch):
    """completions(*options, **environment) → (completions per prompt, what standard error says) of a run with a fixed number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "2+2=", "reference": "4"}\n')
    (tmp_path / "answers.json").write_text('{"2+2=": {"4": 0.5, "5": 0.5}}')
    words = ["diagnose", "prompts.jsonl", "--engine", "scripted", "--model", "answers.json", "--reward", "exact_match", "--json", "--out"]
    runs = iter(range(99))

    def call(*options, **environment):
        done = CliRunner().invoke(cli, [*words, f"run{next(runs)}", *options], env=environment, catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)["generations"]["per_prompt"], done.stderr

    return call


NEW, OLD = "FLATSPOT_DIAGNOSE_MAX_COMPLETIONS", "FLATSPOT_DIAGNOSE_MAX_SAMPLES"


def test_an_old_name_counts_as_the_new_one_and_says_so(completions):
    drawn, said = completions("--max-samples", "6", "--fixed-samples")
    assert drawn == 6
    assert "--max-samples is called --max-completions now" in said and "--fixed-samples is called --fixed-completions now" in said
    drawn, said = completions("--max-completions", "7", "--fixed-completions")
    assert drawn == 7 and "is called" not in said
    assert completions("--fixed-completions", **{OLD: "5"})[0] == 5
    assert completions(**{OLD: "3", "FLATSPOT_DIAGNOSE_FIXED_SAMPLES": "1"})[0] == 3


def test_the_old_name_of_the_worst_case_option_counts_too(completions):
    assert "--sure is called --worst-case now" in completions("--fixed-completions", "--max-completions", "4", "--sure")[1]
    assert json.loads(Path("run0/report.json").read_text())["settings"]["worst_case"] is True
    assert "--sure" not in CliRunner().invoke(cli, ["inspect", "--help"]).stdout


def test_the_command_line_wins_and_then_the_new_name(completions):
    fixed = "--fixed-completions"
    assert completions(fixed, "--max-samples", "5", **{NEW: "9"})[0] == 5
    assert completions(fixed, "--max-completions", "5", **{OLD: "9"})[0] == 5
    assert completions(fixed, **{NEW: "5", OLD: "9"})[0] == 5


@pytest.mark.parametrize("words", [("--max-completions", "16", "--max-samples", "8"), ("--sure", "--worst-case")])
def test_both_names_on_one_command_line_are_refused(words):
    done = CliRunner().invoke(cli, ["diagnose", "p", "--model", "m", "--reward", "r", *words])
    old, new = ("--sure", "--worst-case") if "--sure" in words else ("--max-samples", "--max-completions")
    assert done.exit_code == 2 and f"{old} is the old name of {new}: give only {new}" in done.stderr


def test_old_names_are_not_shown_and_are_checked_by_their_own(completions):
    for verb, old in (
        ("diagnose", "--max-samples"),
        ("diagnose", "--gradient-samples"),
        ("demo", "--samples"),
        ("warmup", "--probe-samples"),
    ):
        assert old not in CliRunner().invoke(cli, [verb, "--help"]).stdout
    done = CliRunner().invoke(cli, ["diagnose", "p", "--model", "m", "--reward", "r", "--max-samples", "0"])
    assert done.exit_code == 2 and "'--max-samples': 0 is not in the range" in done.stderr
    with pytest.raises(Exception, match="--max-completions is for the demo without --train"):
        CliRunner().invoke(cli, ["demo", "--train", "--samples", "4"], catch_exceptions=False)

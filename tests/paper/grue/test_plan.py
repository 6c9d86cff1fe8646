"""Every setting of the paper's scale, resolved without data or models; what stands in at small scale, named; hours."""

import json

import pytest
from click.testing import CliRunner
from tests.paper.grue.conftest import write_rows

from flatspot_paper.cli.grue import grue_command
from flatspot_paper.grue.plan import SCALES, plan_tasks

# policy, prompt tokens, side, top-k, new tokens at most and at least: an end token counts as a token, T5's start token does not
PAPER = {
    "narrativeqa": ("t5-base", 512, "right", 50, 19, 0),
    "totto": ("t5-base", 512, "right", 0, 50, 9),
    "commongen": ("t5-base", 20, "right", 0, 20, 4),
    "iwslt2017": ("t5-base", 128, "right", 10, 128, 0),
    "cnn_dm": ("t5-base", 512, "right", 50, 100, 49),
    "dailydialog": ("gpt2", 128, "right", 20, 20, 2),
    "imdb": ("lvwerra/gpt2-imdb", 64, "left", 50, 48, 48),
}


def dry_run(*words):
    result = CliRunner().invoke(grue_command, ["--dry-run", "--json", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_the_papers_settings():
    plans = dry_run("--scale", "paper", "--tokens-per-second", "1000")
    keys = ("model", "prompt_tokens", "cut", "top_k", "max_new_tokens", "min_new_tokens")
    assert {plan["task"]: tuple(plan[key] for key in keys) for plan in plans} == PAPER
    assert {(plan["inputs"], plan["inputs_seed"], plan["completions"], plan["temperature"], plan["chat"]) for plan in plans} == {
        (5000, 7, 10, 1.0, False)
    }
    assert [plan["departures"] for plan in plans] == [[]] * 7
    assert [plan["hours"] for plan in plans] == [round(50_000 * PAPER[plan["task"]][4] / 1000 / 3600, 2) for plan in plans]


def test_small_scale_names_everything_that_stands_in(tmp_path):
    write_rows(tmp_path / "dart/dev.jsonl.gz", [{"triples": [[str(i), "is", "x"]], "references": ["r"]} for i in range(40)])
    [totto, imdb] = dry_run("--tasks", "totto,imdb", "--data", str(tmp_path))
    assert totto["data"] == "dart"
    assert any(line.startswith("dart stands in for ToTTo: DART's") for line in totto["departures"])
    assert "grue:totto[data=dart,size=48,chat=true,tokenizer=smollm2-135m-instruct]" in totto["command"]
    assert imdb["reward"] == "sentiment"
    assert any("stands in for lvwerra/distilbert-imdb" in line for line in imdb["departures"])
    assert "completions may end before 48 tokens" in imdb["departures"]


def test_the_engine_is_part_of_a_small_plan_and_the_papers_is_transformers():
    for scale, engine in (("small", "hf"), ("paper", "generate")):
        [plan] = dry_run("--scale", scale, "--tasks", "dailydialog", "--engine", "hf")
        assert plan["engine"] == engine
        assert plan["min_new_tokens"] == (2 if engine == "generate" else 0)


def test_own_data_needs_no_stand_in(data):
    write_rows(data / "dart/dev.jsonl.gz", [{"triples": [[str(i), "is", "x"]], "references": ["r"]} for i in range(40)])
    [plan] = plan_tasks(SCALES["small"], ["totto"], folder=data)
    assert plan.asked.data is None


def test_meteor_without_synonyms_is_another_metric_and_named():
    [plan] = dry_run("--scale", "paper", "--tasks", "commongen", "--wordnet", "none")
    assert plan["reward"] == "meteor[wordnet=none]"
    assert plan["departures"] == ["METEOR without WordNet's synonyms"]


def test_the_text_has_settings_commands_and_hours():
    words = ["--dry-run", "--scale", "paper", "--tasks", "imdb,cnn_dm", "--tokens-per-second", "5000"]
    text = CliRunner().invoke(grue_command, words, catch_exceptions=False).stdout
    assert "top-k 50, temperature 1, at most 48 tokens, at least 48" in text
    assert "64 tokens, cut on the left" in text
    assert "Together 0.4 hours at most." in text  # 50,000 × 148 tokens at 5,000 a second


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--tasks", "wmt"], "there is no task 'wmt'"), (["--tokens-per-second", "5"], "are for --dry-run: add it")],
)
def test_what_cannot_be_is_refused(words, message):
    result = CliRunner().invoke(grue_command, words)
    assert result.exit_code != 0
    assert message in str(result.exception)

"""How a run names its rewards: read back and given again, each one whole."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import flatspot
from flatspot.cli.main import cli
from flatspot.core.errors import SettingsError
from flatspot.core.records import Completion, Prompt
from flatspot.core.reward_names import rewards_named
from flatspot.engines.scripted import ScriptedEngine
from flatspot.flow.judge import repeated_prompts
from flatspot.report.run.next_steps import diagnose_command, rescore_command, train_command, warmup_command
from flatspot.rewards import load_reward
from flatspot.rollouts.store import write_request
from flatspot.training.named import named_by_run

COMMA = r'regex[pattern="yes, (\d)"]'
ROWS = [{"prompt": "a", "reference": "1"}]
ANSWERS = {"a": {"yes, 1": 0.5, "no": 0.5}}


def options(command: str, name: str) -> list[str]:
    words = shlex.split(command)
    return [words[i + 1] for i, word in enumerate(words) if word == name]


def test_a_reward_with_a_comma_comes_back_whole(tmp_path):
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(ANSWERS))
    found = flatspot.diagnose(ROWS, str(answers), [COMMA, "exact_match"], engine="scripted", max_completions=4, out=tmp_path / "run")
    assert found.summary["settings"]["reward"] == [COMMA, "exact_match"]
    for command in (
        diagnose_command(found.summary),
        rescore_command(found.summary),
        train_command(found.summary, "m", "out"),
    ):
        assert options(command, "--reward") == [COMMA, "exact_match"]
    assert named_by_run(found, None, None) == (str(answers), [COMMA, "exact_match"], None)


def test_names_that_version_0_1_0_joined_are_told_apart():
    assert rewards_named({"reward": f"{COMMA}, a.py:f, m:g"}) == [COMMA, "a.py:f", "m:g"]


def test_weights_and_the_time_limit_are_given_again(tmp_path):
    settings = {"reward_weights": (1.0, 0.25), "reward_timeout_s": 60.0, "max_completions": 4}
    found = flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), [COMMA, "exact_match"], out=tmp_path / "run", **settings)
    for command in (diagnose_command(found.summary), rescore_command(found.summary)):
        assert options(command, "--reward-weight") == ["1", "0.25"] and options(command, "--reward-timeout") == ["60"]
    assert "--reward_weights 1 0.25" in train_command(found.summary, "m", "out")
    assert options(warmup_command(found.summary), "--reward-timeout") == ["60"]
    assert named_by_run(found, "m", None) == ("m", [COMMA, "exact_match"], (1.0, 0.25))
    assert named_by_run(found, "m", ["x", "y"], [1, 0.5]) == ("m", ["x", "y"], [1, 0.5])
    with pytest.raises(SettingsError, match=r"have the weights 1 0\.25: give --reward-weight"):
        named_by_run(found, "m", ["x", "y"])
    again = flatspot.rescore(found.folder, COMMA, out=tmp_path / "again")  # which has neither
    assert "reward_weights" not in again.summary["settings"] and "reward_timeout_s" not in again.summary["settings"]


def renamed(run, model):
    """The run as if it had been asked for with another model."""
    write_request(run.folder, run.record, replace(run.request, model=model))
    return flatspot.open(run.folder)


def test_a_model_is_named_by_a_run_where_an_engine_would_find_it(tmp_path, monkeypatch):
    found = flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), "exact_match", out=tmp_path / "run", max_completions=4)
    (tmp_path / "policy").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, is_there in {"~/policy": True, "~/gone": False, "gone.gguf": False, "owner/name": True, "some/where/else": False}.items():
        run = renamed(found, name)
        if is_there:
            assert named_by_run(run, None, ["x"])[0] == name
        else:
            with pytest.raises(SettingsError, match="does not name a model that can be loaded again"):
                named_by_run(run, None, ["x"])


def test_a_function_of_this_process_is_asked_for(tmp_path):
    found = flatspot.diagnose(
        ROWS, ScriptedEngine(ANSWERS), lambda completions, **_: [1.0] * len(completions), out=tmp_path, max_completions=4
    )
    assert options(rescore_command(found.summary), "--reward") == ["REWARD"]
    with pytest.raises(SettingsError, match="does not name a reward that can be loaded again"):
        named_by_run(found, "m", None)


def test_prompts_with_the_same_text_are_counted():
    """The caveat of a run folder with such prompts; files give them ids that end in -2, -3, …"""

    def caveat(texts):
        return repeated_prompts(pa.table({"prompt": pa.array(texts, pa.string())}))

    assert caveat(["a", "b", "a", "a", "c"])[0].startswith("2 of the 5 prompts repeat the text of an earlier one; each counts separately")
    assert caveat(["a", "b", "a"])[0].startswith("1 of the 3 prompts repeats")
    assert caveat(["a", "b"]) == caveat(["", "", ""]) == caveat([]) == []


def test_a_reward_with_a_comma_goes_through_the_commands(tmp_path, monkeypatch):
    """diagnose by an environment variable with spaces too, what plan says to run next, and what warmup reads of the run."""
    bare = r"regex[pattern=yes, (\d)]"
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": name, "reference": "1"} for name in ("a", *"bcdefgh")]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("answers.json").write_text(json.dumps({row["prompt"]: {"no": 1.0} for row in rows} | ANSWERS))
    words = ["diagnose", "prompts.jsonl", "--engine", "scripted", "--model", "answers.json", "--out", "run"]
    done = CliRunner().invoke(cli, words, env={"FLATSPOT_DIAGNOSE_REWARDS": f"{bare} exact_match"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(Path("run/report.json").read_text())["settings"]["reward"] == [bare, "exact_match"]
    planned = CliRunner().invoke(cli, ["plan", "run"], catch_exceptions=False)
    assert planned.exit_code == 0 and "flatspot warmup run" in planned.output
    model, reward, weights = named_by_run(flatspot.open("run"), None, None)
    assert (model, weights) == ("answers.json", None)
    with load_reward(reward) as loaded:
        assert loaded.names == ("regex", "exact_match")
        assert [score.reward for score in loaded.score([Prompt("a", "a", {"reference": "1"})], [Completion("yes, 1", 2, False)])] == [1.0]

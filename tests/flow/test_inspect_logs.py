"""`flatspot inspect` of small logs, from the command to the verdict."""

import json

import pytest
from click.testing import CliRunner

import flatspot
from flatspot.cli.main import cli


def inspected(tmp_path, rows, *options):
    """The object of --json, and the exit code."""
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path / "log.jsonl"), "--out", str(tmp_path / "run"), "--json", *options])
    return (json.loads(done.stdout) if done.exit_code in (0, 3) else str(done.exception)), done.exit_code


def test_ids_of_two_tasks_are_sixty_prompts_not_thirty(tmp_path):
    rows = [
        {"example_id": i, "prompt": f"{task} {i}", "reward": r}
        for task, r in (("math", 0.0), ("word", 1.0))
        for i in range(30)
        for _ in range(16)
    ]
    found, _ = inspected(tmp_path, rows, "--reward-range", "0", "1")
    assert found["counts"] == {"learnable": 0, "vanishing": 30, "solved": 30, "undecided": 0, "unscored": 0}
    assert found["settings"]["grouped_by"] == ["prompt"]
    assert "grouped by `prompt`; `example_id` has several prompts" in found["caveats"][0]


def test_calls_that_failed_are_no_reason_to_warm_up(tmp_path):
    rows = [{"prompt": f"p{i % 50}", "completion": [], "reward": 0.0} for i in range(150)]
    found, _ = inspected(tmp_path, rows, "--reward-range", "0", "1")
    assert (found["verdict"], found["rule"].split(":")[0]) == ("fix-reward", "rows without a reward")
    assert found["counts"]["unscored"] == 50


def test_several_rewards_with_weights(tmp_path):
    rows = [{"prompt": f"p{i}", "accuracy": 0, "format": k % 2} for i in range(4) for k in range(8)]
    found, _ = inspected(
        tmp_path, rows, "--reward-col", "accuracy", "--reward-col", "format", "--reward-weight", "1", "--reward-weight", "0.2"
    )
    assert found["reward"]["mean"] == 0.1
    accuracy = found["components"]["accuracy"]
    assert (accuracy["mean"], accuracy["std_mean"], accuracy["weight"]) == (0.0, 0.0, 1.0)
    assert accuracy["flat_share"] > 0.8
    assert found["settings"]["columns"]["reward"] == ["accuracy", "format"]


def test_lists_that_may_be_either_are_refused_and_the_option_decides(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": "c", "rewards": [0, 1, 0, 1]} for i in range(3)]
    refused, code = inspected(tmp_path, rows)
    assert code != 0
    assert "--reward-list tokens" in refused
    assert inspected(tmp_path, rows, "--reward-list", "tokens")[0]["n_prompts"] == 3


@pytest.fixture
def judged(tmp_path):
    """A run that was drawn and judged with settings of its own."""
    answers = {f"q{i}": {"1": (i / 12) ** 3, "0": 1 - (i / 12) ** 3} for i in range(1, 12)}
    rows = [{"prompt": name, "reference": "1"} for name in answers]
    own = {"target_error": 0.2, "group_size": 32, "worst_case": True}
    return flatspot.diagnose(rows, flatspot.ScriptedEngine(answers), "exact_match", out=tmp_path / "run", max_completions=8, **own)


def as_judged(run):
    summary = run.summary
    return summary.settings.target_error, summary.group_size, summary.settings.worst_case


def test_a_run_is_judged_again_as_it_was_unless_told_otherwise(judged):
    lines = []
    again = flatspot.inspect(judged.folder, say=lines.append)
    assert as_judged(again) == as_judged(judged) == (0.2, 32, True) and again.verdicts.equals(judged.verdicts)
    assert lines == ["judging with the run's own --worst-case, --group-size 32, --target-error 0.2; give others to change that"]
    lines.clear()
    assert as_judged(flatspot.inspect(judged.folder, say=lines.append, group_size=8, worst_case=False)) == (0.2, 8, False)
    assert lines == ["judging with the run's own --target-error 0.2; give others to change that"]
    (judged.folder / "report.json").write_text("{")
    assert as_judged(flatspot.inspect(judged.folder)) == (0.03, 8, True)


def test_the_command_keeps_what_is_left_out(judged):
    def printed(*options):
        done = CliRunner().invoke(cli, ["inspect", str(judged.folder), "--json", *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        summary = json.loads(done.stdout)
        return summary["settings"]["target_error"], summary["group_size"]

    assert printed() == (0.2, 32)
    assert printed("--group-size", "8") == (0.2, 8)
    assert printed("--target-error", "0.03", "--group-size", "32") == (0.03, 32)
    assert printed() == (0.03, 32)

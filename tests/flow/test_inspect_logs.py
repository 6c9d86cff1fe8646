"""`flatspot inspect` of small logs, from the command to the verdict."""

import json

from click.testing import CliRunner

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

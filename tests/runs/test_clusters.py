"""Which task a prompt is of, and what is said where there are several."""

import json

import numpy as np
import pytest

import flatspot
from flatspot.core.errors import SettingsError
from flatspot.runs.clusters import clusters_of

pa = pytest.importorskip("pyarrow")


def prompts(*columns):
    return pa.table({"columns": [json.dumps(c) if isinstance(c, dict) else c for c in columns]})


def test_five_named_tasks_are_used_and_fewer_are_only_seen():
    five = clusters_of(prompts(*({"task": f"t{i % 5}"} for i in range(20))), None)
    assert (five.count, five.used, five.of[:6].tolist()) == (5, True, [0, 1, 2, 3, 4, 0])
    four = clusters_of(prompts(*({"task": f"t{i % 4}"} for i in range(20))), None)
    assert (four.count, four.used) == (4, False)
    assert clusters_of(prompts(*({"task": f"t{i % 4}"} for i in range(20))), "task").used


def test_none_sees_tasks_and_does_not_use_them():
    assert not clusters_of(prompts(*({"task": f"t{i % 9}"} for i in range(20))), "none").used


@pytest.mark.parametrize(
    "table", [prompts({}, {"x": 1}), prompts({"task": "a"}, {"task": "a"}), prompts({"task": "a"}, {"task": "b"}), prompts(None, "")]
)
def test_one_task_none_or_one_each_is_as_no_task(table):
    assert clusters_of(table, None) is None


def test_a_prompt_without_a_value_is_a_task_of_its_own_and_values_need_not_be_text():
    found = clusters_of(prompts({"level": 1}, {"level": 1}, {"level": [2, 3]}, {}, {"level": ""}, {"level": None}), "level")
    assert found.of.tolist() == [0, 0, 1, 2, 3, 4]
    assert found.subset(np.array([False, True, True, False, True, False])).of.tolist() == [0, 1, 2]


def test_a_column_may_have_any_name():
    """Columns are stored as they are; a table of another program may escape what is not ASCII."""
    rows = [{"größe": f"t{i % 3}"} for i in range(6)]
    for table in (prompts(*rows), prompts(*(json.dumps(row, ensure_ascii=False) for row in rows))):
        assert clusters_of(table, "größe").of.tolist() == [0, 1, 2, 0, 1, 2]


def test_tasks_of_which_no_prompt_was_scored_are_not_counted(tmp_path):
    rows = [json.loads(line) for line in logged(tmp_path, 6).read_text().splitlines()]
    for row in rows:
        row["reward"] = row["reward"] if row["task"] in ("task 0", "task 1") else None
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(tmp_path / "log.jsonl", out=tmp_path / "run", reward_range=(0, 1))
    assert any("The prompts are of 2 tasks" in text for text in run.summary.caveats) and "few-tasks" in run.summary.caveat_codes
    for row in rows:
        row["reward"] = row["reward"] if row["task"] == "task 0" else None
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(tmp_path / "log.jsonl", out=tmp_path / "one", reward_range=(0, 1), cluster_col="none")
    assert not {"few-tasks", "same-tasks"} & set(run.summary.caveat_codes)


def test_a_column_that_no_prompt_has_is_a_mistake_that_names_those_there_are():
    with pytest.raises(SettingsError, match=r"--cluster-col kind: no prompt has a value .* columns are level, topic"):
        clusters_of(prompts({"level": 1, "topic": "x"}, {"level": 2}), "kind")


def logged(folder, n_tasks):
    """A log of 20 prompts a task, of which every second is out of reach."""
    rng, path = np.random.default_rng(0), folder / "log.jsonl"
    rows = [
        {"prompt": f"{task}-{i}", "task": f"task {task}", "completion": f"{k}", "reward": float(rng.random() < (0.5 if task % 2 else 0.0))}
        for task in range(n_tasks)
        for i in range(20)
        for k in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def widths(run):
    return run.summary.fractions.vanishing.hi - run.summary.fractions.vanishing.lo, run.summary.forecast["8"].hi - run.summary.forecast[
        "8"
    ].lo


def test_a_log_of_eight_tasks_has_limits_for_others_and_says_so(tmp_path):
    log = logged(tmp_path, 8)
    others = flatspot.inspect(log, out=tmp_path / "others", reward_range=(0, 1))
    same = flatspot.inspect(log, out=tmp_path / "same", reward_range=(0, 1), cluster_col="none")
    assert others.summary.population == "prompts of a new task"
    assert same.summary.population == "prompts of the same task"
    assert "same-tasks" in same.summary.caveat_codes and "same-tasks" not in others.summary.caveat_codes
    for wide, narrow in zip(widths(others), widths(same), strict=True):
        assert wide > narrow + 0.1
    assert same.summary.settings.cluster_col == "none"
    again = flatspot.open(tmp_path / "same")
    np.testing.assert_allclose(again.model.forecast((8,))[0, 1], same.summary.forecast["8"].lo)
    np.testing.assert_allclose(flatspot.open(tmp_path / "others").model.shares[0, 1], others.summary.fractions.vanishing.lo)


def test_three_tasks_named_say_nothing_of_others_and_not_named_are_a_caveat(tmp_path):
    log = logged(tmp_path, 3)
    plain, named = (flatspot.inspect(log, out=tmp_path / str(c), reward_range=(0, 1), cluster_col=c) for c in (None, "task"))
    assert "same-tasks" in plain.summary.caveat_codes and widths(plain)[0] < 0.6
    assert "few-tasks" in named.summary.caveat_codes and widths(named) == (1.0, 1.0)


def test_a_set_of_one_task_is_as_it_was(tmp_path):
    run = flatspot.inspect(logged(tmp_path, 1), out=tmp_path / "run", reward_range=(0, 1))
    assert run.summary.population == "prompts like these"
    assert not {"same-tasks", "few-tasks"} & set(run.summary.caveat_codes)

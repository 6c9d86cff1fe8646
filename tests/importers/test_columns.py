"""Which column is taken for what, and what is kept of the others, against the rows written out by hand."""

import json

import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import ImportFormatError, SettingsError

from .logs import groups, imported


def prompts(run):
    return pq.read_table(run / "prompts.parquet").to_pylist()


def rollouts(run):
    return pq.read_table(run / "rollouts").to_pylist()


def said(found, part):
    return any(part in caveat for caveat in found.caveats)


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
@pytest.mark.parametrize("same", ["", "Answer."])
def test_an_input_that_is_the_same_everywhere_is_no_prompt(tmp_path, same, name):
    rows = [{"instruction": f"q{i}", "input": same, "reward": float(i % 2)} for i in range(40) for _ in range(2)]
    found, table, _ = imported(tmp_path, rows, name=name)
    assert groups(table) == {(2, 0.0): 20, (2, 1.0): 20}
    assert said(found, f"`input` is {'the same' if same else 'empty'} on all rows, so `instruction` is taken for the prompt")


def test_an_instruction_and_its_input_are_one_prompt(tmp_path):
    rows = [{"instruction": a, "input": b, "reward": 1} for a in ("Sort.", "Sum.") for b in ("1 2", "3", "")]
    found, table, run = imported(tmp_path, rows)
    assert [row["prompt"] for row in prompts(run)] == ["Sort.\n\n1 2", "Sort.\n\n3", "Sort.", "Sum.\n\n1 2", "Sum.\n\n3", "Sum."]
    assert len(table.prompt_id) == 6
    assert said(found, "The prompt is `instruction` and `input` together (--prompt-col takes one alone).")
    assert len(imported(tmp_path / "named", rows, prompt="instruction")[1].prompt_id) == 2


@pytest.mark.parametrize(("first", "taken"), [("", "question"), (None, "question"), ("You are helpful.", "question")])
def test_a_prompt_that_is_empty_or_the_same_everywhere_gives_way(tmp_path, first, taken):
    found, table, _ = imported(tmp_path, [{"prompt": first, "question": f"q{i % 3}", "reward": 1} for i in range(6)])
    assert table.n_rows.tolist() == [2, 2, 2]
    assert found.grouped_by == (taken,)
    assert imported(tmp_path / "named", [{"prompt": "x", "question": "y", "reward": 1}], prompt="prompt")[0].grouped_by == ("prompt",)


def test_columns_that_were_passed_over_are_named(tmp_path):
    rows = [{"prompt": f"p{i}", "question": f"q{i}", "reward": 0.5, "score": 1} for i in range(2)]
    found, table, _ = imported(tmp_path, rows)
    assert said(found, "`prompt` is taken for the prompt, not `question` (--prompt-col).")
    assert said(found, "`reward` is taken for the reward, not `score` (--reward-col).")
    assert table.evidence.mean.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("text", ["accuracy", "", None])
def test_a_reward_column_without_a_number_gives_way(tmp_path, text):
    found, table, _ = imported(tmp_path, [{"prompt": "p", "reward": text, "score": 1}])
    assert table.evidence.mean.tolist() == [1.0]
    assert said(found, "`score` is taken for the reward, not `reward`, which holds no number (--reward-col).")


def test_columns_that_differ_in_case_alone_are_refused(tmp_path):
    with pytest.raises(ImportFormatError, match="differ in case alone"):
        imported(tmp_path, [{"prompt": "p", "Reward": 1}, {"prompt": "p", "reward": 0}])


def test_several_rewards_are_added_up_and_kept(tmp_path):
    values = [(1, 0.5), (0, 0.5), (None, 0.5), (None, None), ("x", 1), (True, "0.25")]
    rows = [{"prompt": "p", "a": a, "b": b} for a, b in values]
    found, table, run = imported(tmp_path, rows, reward=["a", "b"], weights=(2.0, 1.0))
    assert [row["reward"] for row in rollouts(run)] == [2.5, 0.5, 0.5, None, None, 2.25]
    assert [row["error"] for row in rollouts(run)][3:5] == ["the log has no reward here", "a: not a number: x"]
    assert [dict(row["rewards"]) for row in rollouts(run)][2:] == [
        {"a": None, "b": 0.5},
        {"a": None, "b": None},
        {"a": None, "b": 1},
        {"a": 1, "b": 0.25},
    ]
    assert said(found, "The reward is 2 × a + b.")
    assert table.components["b"].mean.tolist() == [pytest.approx((0.5 * 3 + 1 + 0.25) / 5)]
    assert found.columns["reward"] == ("a", "b")


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet", "log.csv"])
def test_several_rewards_in_lists(tmp_path, name):
    rows = [{"prompt": f"p{i}", "a": [0, 1], "b": [i, i]} for i in range(3)]
    rows = [{key: str(value) for key, value in row.items()} for row in rows] if name == "log.csv" else rows
    found, table, _ = imported(tmp_path, rows, name=name, reward=["a", "b"])
    assert table.evidence.mean.tolist() == [0.5, 1.5, 2.5]
    assert said(found, "The reward is a + b, each with weight 1 (--reward-weight).")


def test_one_reward_can_have_a_weight_and_weights_are_counted(tmp_path):
    _, table, _ = imported(tmp_path, [{"prompt": "p", "reward": 2}], weights=(0.5,))
    assert table.evidence.mean.tolist() == [1.0]
    with pytest.raises(SettingsError, match="2 reward columns need 2 weights, got 1"):
        imported(tmp_path / "b", [{"prompt": "p", "a": 1, "b": 2}], reward=["a", "b"], weights=(1.0,))
    with pytest.raises(SettingsError, match="--reward-weight must be a finite number"):
        imported(tmp_path / "c", [{"prompt": "p", "reward": 2}], weights=(float("nan"),))


@pytest.mark.parametrize("nothing", [[], "", [{"role": "assistant", "content": ""}]])
@pytest.mark.parametrize("reward", [0, None])
def test_calls_that_all_failed_are_unscored(tmp_path, nothing, reward):
    rows = [{"prompt": f"p{i % 50}", "completion": nothing, "reward": reward} for i in range(150)]
    found, table, run = imported(tmp_path, rows)
    assert table.evidence.n.sum() == 0
    assert table.n_rows.sum() == 150
    assert table.errors == [("no completion: completion is empty on all rows", 150)]
    assert {row["completion"] for row in rollouts(run)} == {None}
    assert said(found, "the calls that should have drawn the completions failed")


def test_completions_that_were_not_logged_are_none(tmp_path):
    rows = [{"prompt": f"p{i % 5}", "completion": [], "reward": i % 2} for i in range(20)]
    found, table, run = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [4] * 5
    assert {row["completion"] for row in rollouts(run)} == {None}
    assert said(found, "the log has no completions, and only its rewards are judged")


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_a_call_that_failed_among_others_is_an_error_not_a_zero(tmp_path, name):
    chat = [{"role": "assistant", "content": "x"}]
    rows = [{"prompt": "p", "completion": c, "reward": r} for c, r in ((chat, 1.0), ([], 0.0), (chat, 0.0), ([], 0.5))]
    found, _, run = imported(tmp_path, rows, name=name)
    assert [row["reward"] for row in rollouts(run)] == [1.0, None, 0.0, 0.5]
    assert rollouts(run)[1]["error"] == "no completion: completion is an empty list"
    assert [row["completion"] is None for row in rollouts(run)] == [False, True, False, True]
    assert said(found, "`completion` is an empty list on 1 row")


def test_an_empty_text_among_others_is_a_completion(tmp_path):
    _, table, run = imported(tmp_path, [{"prompt": "p", "completion": c, "reward": 0} for c in ("x", "", "y")])
    assert table.evidence.n.tolist() == [3]
    assert [row["completion"] for row in rollouts(run)] == ["x", "", "y"]


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet", "log.csv"])
def test_further_columns_of_a_prompt_are_kept(tmp_path, name):
    rows = [
        {"prompt": f"p{i}", "completion": f"c{k}", "reward": k, "answer": f"{i}", "level": i, "info": {"x": [i]}, "pred": k, "id": i}
        for i in range(3)
        for k in range(2)
    ]
    rows = [{key: value for key, value in row.items() if key != "info"} for row in rows] if name == "log.csv" else rows
    found, _, run = imported(tmp_path, rows, name=name)
    kept = [json.loads(row["columns"]) for row in prompts(run)]
    level, info = ("{}", {}) if name == "log.csv" else (None, {"info": {"x": [2]}})
    assert kept[2] == {"answer": "2", "level": "2" if level else 2, **info}
    assert found.grouped_by == ("id",)


def test_rows_in_lists_keep_the_columns_of_their_prompt(tmp_path):
    _, _, run = imported(tmp_path, [{"prompt": f"p{i}", "rewards": [0, 1], "choices": ["a", "b"], "nothing": None} for i in range(2)])
    assert [json.loads(row["columns"]) for row in prompts(run)] == [{"choices": ["a", "b"]}] * 2


def test_what_is_called_an_answer_is_kept_where_each_prompt_has_one_row(tmp_path):
    rows = [{"prompt": f"p{i}", "reward": 1.0, "ground_truth": f"{i}", "seconds": i} for i in range(3)]
    _, _, run = imported(tmp_path, rows, name="log.parquet")
    assert [json.loads(row["columns"]) for row in prompts(run)] == [{"ground_truth": f"{i}"} for i in range(3)]


def test_completions_that_are_null_everywhere_are_said(tmp_path):
    found, table, _ = imported(tmp_path, [{"prompt": "p", "completion": None, "reward": r} for r in (0, 1)])
    assert table.evidence.n.tolist() == [2]
    assert said(found, "`completion` is null on all rows: the log has no completions")


def test_an_empty_list_of_messages_is_no_prompt(tmp_path):
    _, table, _ = imported(tmp_path, [{"prompt": p, "reward": 1} for p in ([], [{"role": "user", "content": "x"}])])
    assert table.errors == [("the row has neither a prompt nor an id", 1)]


@pytest.mark.parametrize("name", ["_row", "_file"])
@pytest.mark.parametrize("ours", ["reward", "prompt_id", "prompt"])
def test_the_readers_own_names_are_no_columns(tmp_path, name, ours):
    rows = [{"prompt": "p", "reward": k, "_row": 5, "_file": "x"} for k in range(2)]
    with pytest.raises(ImportFormatError, match=f"cannot be named '{name}'"):
        imported(tmp_path, rows, **{ours: name})


@pytest.mark.parametrize("nothing", [0.0, 0, False, None, "", "0.0", "None", "N/A", "no", "-", float("nan")])
def test_what_says_that_there_was_no_error(tmp_path, nothing):
    rows = [{"prompt": "p", "reward": k, "error": nothing} for k in range(2)] + [{"prompt": "p", "reward": 0, "error": "timeout"}]
    assert groups(imported(tmp_path, rows)[1]) == {(2, 0.5): 1}


def test_metrics_of_a_training_are_no_rollouts(tmp_path):
    rows = [{"step": i, "loss": 0.1, "reward": 0.5, "reward_std": 0.1} for i in range(4)]
    with pytest.raises(ImportFormatError, match=r"these are metrics of a training .* Let the trainer log its completions"):
        imported(tmp_path, rows)

"""What a row of a log stands for, and what is kept of it, against the rows written out by hand."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import ImportFormatError
from flatspot.core.records import prompt_id
from flatspot.tasks import read_prompts

from .logs import groups, imported


def rollouts(run, *columns):
    found = pq.read_table(run / "rollouts", columns=list(columns)).to_pylist()
    return [tuple(row.values()) if len(columns) > 1 else row[columns[0]] for row in found]


def said(found, part):
    return [caveat for caveat in found.caveats if part in caveat]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_line_of_columns_is_a_row_for_each_of_its_entries(tmp_path, name):
    rows = [{"prompt": ["a", "a", "b", "b"], "completion": [f"{i}w", "x", "y", "z"], "reward": [0, 0, 1, 1]} for i in range(3)]
    if name == "log.csv":
        rows = [{key: str(value) for key, value in row.items()} for row in rows]
    _, table, run = imported(tmp_path, rows, name=name)
    assert table.prompt_id.tolist() == [prompt_id("a"), prompt_id("b")]
    assert groups(table) == {(6, 0.0): 1, (6, 1.0): 1}
    assert rollouts(run, "prompt", "completion", "reward")[:4] == [("a", "0w", 0), ("a", "x", 0), ("b", "y", 1), ("b", "z", 1)]


def test_columns_with_ids_steps_and_chat_prompts(tmp_path):
    chat = [[{"role": "user", "content": text}] for text in "ab"]
    rows = [{"prompt": [*chat, *chat], "id": [1, 2, 1, 2], "responses": list("wxyz"), "scores": [0, 1, 0, 1], "global_step": [3, 3, 4, 4]}]
    found, table, run = imported(tmp_path, rows)
    assert table.prompt_id.tolist() == ["1", "2"]
    assert groups(table) == {(2, 0.0): 1, (2, 1.0): 1}
    assert rollouts(run, "step", "completion") == [(3, "w"), (3, "x"), (4, "y"), (4, "z")]
    assert pq.read_table(run / "prompts.parquet")["is_chat"].to_pylist() == [True, True]
    assert found.grouped_by == ("id",)


def test_a_chat_prompt_is_no_column(tmp_path):
    chat = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    _, table, _ = imported(tmp_path, [{"prompt": chat, "reward": [0, 1]}])
    assert table.prompt_id.tolist() == [prompt_id(chat)]
    assert groups(table) == {(2, 0.5): 1}


def test_a_line_of_columns_of_different_lengths_is_an_error_of_its_rows(tmp_path):
    rows = [{"prompt": ["a", "b"], "reward": [0, 1]}] * 2
    found, table, run = imported(tmp_path, [*rows, {"prompt": ["a"], "reward": [0, 1]}])
    assert table.evidence.n.tolist() == [2, 2, 0]
    assert rollouts(run, "error")[4:] == ["the row has neither a prompt nor an id"] * 2
    assert said(found, "On 1 of 3 rows the lists of prompts and of `reward` differ in length")


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_wide_chat_completions_are_stored_each_its_own(tmp_path, name):
    said = [[{"role": "assistant", "content": text}] for text in ("x", "y", "y")]
    _, table, run = imported(tmp_path, [{"prompt": "p", "completions": said, "rewards": [0, 1, 1]}], name=name)
    stored = rollouts(run, "completion", "completion_is_chat")
    assert [json.loads(text) for text, _ in stored] == said
    assert [chat for _, chat in stored] == [True] * 3
    assert table.distinct_share.tolist() == [pytest.approx(2 / 3)]


def test_wide_completions_of_one_message_each(tmp_path):
    said = [{"role": "assistant", "content": text} for text in "xyz"]
    _, _, run = imported(tmp_path, [{"prompt": "p", "completions": said, "rewards": [0, 1, 1]}])
    assert [json.loads(text) for text in rollouts(run, "completion")] == [[message] for message in said]


def test_a_completion_of_messages_stays_one_and_a_text_stays_text(tmp_path):
    chat = [{"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, {"role": "tool", "content": "5"}]
    text = '[{"role": "assistant", "content": "not chat"}]'
    rows = [{"prompt": "p", "completion": completion, "reward": 1} for completion in (chat, text)]
    _, _, run = imported(tmp_path, rows)
    (first, first_chat), (second, second_chat) = rollouts(run, "completion", "completion_is_chat")
    assert (json.loads(first), first_chat) == (chat, True)
    assert (second, second_chat) == (text, None)


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet", "log.csv"])
def test_a_text_prompt_that_looks_like_messages_is_no_chat(tmp_path, name):
    text = "[{role: user}] what is this?" if name == "log.csv" else '[{"role": "user", "content": "what is this?"}]'
    _, table, run = imported(tmp_path, [{"prompt": text, "reward": 1}], name=name)
    assert table.prompt_id.tolist() == [prompt_id(text)]
    assert pq.read_table(run / "prompts.parquet")["is_chat"].to_pylist() == [False]


def test_messages_with_keys_that_only_some_have(tmp_path):
    said = [[{"role": "assistant", "content": "x"}], [{"role": "assistant", "content": "y", "name": "n"}]]
    _, _, run = imported(tmp_path, [{"prompt": "p", "completion": c, "reward": 1.0} for c in said], name="log.parquet")
    assert [json.loads(text) for text in rollouts(run, "completion")] == said  # Parquet gives both messages both keys


@pytest.mark.parametrize("with_completions", [True, False])
def test_rewards_of_tokens_are_added_up(tmp_path, with_completions):
    rng = np.random.default_rng(0)
    rows, total = [], []
    for i in range(20):
        for k in range(8):
            total.append(int(i % 2 and k % 4 == 0))
            rows.append({"prompt": f"p{i}", "score": [0] * int(rng.integers(3, 9)) + [total[-1]]})
            rows[-1] |= {"completion": f"c{k}"} if with_completions else {}
    found, table, run = imported(tmp_path, rows)
    assert rollouts(run, "reward") == total
    assert groups(table) == {(8, 0.0): 10, (8, 0.25): 10}
    assert said(found, "`score` is a list of 4 to 9 values on a row of one completion: read as the rewards of its tokens and added up")


def test_a_list_of_tokens_with_something_else_is_an_error_of_its_row(tmp_path):
    rows = [{"prompt": "p", "completion": "c", "score": score} for score in ([0, 0.5, 0.25], [0, 1], [0, "x", 1], [])]
    _, _, run = imported(tmp_path, rows)
    assert rollouts(run, "reward") == [0.75, 1.0, None, None]
    assert rollouts(run, "error")[2:] == ['not a number: [0, "x", 1]', "not a number: []"]


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": f"p{i}", "completion": "c", "rewards": [0, 1, 0, 1]} for i in range(3)],
        [{"prompt": "p", "rewards": [0, 1, 1][: 2 + i % 2]} for i in range(4)],
        [{"prompt": f"p{i}", "rewards": [0] * (3 + i) + [1]} for i in range(4)],
    ],
)
def test_lists_that_may_be_either_are_refused(tmp_path, rows):
    with pytest.raises(ImportFormatError, match="--reward-list completions or --reward-list tokens"):
        imported(tmp_path, rows)
    n = sum(len(row["rewards"]) for row in rows)
    assert imported(tmp_path / "wide", rows, lists="completions")[1].n_rows.sum() == n
    assert imported(tmp_path / "tokens", rows, lists="tokens")[1].n_rows.sum() == len(rows)


def test_lists_of_one_length_of_prompts_that_come_back_are_groups(tmp_path):
    rows = [{"step": s, "prompt": f"p{i}", "rewards": [0, 1]} for s in range(3) for i in range(2)]
    assert groups(imported(tmp_path, rows)[1]) == {(6, 0.5): 2}


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_lists_of_different_lengths_keep_what_they_have(tmp_path, name):
    rows = [
        {"prompt": "a", "rewards": [0, 1, 1], "completions": ["x", "y"]},
        {"prompt": "b", "rewards": [0, 1], "completions": ["x", "y", "z"]},
        {"prompt": "c", "rewards": [0, 1], "completions": ["x", "y"]},
    ]
    found, table, run = imported(tmp_path, rows, name=name)
    assert table.evidence.n.tolist() == [3, 2, 2]
    assert table.n_rows.tolist() == [3, 3, 2]
    assert rollouts(run, "completion", "reward")[2] == (None, 1.0)
    assert rollouts(run, "completion", "reward", "error")[5] == ("z", None, "the log has no reward here")
    assert said(found, "On 2 of 3 rows `completions` and `rewards` are lists of different lengths")


def test_one_damaged_list_is_an_error_of_its_row(tmp_path):
    rows = [{"prompt": f"p{i}", "rewards": text} for i, text in enumerate(["[0, 1]", "[0, 1", "[True, False]", "[0. 1.]", "0.5"])]
    _, table, run = imported(tmp_path, rows, name="log.csv")
    assert table.evidence.n.tolist() == [2, 0, 2, 2, 1]
    assert [e for e in rollouts(run, "error") if e] == ["not a number: [0, 1"]


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.jsonl"])
@pytest.mark.parametrize("as_text", [json.dumps, str])
def test_messages_as_text_are_a_prompt_and_no_batch_where_there_are_as_many_rewards(tmp_path, name, as_text):
    chats = [as_text([{"role": "system", "content": "be brief"}, {"role": "user", "content": f"q{i}"}]) for i in range(4)]
    rows = [{"prompt": chat, "rewards": [0.0, float(i % 2)]} for i, chat in enumerate(chats)]
    if name.endswith(".csv"):
        rows = [{"prompt": row["prompt"].replace('"', '""'), "rewards": row["rewards"]} for row in rows]
    _, table, _ = imported(tmp_path, rows, name=name)
    assert groups(table) == {(2, 0.0): 2, (2, 0.5): 2}


@pytest.mark.parametrize("odd", [None, "x"])
def test_one_row_without_a_list_of_prompts_does_not_make_the_batches_prompts(tmp_path, odd):
    rows = [{"prompt": ["a", "a", "b", "b"], "reward": [0, 0, 1, 1]}] * 4 + [{"prompt": odd, "reward": [0, 0, 1, 1]}]
    found, table, _ = imported(tmp_path, rows)
    assert table.evidence.mean[:2].tolist() == [0.0, 1.0]
    assert "Each row is a batch in columns: each entry of its lists `prompt` and `reward` is a completion." in found.caveats


@pytest.mark.parametrize("beside", [[1], 1, [1, 1, 1, 1]])
def test_a_second_reward_of_another_length_is_given_to_no_completion(tmp_path, beside):
    rows = [{"prompt": "a", "acc": [0, 1, 0], "fmt": beside}, {"prompt": "b", "acc": [0, 1, 0], "fmt": [1, 0, None]}]
    _, table, run = imported(tmp_path, rows, reward=["acc", "fmt"])
    assert table.evidence.n.tolist() == [0, 3]
    assert table.evidence.mean[1] == pytest.approx(2 / 3)
    errors = pq.read_table(run / "rollouts" / "part-000-000000.parquet").column("error").to_pylist()
    assert len(errors) == 6
    assert all("for 3 completions" in error for error in errors[:3])


def test_a_row_with_one_reward_among_lists_keeps_its_error_and_its_completion(tmp_path):
    rows = [{"prompt": "a", "rewards": [0, 1], "completions": ["x", "y"]}]
    rows += [{"prompt": "b", "rewards": 0, "completions": "z", "error": "timeout"}, {"prompt": "c", "rewards": 1, "completions": "w"}]
    _, table, run = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [2, 0, 1]
    assert pq.read_table(run / "rollouts" / "part-000-000000.parquet").column("completion").to_pylist() == ["x", "y", "z", "w"]


@pytest.mark.parametrize("column", ["i", "e", "m", "x", "rows", "log", "select", 'a "b"', "prompt_0"])
def test_a_column_may_have_any_name(tmp_path, column):
    rows = [{"prompt": [f"p{k}"] * 3, column: k, "reward": [0, k, k]} for k in range(2)]
    found, table, _ = imported(tmp_path, rows, prompt_id=column)
    assert groups(table) == {(3, 0.0): 1, (3, 0.666667): 1}
    assert found.grouped_by == (column,)


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
@pytest.mark.parametrize(
    ("further", "kept"),
    [
        ({"step": [7], "error": ["boom"]}, {"step": [None, None], "error": ['["boom"]'] * 2}),
        ({"step": [7, 8], "error": [None, "boom"]}, {"step": [7, 8], "error": [None, "boom"]}),
        ({"step": [7, 8, 9]}, {"step": [None, None]}),
        ({"step": 7}, {"step": [7, 7]}),
    ],
)
def test_a_further_list_adds_no_rows(tmp_path, name, further, kept):
    """Each prompt comes three times, so that what is the same on its rows is kept as a column of it."""
    tags = {"one": [5], "two": [5, 6], "three": [5, 6, 7], "lists": [["x"], ["y"], ["z"]], "object": {"a": 1}}
    _, table, run = imported(
        tmp_path, [{"prompt": ["a", "b"], "completion": ["x", "y"], "reward": [0.0, 1.0], **further, **tags}] * 3, name=name
    )
    assert table.n_rows.tolist() == [3, 3]
    assert rollouts(run, "completion", "prompt") == [("x", "a"), ("y", "b")] * 3
    for column, values in kept.items():
        assert rollouts(run, column) == values * 3
    stored = json.loads(pq.read_table(run / "prompts.parquet")["columns"].to_pylist()[0])
    assert stored == {**tags, "two": 5}


@pytest.mark.parametrize(("name", "empty"), [("log.csv", None), ("log.jsonl", ""), ("log.parquet", "")])
def test_an_empty_cell_is_what_a_prompt_file_says_it_is(tmp_path, name, empty):
    rows = [{"prompt": f"p{i // 2}", "reward": 1.0, "answer": "" if i < 2 else "x"} for i in range(4)]
    _, _, run = imported(tmp_path, rows, name=name)
    stored = [json.loads(columns) for columns in pq.read_table(run / "prompts.parquet")["columns"].to_pylist()]
    assert [columns["answer"] for columns in stored] == [empty, "x"]
    assert [prompt.columns["answer"] for prompt in read_prompts(tmp_path / name)[::2]] == [empty, "x"]


def test_weights_of_numpy_are_numbers(tmp_path):
    rows = [{"prompt": "p", "acc": 1, "fmt": 0.5}] * 2
    _, table, _ = imported(tmp_path, rows, reward=["acc", "fmt"], weights=[np.float64(2), np.float32(0.5)])
    assert table.evidence.mean.tolist() == [2.25]

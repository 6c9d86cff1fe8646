"""Rows that are turns of an episode, against the episodes that they were made of."""

import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import ImportFormatError
from flatspot.core.records import prompt_id

from .logs import groups, imported


def said(found, part):
    return any(part in caveat for caveat in found.caveats)


def episodes(n=12, k=3, turns=4, reward=lambda i, j, t: float(i % 2)):
    """Rows of n prompts, k episodes each, in order."""
    return [
        {"example_id": i, "prompt": f"q{i}" + " and so on" * t, "turn": t, "completion": f"{i}-{j}-{t}", "reward": reward(i, j, t)}
        for i in range(n)
        for j in range(k)
        for t in range(turns - (i + j) % 2)
    ]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
@pytest.mark.parametrize("without", ["nothing", "turn"])
def test_an_episode_is_one_completion(tmp_path, without, name):
    rows = [{key: value for key, value in row.items() if key != without} for row in episodes()]
    found, table, run = imported(tmp_path, rows, name=name)
    assert groups(table) == {(3, 0.0): 6, (3, 1.0): 6}
    assert said(found, "Rows are turns of episodes")
    assert said(found, "its reward counted once")
    kept = pq.read_table(run / "rollouts").to_pylist()
    assert {row["prompt"] for row in kept} == {f"q{i}" for i in range(12)}
    assert kept[0]["completion"] == "0-0-3"


def test_rewards_that_differ_from_turn_to_turn_are_added_up(tmp_path):
    found, table, _ = imported(tmp_path, episodes(reward=lambda i, j, t: float(t == 2 and i % 2)))
    assert groups(table) == {(3, 0.0): 6, (3, 1.0): 6}
    assert said(found, "its reward counted the sum over its turns")


def test_a_turn_that_failed_fails_its_episode(tmp_path):
    rows = episodes(n=2, k=1)
    rows[1]["reward"] = "x"
    _, table, run = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [0, 1]
    assert "not a number: x" in pq.read_table(run / "rollouts")["error"].to_pylist()


def test_an_episode_column_sorts_turns_that_stand_mixed(tmp_path):
    rows = sorted(episodes(turns=5), key=lambda row: row["turn"])
    with pytest.raises(ImportFormatError, match="--episode-col COLUMN; or say that each row is a completion: --turn-col none"):
        imported(tmp_path, [{**row, "prompt": f"q{row['example_id']}"} for row in rows])
    rows = [{**row, "episode_id": row["completion"].rpartition("-")[0]} for row in rows]
    assert groups(imported(tmp_path / "named", rows)[1]) == {(3, 0.0): 6, (3, 1.0): 6}


def test_the_user_has_the_last_word(tmp_path):
    rows = episodes(n=4, k=1, turns=5)
    assert imported(tmp_path, rows, turn="none")[1].n_rows.sum() == len(rows)
    renamed = [{"t" if key == "turn" else key: value for key, value in row.items()} | {"prompt": f"q{row['example_id']}"} for row in rows]
    assert imported(tmp_path / "named", renamed, turn="t")[1].n_rows.tolist() == [1] * 4


def test_a_number_of_turns_is_no_turn(tmp_path):
    rows = [{"id": i, "prompt": f"p{i}", "turn": (7 * i + 3 * k) % 5, "reward": k % 2} for i in range(8) for k in range(6)]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(6, 0.5): 8}
    assert said(found, "`turn` does not count the rows of an episode")


@pytest.mark.parametrize("prompt", [None, "same", "other"])
def test_thirty_coins_seen_once_each_are_thirty_completions(tmp_path, prompt):
    rows = [{"task_id": i, "step": t, "reward": float(i % 2)} for i in range(30) for t in range(12)]
    if prompt:
        rows = [row | {"prompt": f"q{row['task_id']}" + f" turn {row['step']}" * (prompt == "other")} for row in rows]
    found, table, _ = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [1] * 30
    assert said(found, "each `task_id` has one row for each `step`, all with one reward")
    assert not said(found, "training steps")
    assert imported(tmp_path / "none", rows, turn="none")[1].n_rows.sum() == 360


def test_one_row_for_each_step_whose_reward_moves_is_a_training(tmp_path):
    rows = [{"prompt_id": f"q{i}", "prompt": f"q{i}", "step": s, "reward": float(s > i)} for i in range(8) for s in range(8)]
    found, table, _ = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [8] * 8
    assert said(found, "8 training steps")


def test_prompts_of_one_id_that_happen_to_begin_alike_are_no_turns(tmp_path):
    rows = [{"task_id": i % 3, "prompt": f"What is {10**i}", "reward": 1} for i in range(9) for _ in "ab"]
    assert imported(tmp_path, rows)[1].prompt_id.tolist() == [prompt_id(f"What is {10**i}") for i in range(9)]


@pytest.mark.parametrize("flat", [True, False])
def test_flat_groups_of_a_training_are_no_turns(tmp_path, flat):
    rows = [
        {"id": i, "prompt": f"p{i}", "step": s, "sample_idx": k, "reward": float((i if flat else i + k) % 2)}
        for s in range(4)
        for i in range(6)
        for k in range(2)
    ]
    assert imported(tmp_path, rows)[1].evidence.n.tolist() == [8 if flat else 2] * 6


@pytest.mark.parametrize("ids", [True, False])
def test_a_number_for_each_row_counts_no_turns(tmp_path, ids):
    rows = [{"prompt": f"p{k // 4}", "turn_id": k, "reward": k % 2} | ({"id": k // 4} if ids else {}) for k in range(32)]
    found, table, _ = imported(tmp_path, {"a.jsonl": rows[:16], "b.jsonl": rows[16:]})
    assert groups(table) == {(4, 0.5): 8}
    assert any("`turn_id` numbers the rows of each file" in caveat for caveat in found.caveats)


def test_one_episode_in_each_file(tmp_path):
    files = {f"e{i}.jsonl": [{"prompt": f"room {t % 3}", "turn": t, "reward": float(i % 2)} for t in range(6)] for i in range(4)}
    _, table, _ = imported(tmp_path, files)
    assert groups(table) == {(4, 0.5): 1}


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_one_turn_without_a_reward_changes_no_episode(tmp_path, name):
    rows = episodes(n=6, k=2)
    rows[9]["reward"] = "" if name == "log.csv" else None
    found, table, _ = imported(tmp_path, rows, name=name)
    assert groups(table) == {(2, 0.0): 3, (2, 1.0): 3}
    assert said(found, "its reward counted once")


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_reward_on_the_last_turn_alone_is_that_of_the_episode(tmp_path, name):
    nothing = "" if name == "log.csv" else None
    rows = episodes(n=4, k=2, reward=lambda i, j, t: nothing if t < 2 else float((i + j) % 2) if t == 3 - (i + j) % 2 else nothing)
    _, table, _ = imported(tmp_path, rows, name=name)
    assert groups(table) == {(2, 0.5): 4}


def test_rewards_on_a_few_turns_alone_add_up(tmp_path):
    _, table, _ = imported(tmp_path, episodes(n=4, k=2, reward=lambda i, j, t: 1.0 if t < i else None))
    assert table.evidence.n.tolist() == [0, 2, 2, 2]
    assert table.evidence.mean.tolist()[1:] == [1.0, 2.0, 3.0]


def test_a_row_without_a_turn_is_an_episode_of_its_own(tmp_path):
    rows = episodes(n=12, k=3)
    rows.insert(-1, {**rows[-1], "prompt": "q11", "turn": None, "reward": 5.0})
    _, table, run = imported(tmp_path, rows)
    assert table.evidence.n.tolist() == [3] * 11 + [4]
    assert sorted(pq.read_table(run / "rollouts")["reward"].to_pylist())[-2:] == [1.0, 5.0]


def test_one_step_without_a_reward_leaves_an_episode_one(tmp_path):
    rows = [{"task_id": i, "step": t, "reward": float(i % 2)} for i in range(30) for t in range(12)]
    rows[17]["reward"] = None
    assert groups(imported(tmp_path, rows)[1]) == {(1, 0.0): 15, (1, 1.0): 15}


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_step_that_is_no_whole_number_is_none(tmp_path, name):
    rows = [{"prompt": "p", "reward": 1.0, "step": step} for step in (0.0, 0.4, 0.8, 1.0)]
    _, _, run = imported(tmp_path, rows, name=name)
    assert pq.read_table(run / "rollouts")["step"].to_pylist() == [0, None, None, 1]


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_large_step_keeps_its_digits(tmp_path, name):
    _, _, run = imported(tmp_path, [{"prompt": "p", "reward": 1.0, "step": 2**60 + i} for i in range(3)], name=name)
    assert pq.read_table(run / "rollouts")["step"].to_pylist() == [2**60, 2**60 + 1, 2**60 + 2]

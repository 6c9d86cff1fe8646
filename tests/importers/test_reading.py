"""Faults of reading that once gave wrong numbers without a word, from the file to the judged table."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import ImportFormatError
from flatspot.core.records import prompt_id
from flatspot.importers.generic import LogColumns, import_generic
from flatspot.importers.search import find_logs
from flatspot.runs.table import connect, read_run


def inspected(tmp_path, *paths):
    """The caveats of an import, the table judged from it, and its rows."""
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    caveats = []
    with connect(run) as db:
        files = find_logs(paths, caveats)
        found = import_generic(db, files, LogColumns(), run / "rollouts" / "part-000-000000.parquet", run / "prompts.parquet")
    texts = [caveat if isinstance(caveat, str) else caveat[1] for caveat in found.caveats]
    return [*caveats, *texts], read_run(run), pq.read_table(run / "rollouts")


def write(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.json"])
def test_rewards_after_many_whole_ones_are_not_rounded(tmp_path, name):
    rewards = [i % 2 for i in range(20_500)] + [(0, 0.25, 0.4, 0.45)[i % 4] for i in range(400)]
    rows = [{"prompt_id": f"{i % 5:03d}", "reward": reward} for i, reward in enumerate(rewards)]
    content = {
        "log.csv": "prompt_id,reward\n" + "".join(f"{row['prompt_id']},{row['reward']}\n" for row in rows),
        "log.jsonl": jsonl(rows),
        "log.json": json.dumps(rows),
    }[name]
    _, table, rollouts = inspected(tmp_path, write(tmp_path, name, content))
    assert table.prompt_id.tolist() == ["000", "001", "002", "003", "004"]
    assert rollouts["reward"].to_pylist() == rewards
    np.testing.assert_allclose(table.evidence.mean, [np.mean(rewards[i::5]) for i in range(5)])


def test_nulls_first_cost_no_later_reward(tmp_path):
    rows = [{"prompt_id": "a", "reward": None}] * 20_500 + [{"prompt_id": "b", "reward": 0.5}] * 3
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.jsonl", jsonl(rows)))
    assert table.evidence.n.tolist() == [0, 3]
    assert table.evidence.mean[1] == 0.5


def test_errors_that_come_late_are_no_zeros(tmp_path):
    rows = [{"prompt_id": "a", "reward": 1}] * 20_500 + [{"prompt_id": "b", "reward": 0, "error": "boom"}] * 4
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.jsonl", jsonl(rows)))
    assert table.evidence.n.tolist() == [20_500, 0]
    assert table.errors == [("boom", 4)]


def test_completions_that_start_with_a_hash_are_rows(tmp_path):
    rows = [("1", "#### 42" if i % 2 else "42", i % 2) for i in range(320)]
    text = "completion,reward,prompt_id\n" + "".join(f"{completion},{reward},{p}\n" for p, completion, reward in rows)
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.csv", text))
    assert (table.evidence.n.tolist(), table.evidence.mean.tolist()) == ([320], [0.5])


def test_rows_before_and_after_a_second_header_are_judged(tmp_path):
    text = "prompt_id,reward\n" + "a,1\n" * 1000 + "prompt_id,reward,kl\n" + "b,0,0.1\n" * 20 + "b,"
    caveats, table, _ = inspected(tmp_path, write(tmp_path, "log.csv", text))
    assert table.n_rows.tolist() == [1000, 20]
    assert any("line 1002 (another header" in caveat for caveat in caveats)
    assert any("1 row of log.csv was left out: line 1023" in caveat for caveat in caveats)


def test_paths_are_neither_patterns_nor_columns(tmp_path):
    paths = [
        write(tmp_path, f"logs/reward=1/prompt_id=7/error=0.03/{name}", f"prompt_id,reward\n{name},0\n")
        for name in ("log[1].csv", "log1.csv")
    ]
    _, table, _ = inspected(tmp_path, paths[0])
    assert (table.prompt_id.tolist(), table.evidence.mean.tolist(), table.errors) == (["log[1].csv"], [0.0], [])


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_ids_that_look_like_numbers_stay_apart(tmp_path, name):
    ids = ["1.1", "1.10", "1", "1.0", "1e5", "100000", "12345678901234567890123", "12345678901234567890124"]
    text = "prompt_id,reward\n" + "".join(f"{i},1\n" for i in ids)
    text = text if name == "log.csv" else "".join(f'{{"prompt_id": {i}, "reward": 1}}\n' for i in ids)
    assert inspected(tmp_path, write(tmp_path, name, text))[1].prompt_id.tolist() == ids


def test_the_ids_1_and_text_1_are_one(tmp_path):
    text = '{"prompt_id": 1, "reward": 1}\n{"prompt_id": "1", "reward": 0}\n'
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.jsonl", text))
    assert (table.prompt_id.tolist(), table.evidence.mean.tolist()) == (["1"], [0.5])


def test_a_file_a_step_in_a_thousand_small_files(tmp_path):
    for i in range(1000):
        write(tmp_path, f"logs/{i}.jsonl", f'{{"prompt_id": "a", "reward": {i % 2}}}\n')
    _, table, _ = inspected(tmp_path, tmp_path / "logs")
    assert (table.evidence.n.tolist(), table.evidence.mean.tolist()) == ([1000], [0.5])


@pytest.mark.parametrize(
    "content",
    [
        '{"prompt": "a", "reward": 1}\n{"prompt": "a", "reward": 0}',
        '{"data": [{"prompt": "a", "reward": 1}, {"prompt": "a", "reward": 0}]}',
        '{"columns": ["prompt", "reward"], "data": [["a", 1], ["a", 0.0]]}',
    ],
)
def test_documents_of_other_shapes(tmp_path, content):
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.json", content))
    assert (table.prompt_id.tolist(), table.evidence.mean.tolist()) == ([prompt_id("a")], [0.5])


def test_one_damaged_list_is_an_error_of_its_row(tmp_path):
    text = 'prompt_id,rewards\na,"[0, 1"\nb,"[0, 1]"\nc,"[True, False]"\nd,[0. 1.]\n'
    _, table, rollouts = inspected(tmp_path, write(tmp_path, "log.csv", text))
    assert dict(zip(table.prompt_id.tolist(), table.evidence.n.tolist(), strict=True)) == {"a": 0, "b": 2, "c": 2, "d": 2}
    assert any("[0, 1" in (error or "") for error in rollouts["error"].to_pylist())


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_read_or_named(tmp_path, encoding):
    text = "prompt,answer,reward\nà,é,1\nè,é,0\n"
    caveats, table, _ = inspected(tmp_path, write(tmp_path, "log.csv", text.encode(encoding)))
    assert table.evidence.mean.tolist() == [1.0, 0.0]
    assert any("not UTF-8" in caveat for caveat in caveats) == (encoding == "latin-1")


def test_odd_dates_are_text(tmp_path):
    text = 'prompt,reward,date\na,1,"99999-12-31"\na,0,0000-00-00\n'
    assert inspected(tmp_path, write(tmp_path, "log.csv", text))[1].evidence.mean.tolist() == [0.5]


def test_an_empty_key_and_many_sparse_ones(tmp_path):  # hundreds of them: tests/readers/test_log.py
    rows = [{"": 1, "prompt": "a", "reward": i % 2, f"k{i % 60}": i} for i in range(420)]
    _, table, _ = inspected(tmp_path, write(tmp_path, "log.jsonl", jsonl(rows)))
    assert (table.evidence.n.tolist(), table.evidence.mean.tolist()) == ([420], [0.5])


def test_nothing_but_cut_rows_is_named(tmp_path):
    with pytest.raises(ImportFormatError, match=r"log.csv: not one row has a cell for every column \(line 2: 1 cell for 2 columns\)"):
        inspected(tmp_path, write(tmp_path, "log.csv", "prompt,reward\na\n"))

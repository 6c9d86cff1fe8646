import json
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import RunFolderError
from flatspot.core.records import Rollout
from flatspot.core.request import Request
from flatspot.core.schema import ROLLOUTS, SCHEMA_VERSION, arrow_schema
from flatspot.rollouts.files import read_json
from flatspot.rollouts.notes import Notes, read_notes, write_notes
from flatspot.rollouts.rounds import Round
from flatspot.rollouts.store import open_run, rollout_table, write_json, write_table


def start(path, max_completions=4, **identity):
    identity = {"seed": 0, **identity}
    return open_run(path, kind="diagnose", request=Request(), identity=identity, max_completions=max_completions, rows_per_part=8)


def row(**changes):
    base = {"prompt_id": "a", "prompt": "2+2=", "completion": "4", "sample_idx": 0, "reward": 1.0, "rewards": {"f": 1.0}, "error": None}
    return Rollout(**(base | {"step": None, "policy": "p", "truncated": False, "n_tokens": 1} | changes))


def test_rows_come_back_as_declared(tmp_path):
    with start(tmp_path / "run") as run:
        run.write_part(0, 3, [row(), row(sample_idx=1, reward=None, rewards={"f": None}, error="boom")])
        assert run.parts_done() == {(0, 3)}
    table = pq.read_table(tmp_path / "run" / "rollouts")
    assert table.schema.equals(arrow_schema(ROLLOUTS))
    assert table["reward"].to_pylist() == [1.0, None]
    assert table["error"].to_pylist() == [None, "boom"]
    assert dict(table["rewards"].to_pylist()[0]) == {"f": 1.0}


def test_chat_prompts_and_lone_surrogates_can_be_stored():
    chat = [{"role": "user", "content": "hi"}]
    table = rollout_table([row(prompt=chat, completion="bad \ud800 text")])
    assert json.loads(table["prompt"][0].as_py()) == chat
    assert table["completion"][0].as_py() == "bad \\ud800 text"


def test_the_same_identity_continues(tmp_path):
    with start(tmp_path) as run:
        run.write_part(0, 0, [row()])
    with start(tmp_path) as run:
        assert run.parts_done() == {(0, 0)}


def test_a_changed_setting_is_named_and_refused(tmp_path):
    with start(tmp_path, sampling={"top_p": 1.0, "top_k": 0}) as run:
        run.write_part(0, 0, [row()])
    with pytest.raises(RunFolderError, match=r"sampling\.top_p: 1\.0 there, 0\.9 now") as caught:
        start(tmp_path, sampling={"top_p": 0.9, "top_k": 0})
    assert "top_k" not in str(caught.value)


def test_before_the_first_row_settings_may_change(tmp_path):
    with start(tmp_path, sampling={"top_p": 1.0}) as run:
        run.write_round(0, Round(np.array([1, 4]), np.array([0, 0]), 3, False))
    with start(tmp_path, sampling={"top_p": 0.9}) as run:
        assert run.record.identity["sampling"] == {"top_p": 0.9}
        assert run.rounds() == []


def test_what_a_start_without_rows_had_to_say_is_not_said_of_another(tmp_path):
    with start(tmp_path / "run"):
        write_notes(tmp_path / "run", Notes(caveats=("of the old reward",), rounds=0, whole_groups=4))
    with start(tmp_path / "run", reward={"names": ["new"]}):
        assert read_notes(tmp_path / "run") == read_notes(tmp_path / "nothing")


def test_a_start_that_fails_lets_the_next_one_in(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr("flatspot.rollouts.store.remove_leftovers", fails)
        start(tmp_path / "run")
    start(tmp_path / "run").lock.close()


def fails(_):
    raise PermissionError


def test_rounds_come_back_and_fewer_completions_are_refused(tmp_path):
    asked = Round(np.array([1, 4]), np.array([4, 6]), 3, False)
    with start(tmp_path) as run:
        assert run.rounds() == []
        run.write_round(0, asked)
        [found] = run.rounds()
    np.testing.assert_array_equal(found.prompts, asked.prompts)
    np.testing.assert_array_equal(found.first, asked.first)
    assert (found.n_completions, found.fixed, found.total) == (3, False, 6)
    with pytest.raises(RunFolderError, match="already plans 9"):
        start(tmp_path, max_completions=8)
    start(tmp_path, max_completions=9).lock.close()


def test_the_rewards_of_a_round_are_those_of_its_parts_in_order(tmp_path):
    asked = Round(np.array([0, 1, 2]), np.zeros(3, int), 4, True)
    rewards = np.arange(12.0).reshape(3, 4)
    rewards[1, 2] = np.nan
    with start(tmp_path) as run:
        assert asked.parts(run.record.rows_per_part) == [slice(0, 2), slice(2, 4)]
        for i, part in enumerate(asked.parts(8)):
            values = [None if np.isnan(r) else r for r in rewards[part].ravel()]
            run.write_part(0, i, [row(sample_idx=j, reward=r) for j, r in enumerate(values)])
        np.testing.assert_array_equal(run.rewards(0, asked), rewards)
        (tmp_path / "rollouts" / "part-000-000001.parquet").write_bytes(b"half")
        with pytest.raises(RunFolderError, match=r"part-000-000001\.parquet cannot be read"):
            run.rewards(0, asked)


def test_two_writers_are_refused(tmp_path):
    with start(tmp_path), pytest.raises(RunFolderError, match="another process"):
        start(tmp_path)
    start(tmp_path).lock.close()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        start(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_leftovers_of_a_killed_start_are_removed(tmp_path):
    start(tmp_path).lock.close()
    (tmp_path / "rollouts" / "part-000-000001.parquet.tmp").write_bytes(b"half")
    with start(tmp_path) as run:
        assert run.parts_done() == set()
    assert not list((tmp_path / "rollouts").iterdir())


@pytest.mark.parametrize("content", ["{", "[]", f'{{"schema_version": {SCHEMA_VERSION}}}', "null"])
def test_a_damaged_run_json_is_named(tmp_path, content):
    start(tmp_path).lock.close()
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"run\.json is damaged"):
        start(tmp_path)


def test_a_run_of_another_schema_is_refused(tmp_path):
    start(tmp_path).lock.close()
    write_json(read_json(tmp_path / "run.json") | {"schema_version": 99}, tmp_path / "run.json")
    with pytest.raises(RunFolderError, match="schema version 99"):
        start(tmp_path)


def test_a_full_disk_leaves_the_old_file_and_no_half(tmp_path):
    write_json({"a": 1}, tmp_path / "x.json")
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pathlib import Path
from flatspot.core.errors import RunFolderError
from flatspot.rollouts.store import write_json
try:
    write_json({{"a": "x" * 100_000}}, Path({str(tmp_path / "x.json")!r}))
except RunFolderError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_name_that_is_taken_by_a_folder_is_said_and_nothing_is_left(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write .*x\.json: Is a directory"):
        write_json({"a": 1}, tmp_path / "x.json")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_write_killed_half_way_shows_nothing(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from flatspot.rollouts.store import write_whole
with write_whole(Path({str(tmp_path / "y.bin")!r})) as file:
    file.write(b"half"); file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "y.bin").exists()


def test_write_table_replaces_whole(tmp_path):
    write_table(rollout_table([row()]), tmp_path / "t.parquet")
    write_table(rollout_table([row(), row(sample_idx=1)]), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 2
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize(
    ("changed", "offered"), [({"reward": {"weights": [0.1]}}, True), ({"reward": {"weights": [0.1]}, "seed": 1}, False)]
)
def test_other_rewards_alone_lead_to_rescoring(tmp_path, changed, offered):
    before = {"reward": {"weights": [1.0]}, "seed": 0}
    common = {"kind": "diagnose", "request": Request(), "rows_per_part": 2}
    with open_run(tmp_path / "run", identity=before, **common) as run:
        run.write_part(0, 0, [])
    with (
        pytest.raises(RunFolderError, match=r"reward.weights.0: 1.0 there, 0.1 now") as refused,
        open_run(tmp_path / "run", identity=before | changed, **common),
    ):
        pass
    assert ("flatspot rescore" in str(refused.value)) is offered

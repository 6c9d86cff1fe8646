"""Joined parts: the same rows in fewer files, whatever moment a process is killed at."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from flatspot.core.errors import RunFolderError
from flatspot.core.records import Rollout
from flatspot.core.request import Request
from flatspot.rollouts import compaction
from flatspot.rollouts.locks import JUDGING_FILE, lock_folder
from flatspot.rollouts.parts import parts_of
from flatspot.rollouts.prompts import prompt_table
from flatspot.rollouts.rounds import Round
from flatspot.rollouts.store import open_run
from flatspot.rollouts.tables import read_table
from flatspot.runs.table import read_run, rollout_files

PARTS, K = 20, 3
ASKED = Round(np.arange(PARTS), np.zeros(PARTS, int), K, True)
REWARDS = np.arange(PARTS * K, dtype=float).reshape(PARTS, K)


def start(path):
    return open_run(path, kind="diagnose", request=Request(), identity={"seed": 0}, rows_per_part=K)


def write(run, parts=range(PARTS)):
    run.write_round(0, ASKED)
    for part in parts:
        rows = [Rollout(f"p{part}", "text", f"answer {i}", i, REWARDS[part, i], {"f": 1.0}, None, None, "p", False, 1) for i in range(K)]
        run.write_part(0, part, rows)


def rows_of(path):
    return [(row["prompt_id"], row["sample_idx"], row["reward"]) for file in rollout_files(path) for row in read_table(file).to_pylist()]


ROWS = [(f"p{part}", i, REWARDS[part, i]) for part in range(PARTS) for i in range(K)]


@pytest.fixture
def path(tmp_path):
    with start(tmp_path) as run:
        write(run)
    return tmp_path


def test_a_closed_round_is_one_file_with_the_same_rows(path):
    with start(path) as run:
        run.join_parts(0, closed=True)
        np.testing.assert_array_equal(run.rewards(0, ASKED), REWARDS)
        assert run.parts_done() == {(0, i) for i in range(PARTS)}
    assert [file.name for file in (path / "rollouts").iterdir()] == ["part-000-000000-000019.parquet"]
    assert rows_of(path) == ROWS


def test_an_open_round_waits_until_a_window_is_full(path, monkeypatch):
    with start(path) as run:
        run.join_parts(0, closed=False)
        assert len(rollout_files(path)) == PARTS
        monkeypatch.setattr(compaction, "WINDOW", 8)
        run.join_parts(0, closed=False)
    names = [file.name for file in rollout_files(path)]
    assert names[:3] == ["part-000-000000-000007.parquet", "part-000-000008-000015.parquet", "part-000-000016.parquet"]
    assert rows_of(path) == ROWS


def test_a_gap_is_not_joined_over_and_filled_later(tmp_path):
    with start(tmp_path) as run:
        write(run, [i for i in range(PARTS) if i != 9])
        run.join_parts(0, closed=True)
        assert parts_of(tmp_path) == {(0, i) for i in range(PARTS) if i != 9}
        write(run, [9])
        run.join_parts(0, closed=True)
    assert rows_of(tmp_path) == ROWS


@pytest.mark.parametrize("before", ["replace", "unlink", "unlink at 5"])
def test_killed_between_any_two_steps(path, before):
    script = f"""
import os, signal, sys
from pathlib import Path
from flatspot.rollouts import compaction
step, at = {before.split()[0]!r}, {int(before.split()[-1]) if " " in before else 0}
real, calls = getattr(Path, step), 0
def killed(self, *given, **named):
    global calls
    if "part-" in self.name:
        calls += 1
        if calls > at:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *given, **named)
setattr(Path, step, killed)
compaction.join_parts(Path(sys.argv[1]), 0, closed=True)
"""
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -signal.SIGKILL
    assert rows_of(path) == ROWS
    with start(path) as run:
        np.testing.assert_array_equal(run.rewards(0, ASKED), REWARDS)
        assert len(list((path / "rollouts").iterdir())) == (PARTS if before == "replace" else 1)  # the rest was swept
        run.join_parts(0, closed=True)
    assert rows_of(path) == ROWS
    assert len(list((path / "rollouts").iterdir())) == 1


def test_parts_stay_while_somebody_judges_and_where_the_disk_is_full(path, monkeypatch):
    with start(path) as run:
        with lock_folder(path, JUDGING_FILE):
            run.join_parts(0, closed=True)
        assert len(rollout_files(path)) == PARTS

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        run.join_parts(0, closed=True)
        monkeypatch.undo()
    assert len(list((path / "rollouts").iterdir())) == PARTS
    assert rows_of(path) == ROWS


def test_parts_stay_where_the_file_that_holds_them_too_is_damaged(path):
    parts = {file.name: file.read_bytes() for file in (path / "rollouts").iterdir()}
    with start(path) as run:
        run.join_parts(0, closed=True)
    (whole,) = (path / "rollouts").iterdir()
    data = whole.read_bytes()
    whole.write_bytes(data[:-20] + b"x" * 20)
    for name, content in parts.items():  # as a process leaves them that was killed while it joined them
        (path / "rollouts" / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"{whole.name} cannot be read.*Delete that file"):
        start(path)
    whole.unlink()
    start(path).lock.close()
    assert rows_of(path) == ROWS


def test_a_damaged_part_is_not_joined_away(path):
    file = path / "rollouts" / "part-000-000003.parquet"
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    with start(path) as run, pytest.raises(RunFolderError, match="part-000-000003"):
        run.join_parts(0, closed=True)


def test_rows_of_another_number_are_no_traceback(path):
    (path / "rollouts" / "part-000-000003.parquet").unlink()
    with start(path) as run, pytest.raises(RunFolderError, match=r"holds 57 rows of round 0, which has 60"):
        run.rewards(0, ASKED)


def test_conflict_copies_are_not_judged(path):
    from flatspot.rollouts.store import write_table

    write_table(prompt_table([], []), path / "prompts.parquet")
    for name in ("part-000-000003 (1).parquet", "part-000-000003.sync-conflict-20261129-120000-ABC.parquet", ".part-000-000003.parquet"):
        (path / "rollouts" / name).write_bytes((path / "rollouts" / "part-000-000003.parquet").read_bytes())
    assert rows_of(path) == ROWS
    assert read_run(path).n_rows.sum() == 0  # and no prompt is made of them

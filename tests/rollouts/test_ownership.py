"""Nothing of the user's is emptied or deleted, and nothing is written into a folder that is not ours."""

import os
import subprocess
import sys

import pytest

from flatspot.core import leftovers
from flatspot.core.errors import RunFolderError
from flatspot.core.request import Request
from flatspot.rollouts.files import write_json
from flatspot.rollouts.store import open_run


def start(path):
    return open_run(path, kind="diagnose", request=Request(), identity={"seed": 0}, rows_per_part=8)


def state(folder):
    return sorted((str(p.relative_to(folder)), p.read_bytes() if p.is_file() else None) for p in folder.rglob("*"))


def dead():
    """The number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    "name", ["thesis.tmp", "run.json.tmp", ".lock", "rollouts/data.tmp", "rollouts/part-000-000000.parquet", "rounds/x", ".hidden"]
)
def test_a_folder_of_somebody_else_is_refused_untouched(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("the user's own")
    before = state(tmp_path)
    with pytest.raises(RunFolderError, match="not empty and not a run folder"):
        start(tmp_path)
    assert state(tmp_path) == before


def test_a_run_json_of_another_tool_is_refused_untouched(tmp_path):
    (tmp_path / "run.json").write_text('{"wandb": 1}')
    before = state(tmp_path)
    with pytest.raises(RunFolderError, match=r"run\.json is not flatspot's"):
        start(tmp_path)
    assert state(tmp_path) == before


def test_going_on_deletes_only_what_is_ours_and_abandoned(tmp_path, monkeypatch):
    start(tmp_path).lock.close()
    mine = ["notes.tmp", "rollouts/x.tmp", "rounds.tmp/y", "rollouts/part-000-000001 (1).parquet.tmp", "my-prompts.parquet.tmp"]
    living = leftovers.temporary_beside(tmp_path / "report.html").name
    monkeypatch.setattr(os, "getpid", dead)
    killed = [leftovers.temporary_beside(tmp_path / "report.html").name, f"rollouts/{leftovers.temporary_beside(tmp_path / 'p').name}"]
    monkeypatch.undo()
    killed += ["rollouts/part-000-000001.parquet.tmp", "run.json.tmp", "rounds/round-001.parquet.tmp"]  # as flatspot 0.1.0 named them
    for name in (*mine, living, *killed):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    start(tmp_path).lock.close()
    assert all((tmp_path / name).exists() for name in (*mine, living))
    assert not any((tmp_path / name).exists() for name in killed)


def test_a_start_that_was_killed_before_run_json_goes_on(tmp_path):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / ".lock").touch()
    leftovers.temporary_beside(tmp_path / "run.json").touch()
    start(tmp_path).lock.close()
    assert (tmp_path / "run.json").exists()


def test_writing_beside_files_of_like_names(tmp_path):
    (tmp_path / "x.json.tmp").write_text("the user's own")
    write_json({"a": 1}, tmp_path / "x.json")
    assert (tmp_path / "x.json.tmp").read_text() == "the user's own"
    write_json({"a": 1}, tmp_path / ("n" * 250))
    assert sorted(len(p.name) for p in tmp_path.iterdir()) == [6, 10, 250]


def test_scratch_folders_of_killed_processes_are_swept_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getpid", dead)
    with leftovers.scratch_folder() as abandoned:
        (abandoned / "deep").mkdir()
        monkeypatch.undo()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        others = [tmp_path / "flatspot-checkout", tmp_path / "flatspot-00000000-1-00000000", tmp_path / "x"]
        for folder in others:
            folder.mkdir()
        with leftovers.scratch_folder() as first, leftovers.scratch_folder() as second:
            assert first.is_dir() and second.is_dir() and not abandoned.exists()
            assert all(folder.is_dir() for folder in others)
    assert sorted(tmp_path.iterdir()) == sorted(others)

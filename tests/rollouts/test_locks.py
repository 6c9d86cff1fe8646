import errno
import os
import subprocess
import sys

import pytest

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.locks import lock_folder, try_lock


def in_another_process(folder, code="lock_folder(Path(sys.argv[1]))"):
    script = f"import sys\nfrom pathlib import Path\nfrom flatspot.rollouts.locks import lock_folder, try_lock\n{code}"
    return subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)


def test_one_process_at_a_time_and_the_next_after_it(tmp_path):
    with lock_folder(tmp_path):
        assert "is being written by another process" in in_another_process(tmp_path).stderr
        assert try_lock(tmp_path) is None
    assert in_another_process(tmp_path).returncode == 0
    killed = in_another_process(tmp_path, "import os, signal\nlock = lock_folder(Path(sys.argv[1]))\nos.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode < 0
    lock_folder(tmp_path).close()


def test_who_waits_gets_it(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom flatspot.rollouts.locks import lock_folder\n"
            "lock_folder(Path(sys.argv[1]), 'x')\nprint('held', flush=True)\ntime.sleep(0.3)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    lock_folder(tmp_path, "x", wait_s=30).close()
    assert holder.wait() == 0
    holder.stdout.close()


def test_a_lock_file_keeps_its_content(tmp_path):
    (tmp_path / ".lock").write_text("the user's own")
    lock_folder(tmp_path).close()
    assert (tmp_path / ".lock").read_text() == "the user's own"


@pytest.mark.parametrize("target", ["thesis.tex", "nowhere"])
def test_a_link_is_not_followed(tmp_path, target):
    (tmp_path / "thesis.tex").write_text("years of work")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(RunFolderError, match=r"\.lock is a link"):
        lock_folder(folder)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_or_a_pipe_is_no_lock_file(tmp_path):
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "b")
    with pytest.raises(RunFolderError, match="a is a folder"):
        lock_folder(tmp_path, "a")
    with pytest.raises(RunFolderError, match="b is no plain file"):
        lock_folder(tmp_path, "b")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    import fcntl

    def none(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(RunFolderError, match=r"cannot be locked .*on another file system"):
        lock_folder(tmp_path)


def test_flatspot_runs_where_there_is_no_fcntl(tmp_path):
    script = """
import sys
sys.modules["fcntl"] = None
import flatspot, flatspot.flow.diagnose, flatspot.recipe.stages
from flatspot.engines.scripted import ScriptedEngine
rows, engine = [{"prompt": "a", "reference": "1"}], ScriptedEngine({"a": {"1": 1.0}})
found = flatspot.diagnose(rows, engine, "exact_match", out=sys.argv[1], max_completions=2)
print(found.summary["generations"]["total"])
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr

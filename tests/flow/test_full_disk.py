"""A full or read-only disk: an error that says so, nothing half-written, and the same call afterwards is whole."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

import flatspot
from flatspot.core.errors import RunFolderError
from flatspot.engines.scripted import ScriptedEngine

pytestmark = pytest.mark.thorough

ROWS = [{"prompt": "half", "reference": "1"}]


def draw(folder):
    return flatspot.diagnose(ROWS, ScriptedEngine({"half": {"1": 0.5, "0": 0.5}}), "exact_match", out=folder, max_completions=8)


@pytest.mark.parametrize(
    "full_at", ["run.json", "prompts.parquet", "round-000.parquet", "part-000", "verdicts.parquet", "report.json", "report.html"]
)
def test_a_disk_that_fills_up_at_any_file(tmp_path, monkeypatch, full_at):
    real = os.fsync

    def fsync(descriptor):
        if full_at in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunFolderError, match=f"cannot write .*{full_at}.*No space left on device"):
        draw(tmp_path / "run")
    assert not [p for p in (tmp_path / "run").rglob("*") if full_at in p.name or p.suffix == ".tmp"]
    monkeypatch.setattr(os, "fsync", real)
    assert draw(tmp_path / "run").summary["generations"]["total"] == 8


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KiB, where the tests may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_small_disk_and_a_read_only_one(tmp_path, small_disk):
    log = tmp_path / "log.csv"
    log.write_text("prompt,reward,completion\n" + "".join(f"p{i % 200},{i % 2},{hash(str(i))}\n" for i in range(40_000)))
    with pytest.raises(RunFolderError, match=r"cannot write .*part-000-000000\.parquet: No space left on device"):
        flatspot.inspect(log, out=small_disk / "run")
    assert not list((small_disk / "run" / "rollouts").iterdir())
    run = draw(tmp_path / "run").folder
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for verb in (
        lambda: draw(small_disk / "other"),
        lambda: draw(small_disk / "run"),
        lambda: flatspot.export(run, small_disk / "x.jsonl"),
        lambda: flatspot.rescore(run, "exact_match", out=small_disk / "y"),
        lambda: draw(tmp_path / "run").report(small_disk / "report.html"),
    ):
        with pytest.raises(RunFolderError, match="Read-only file system"):
            verb()

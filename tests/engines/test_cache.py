"""The cache of converted policies is bounded, and the remains of killed conversions are removed."""

import os
import subprocess
import sys
import time

import pytest

from flatspot.engines.cache import build_once


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATSPOT_CACHE", str(tmp_path))
    monkeypatch.setenv("FLATSPOT_CACHE_GIB", str(250 / (1 << 30)))
    return tmp_path / "policies"


def fill(folder):
    (folder / "weights").write_bytes(b"x" * 100)


def used(folder, days_ago):
    os.utime(folder, (time.time() - days_ago * 86400,) * 2)


def test_the_least_recently_used_conversions_go_first_and_other_folders_stay(cache):
    a, b, c = (build_once(cache / f"{name}-v1", fill) for name in "abc")  # used within a day: all stay
    assert all(folder.is_dir() for folder in (a, b, c))
    (cache / "notes").mkdir()
    fill(cache / "notes")
    for folder, days in ((a, 9), (b, 5), (c, 3), (cache / "notes", 99)):
        used(folder, days)
    assert build_once(a, fill) == a  # which is a use of it
    build_once(cache / "d-v1", fill)
    assert sorted(folder.name for folder in cache.iterdir()) == ["a-v1", "d-v1", "notes"]


def test_the_remains_of_a_killed_conversion_are_removed_by_the_next(cache):
    code = f"""
import os, pathlib
from flatspot.engines.cache import build_once
build_once(pathlib.Path({str(cache / "dead-v1")!r}), lambda folder: os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(cache.iterdir())) == 1
    build_once(cache / "a-v1", fill)
    assert [folder.name for folder in cache.iterdir()] == ["a-v1"]

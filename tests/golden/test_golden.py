"""Whole runs say what they said before: every number, verdict and row, to ten digits.

After a change that is meant to change them: `FLATSPOT_GOLDEN_REWRITE=1 .venv/bin/pytest tests/golden`, then read the diff.
"""

import json
import math
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import scenarios

pytestmark = pytest.mark.thorough
EXPECTED = Path(__file__).parent / "expected"
NAMES = [*scenarios.COMMANDS, *scenarios.AFTER, "exported", "exported_completions"]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("golden"))
    try:
        return scenarios.run_all()
    finally:
        os.chdir(before)


def as_lines(value, depth=2):
    """JSON with a line for each part down to this depth: a diff shows the column, row or key that changed."""
    if not depth or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(key)}: {as_lines(part, depth - 1)}" for key, part in value.items()) + "\n}"
    return "[\n" + ",\n".join(json.dumps(part, ensure_ascii=False) for part in value) + "\n]"


def differences(now, then, place=""):
    """Where two values differ, by their place; numbers to one part in a hundred thousand."""
    if isinstance(now, dict) and isinstance(then, dict):
        for key in {**now, **then}:
            if key not in now or key not in then:
                yield f"{place}/{key}: {'gone' if key in then else 'new'}"
            else:
                yield from differences(now[key], then[key], f"{place}/{key}")
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for i, (a, b) in enumerate(zip(now, then, strict=True)):
            yield from differences(a, b, f"{place}[{i}]")
    elif isinstance(now, float) and isinstance(then, float | int):
        if not math.isclose(now, then, rel_tol=1e-5, abs_tol=1e-9):
            yield f"{place}: {now} was {then}"
    elif now != then:
        yield f"{place}: {now!r} was {then!r}"


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_says_what_it_said(left, name):
    path = EXPECTED / f"{name}.json"
    if os.environ.get("FLATSPOT_GOLDEN_REWRITE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(as_lines(left[name]) + "\n", encoding="utf-8")
    found = list(differences(left[name], json.loads(path.read_text(encoding="utf-8"))))
    assert not found, f"{len(found)} differences, the first:\n" + "\n".join(found[:20])


def test_a_difference_is_seen():
    then = {"a": [1.0, {"b": "x"}], "c": None}
    assert not list(differences({"a": [1.0 + 1e-9, {"b": "x"}], "c": None}, then))
    assert list(differences({"a": [1.001, {"b": "y"}]}, then)) == ["/a[0]: 1.001 was 1.0", "/a[1]/b: 'y' was 'x'", "/c: gone"]

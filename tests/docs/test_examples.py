"""The scripts of examples/: each runs from an empty folder, and its output is what the numbers in it imply."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_prompts_that_are_never_right_are_listed(tmp_path):
    printed = run_example("vanishing_prompts.py", tmp_path)
    assert re.findall(r"^What is (.*)\?  +mean reward 0\.00", printed, re.MULTILINE) == ["1371 * 27", "the 40th prime"]


def test_the_verdicts_are_those_of_the_policy_and_labels_are_of_vanishing_prompts(tmp_path):
    printed = run_example("own_reward.py", tmp_path)
    products = [a * b for a in range(2, 14) for b in range(2, 14)]
    vanishing, solved = (int(re.search(rf"(\d+) {name}", printed)[1]) for name in ("vanishing", "solved"))
    margin = 0.03 * len(products)  # the target error
    assert abs(vanishing - sum(size >= 60 for size in products)) <= margin and abs(solved - sum(size < 20 for size in products)) <= margin
    labels = [int(a) * int(b) for a, b in re.findall(r"^to label: What is (\d+) \* (\d+)\?$", printed, re.MULTILINE)]
    assert len(labels) == math.ceil(0.05 * len(products)) and sum(size < 60 for size in labels) <= 1


def test_every_group_of_the_loop_was_recorded(tmp_path):
    printed = run_example("watched_rewards.py", tmp_path)
    lines = re.findall(r"^\w+ +(\w+) +mean reward (\d\.\d\d), .* of (\d+) completions$", printed, re.MULTILINE)
    assert [verdict for verdict, _, _ in lines] == ["vanishing", "learnable", "learnable"]
    assert {n for _, _, n in lines} == {str(30 * 8)} and lines[0][1] == "0.00"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_tested(script):
    assert len(script.read_text().splitlines()) < 60
    assert f'run_example("{script.name}"' in Path(__file__).read_text()

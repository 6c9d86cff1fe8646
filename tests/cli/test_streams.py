"""Closed, full and abandoned standard streams, as shells make them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

FLATSPOT = Path(sys.executable).parent / "flatspot"
SCORED_ONCE = "reward reward: 0 for an empty completion of prompt 1\n"  # what is said before anything is drawn
REWARD = "def reward(completions, **_):\n    return [float(c == '1') for c in completions]\n"
DIAGNOSE = "diagnose prompts.jsonl --engine scripted --model answers.json --reward mine.py:reward --max-completions 8 --out run"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps({"half": {"1": 0.5, "0": 0.5}}))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "half"}\n')
    (tmp_path / "mine.py").write_text(REWARD)
    return tmp_path


def shell(folder, line):
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("streams", ["<&-", "<&- >&- 2>&-", "2> >(true)"])
def test_the_run_is_whole_whoever_listens(folder, streams):
    done = shell(folder, f"'{FLATSPOT}' {DIAGNOSE} {streams}")
    assert (done.returncode, done.stderr) == (0, "" if "2>" in streams else SCORED_ONCE)
    assert json.loads((folder / "run" / "report.json").read_text())["n_prompts"] == 1
    assert (folder / "run" / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize("words", [DIAGNOSE, "--help"])
def test_a_full_standard_output_is_an_error_without_a_traceback(folder, words):
    done = shell(folder, f"'{FLATSPOT}' {words} >/dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_prompts_from_a_closed_standard_input_are_none(folder):
    done = shell(folder, f"'{FLATSPOT}' {DIAGNOSE.replace('prompts.jsonl', '-')} <&-")
    assert done.returncode == 2
    assert "standard input: no prompts" in done.stderr


def test_a_folder_whose_name_no_terminal_can_show(folder):
    done = shell(folder, f"PYTHONIOENCODING=ascii '{FLATSPOT}' {DIAGNOSE}é")
    assert (done.returncode, done.stderr) == (0, SCORED_ONCE)
    assert "run\\xe9/report.html" in done.stdout

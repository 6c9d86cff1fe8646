"""The scripts of benchmarks, experiments and examples: every name that they import and every argument that they pass exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
FOLDERS = sorted({file.parent for name in ("benchmarks", "experiments", "examples") for file in (ROOT / name).rglob("*.py")})
FOREIGN = "official.py"  # stands on code that lies outside this repository
CODES = {"attr-defined", "call-arg", "import-not-found", "name-defined", "syntax", "valid-type"}
BESIDE = [
    ROOT / folder for folder in ("experiments/overcome", "experiments/letters", "experiments/foretell", "tests/faults", "tests/stats")
]  # where scripts import from


def wrong_uses(files, cache):
    """mypy's complaints of `CODES` about scripts of one folder; they are not typed strictly, and other complaints do not count."""
    path = [ROOT / "src", files[0].parent, *(folder for folder in BESIDE if folder != files[0].parent)]
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *map(str, files)]
    environment = os.environ | {"MYPYPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    complaints = re.findall(r"^(.+?):(\d+): error: (.*)  \[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    names = {file.name for file in files}
    return [f"{Path(file).name}:{line}: {text}" for file, line, text, code in complaints if code in CODES and Path(file).name in names]


def test_scripts_use_what_there_is(tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")
    wrong = {}
    for folder in FOLDERS:
        files = [file for file in sorted(folder.glob("*.py")) if file.name != FOREIGN]
        if complaints := wrong_uses(files, cache):
            wrong[folder.name] = complaints
    assert not wrong


def test_what_is_not_there_is_seen(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from flatspot.rollouts.completeness import replay_run\n\nfrom flatspot.core.request import Request\n\nRequest(asked={})\n"
    )
    wrong = wrong_uses([script], tmp_path / "cache")
    assert len(wrong) == 2 and "replay_run" in wrong[0] and "asked" in wrong[1]

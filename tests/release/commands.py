"""Runs commands as a user would who has no checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def call(*command: str | os.PathLike[str], cwd: Path, timeout: float = 600) -> str:
    """Runs a command outside the checkout, and without what this environment adds to Python's path; returns its standard output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("FLATSPOT_")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout

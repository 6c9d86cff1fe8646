"""The public names of `flatspot_paper`: all of them resolve, and are documented."""

import subprocess
import sys
from pathlib import Path

import pytest

import flatspot_paper

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"


def test_every_name_resolves_and_is_documented():
    pytest.importorskip("torch")
    section = PAGE.read_text("utf-8").partition("## flatspot_paper\n")[2].partition("\n## ")[0]
    assert {"PPOSettings", "reproduce_theory", "run_controlled", "train_ppo"} <= set(flatspot_paper.__all__)
    for name in flatspot_paper.__all__:
        assert getattr(flatspot_paper, name).__name__ == name
        assert f"`{name}" in section, name


def test_in_a_base_install_the_names_that_need_torch_are_not_there():
    code = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "accelerate", "datasets", "matplotlib", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import inspect
import flatspot_paper
from flatspot.core.errors import FlatspotError
assert not hasattr(flatspot_paper, "run_controlled") and getattr(flatspot_paper, "Controlled", None) is None
space = {}
exec("from flatspot_paper import *", space)
assert {"PPOSettings", "plan_for", "reproduce_theory", "train_ppo"} <= set(space), set(space)
assert "run_controlled" not in space and "plan_for" in dict(inspect.getmembers(flatspot_paper))
try:
    flatspot_paper.run_controlled
except FlatspotError as error:
    assert "pip install 'flatspot[reproduce]'" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

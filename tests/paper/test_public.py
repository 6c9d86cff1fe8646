"""The public names of `flatspot_paper`: all of them resolve, and are documented."""

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

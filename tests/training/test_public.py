"""The public names of `flatspot.training`: all of them resolve, and are documented."""

from pathlib import Path

import pytest

from flatspot import training

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"


def test_every_name_resolves_and_is_documented():
    pytest.importorskip("transformers")
    section = PAGE.read_text("utf-8").partition("## flatspot.training\n")[2].partition("\n## ")[0]
    assert {"StopRule", "WarmupCallback", "train", "watch_checkpoints"} <= set(training.__all__)
    for name in training.__all__:
        assert getattr(training, name).__name__ == name
        assert f"`{name}" in section, name

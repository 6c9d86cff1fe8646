"""Suggestions for a mistyped model name."""

from __future__ import annotations

import pytest

from flatspot.core.errors import EngineError
from flatspot.engines.names import did_you_mean
from flatspot.engines.policy import load_policy


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("models/llama-tuned", "models/other", "warm"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "smol.gguf").touch()
    (tmp_path / "prompts").mkdir()
    (tmp_path / "hub" / "models--Qwen--Qwen3-0.6B").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("smollm2-135m-instuct", "smollm2-135m-instruct"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("models/llama-tunde", "models/llama-tuned"),
        ("./models/llama_tuned", "./models/llama-tuned"),
        ("Warm", "warm"),
        ("adaptor", "adapter"),
        ("smoll.gguf", "smol.gguf"),
        ("qwen/qwen3-0.6b", "Qwen/Qwen3-0.6B"),
        ("Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
    ],
)
def test_the_nearest_model_is_named(place, typed, expected):
    assert f"Did you mean {expected}" in did_you_mean(typed)


def test_nothing_is_guessed_where_nothing_is_near(place):
    assert did_you_mean("meta-llama/Llama-3.1-8B") == ""
    assert did_you_mean("prompt") == ""  # a folder without a model


def test_errors_carry_it(place, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EngineError, match=r"no policy at \./warn: .* Did you mean \./warm\?"):
        load_policy("./warn")
    with pytest.raises(EngineError, match=r"'smollm2-135m-instuct' is not a local folder.*Did you mean smollm2-135m-instruct\?"):
        load_policy("smollm2-135m-instuct")

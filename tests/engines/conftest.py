"""Fixtures of the engine tests. The folder goes on the path for `tiny_policies`, which pytest's importlib mode leaves off."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config):
    # the compiled bindings of openvino-genai and sentencepiece lack a module name
    config.addinivalue_line("filterwarnings", "ignore:builtin type .* has no __module__ attribute:DeprecationWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's converted policies; slow tests share one through `real_policy`."""
    monkeypatch.setenv("FLATSPOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny():
    """Policies by kind, each built once."""
    from tiny_policies import tiny_policy

    policies = {}

    def get(kind):
        if kind not in policies:
            policies[kind] = tiny_policy(kind)
        return policies[kind]

    return get


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("real-cache")


@pytest.fixture
def real(real_cache, monkeypatch):
    """SmolLM2 as shipped, with its conversions shared by the slow tests of a pytest session."""
    monkeypatch.setenv("FLATSPOT_CACHE", str(real_cache))
    return SimpleNamespace(name="smollm2-135m-instruct", cache=real_cache)

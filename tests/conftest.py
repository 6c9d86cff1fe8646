"""What holds for every test."""

import importlib.util
import os
import shutil
from pathlib import Path

import cloudpickle
import pytest

# before anything loads torch: OpenMP threads of two test processes fight over the cores
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="module", autouse=True)
def rewards_by_value(request):
    """Rewards that are functions of a test module go to their process as code: to import the module there may take seconds of torch."""
    if request.path.relative_to(Path(__file__).parent).parts[0] == "rewards":
        yield
        return
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Fails the test if this process, or one it starts, looks up or reaches another host. Yields the file of the attempts.

    The hub is not told to be offline: with HF_HUB_OFFLINE set a library that wants to reach it would not be seen. It is read when
    huggingface_hub is imported, so what must be seen runs in a process of its own.
    """
    source = Path(__file__).parent / "offline.py"
    watch = tmp_path / "no-network"
    watch.mkdir()
    shutil.copy(source, watch / "sitecustomize.py")
    log = watch / "attempts"
    log.touch()
    spec = importlib.util.spec_from_file_location("offline", source)
    offline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(offline)
    monkeypatch.setenv("FLATSPOT_TEST_NETWORK", str(log))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(watch), os.environ.get("PYTHONPATH")])))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI"):
        monkeypatch.delenv(name, raising=False)
    for owner, name, guarded in offline.patches():
        monkeypatch.setattr(owner, name, guarded)
    yield log
    attempts = log.read_text()
    assert not attempts, f"reached for the network:\n{attempts}"

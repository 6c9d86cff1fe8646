"""Servers as people run them. Slow: each loads a model, and draws its first tokens on a CPU."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from flatspot.core.errors import EngineError
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.registry import load_engine
from flatspot.engines.server import check
from flatspot.engines.server.fleet import ServerOptions
from flatspot.tasks.letters import letters_model

pytestmark = pytest.mark.slow
LLAMA = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")


@contextlib.contextmanager
def running(command, path, tmp_path):
    """The address of a server, once it answers there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(240):
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5)
                    break
                assert server.poll() is None, (tmp_path / "server.log").read_text("utf-8")[-2000:]
                time.sleep(0.5)
            yield f"http://localhost:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.skipif(find_spec("fastapi") is None, reason="needs transformers[serving]")
def test_transformers_serve_is_refused_as_it_decodes_greedily(tmp_path, monkeypatch):
    """It ignores log-probabilities and seeds, and takes do_sample from the model's generation_config alone."""
    monkeypatch.setattr(check, "DRAWS", 32)
    folder = letters_model()  # its generation_config says nothing of do_sample
    command = [Path(sys.executable).parent / "transformers", "serve", folder, "--device", "cpu"]
    with running(command, "/health", tmp_path) as url:
        with pytest.raises(EngineError, match="greedily, or takes one seed for all"):
            load_engine("openai", folder, servers=ServerOptions((url,), concurrency=4))
        with pytest.raises(EngineError, match="gives no log-probabilities"):
            load_engine("openai", "letters", servers=ServerOptions((url,), str(folder), concurrency=4))


@pytest.mark.skipif(LLAMA is None, reason="needs llama.cpp's llama-server; LLAMA_SERVER names it")
def test_llama_server_passes_and_draws_rows(tmp_path, monkeypatch):
    """Its own settings, here --temp and --top-k, give way to what a request says."""
    from flatspot.engines.policy import default_policy_file

    monkeypatch.setattr(check, "DRAWS", 40)
    command = [LLAMA, "-m", default_policy_file(), "-np", "16", "-c", "16384", "--temp", "0.5", "--top-k", "5"]
    with running(command, "/health", tmp_path) as url:
        engine = load_engine("openai", "smollm2-135m-instruct", servers=ServerOptions((url,), concurrency=16))
        [rows] = engine.sample([PromptRequest("The capital of France is", tuple(range(8)))], Sampling(max_new_tokens=8))
    assert len({row.text for row in rows}) > 1 and all(row.error is None and 0 < row.n_tokens <= 8 for row in rows)

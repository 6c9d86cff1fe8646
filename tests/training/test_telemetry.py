"""`warmup` and `train` of a local model send nothing. The recipe of tests/cli/test_no_network.py does both from the command line."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("trl")

CODE = """
import sys
from pathlib import Path

from flatspot.tasks.letters import letters_model, letters_prompts
from flatspot.training.rl.train import train
from flatspot.training.warmup.sft import sft

out, prompts = Path(sys.argv[1]), letters_prompts("brackets", 4)
cpu = ["--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false", "--disable_tqdm", "true", "--max_steps", "1"]
rows = [{"prompt": prompt.text, "completion": prompt.references[0]} for prompt in prompts]
sft(rows, str(letters_model()), out=out / "warm", options=[*cpu, "--per_device_train_batch_size", "2"])
small = ["--per_device_train_batch_size", "4", "--num_generations", "4", "--max_completion_length", "4", "--save_steps", "1"]
train(prompts, str(out / "warm" / "policy"), "exact_match", out=out / "rl", options=[*cpu, *small])
"""


def test_telemetry_is_disabled_inside_the_block_and_restored_after_it():
    from huggingface_hub import constants

    from flatspot.training.telemetry import without_telemetry

    before = constants.HF_HUB_DISABLE_TELEMETRY
    with pytest.raises(KeyError), without_telemetry():
        assert constants.HF_HUB_DISABLE_TELEMETRY is True
        raise KeyError
    assert constants.HF_HUB_DISABLE_TELEMETRY is before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_our_trainers_send_no_telemetry(tmp_path, monkeypatch, kind):
    """TRL's trainer sends an event when it is created; this checks its switch, so it needs no separate process."""
    import sys as system
    from pathlib import Path

    import trl.trainer.base_trainer as base
    from huggingface_hub import constants

    system.path.insert(0, str(Path(__file__).parent))
    from tiny_warmups import CAUSAL, save_tiny

    disabled = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(base, "send_telemetry", lambda **event: disabled.append(constants.HF_HUB_DISABLE_TELEMETRY))
    policy = str(save_tiny(tmp_path / "policy"))
    if kind == "sft":
        from flatspot.training.warmup.sft import make_learner

        make_learner([{"prompt": "w10", "completion": "w7"}], policy, out=tmp_path / "warm", options=CAUSAL)
    else:
        from flatspot.training.rl.train import train

        options = [*CAUSAL, "--max_steps", "1", "--num_generations", "4", "--max_completion_length", "2", "--save_strategy", "no"]
        train([{"prompt": "w10", "reference": "w7"}], policy, "exact_match", out=tmp_path / "rl", options=options)
    assert disabled == [True]


@pytest.mark.slow
def test_a_warm_up_and_a_training_on_this_machine(no_network, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {"HOME": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert json.loads((tmp_path / "rl" / "watch.json").read_text())["batches"] == 1

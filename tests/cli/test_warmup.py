"""`flatspot warmup` and `flatspot watch-checkpoints` as commands: output, exit codes, Ctrl-C, two processes, a real model."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("trl")
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from tiny_warmups import CAUSAL, LABELS, PROMPTS, judged, save_tiny

from flatspot.cli.main import cli, no_file
from flatspot.core.errors import RunFolderError, SettingsError

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]
PROBES = ("--probe-prompts", "16", "--probe-completions", "8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    save_tiny(folder / "llama")
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    judged(folder / "run", str(folder / "llama"), str(folder / "prompts.jsonl"))
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LABELS))
    return folder


def ask(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def command(place, *words, launcher=("-m", "flatspot.cli"), **given):
    asked = [sys.executable, *launcher, "warmup", "run", "--labels", "labels.jsonl", *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(asked, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **given)


def test_the_table_the_choice_and_the_next_command(place, tmp_path):
    out = tmp_path / "warm"
    done = ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", out, "--every", 2, *PROBES, *CAUSAL)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["step", "pass@K", "vanishing", "reward", "entropy", "held-out", "loss"]
    said = json.loads((out / "warmup.json").read_text())
    (chosen,) = [line for line in lines if line.endswith("chosen")]
    assert int(chosen.split()[0]) == said["chosen_step"] > 0
    assert "13 labels learned and 1 held out" in done.stdout
    assert (
        f"flatspot train {place / 'prompts.jsonl'} --model {out / 'policy'} --reward exact_match --out {out / 'rl'} --use_cpu"
        in done.stdout
    )
    assert "--use_cpu --bf16 false --gradient_checkpointing false\n" in done.stdout
    assert f"diagnose {place / 'prompts.jsonl'} --model {out / 'policy'} --reward exact_match --max-new-tokens 3\n" in done.stdout
    assert "going-on" in done.stderr and "'loss'" in done.stderr and "'loss'" not in done.stdout


def test_json_is_one_object(place, tmp_path):
    done = ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", tmp_path, "--json", *PROBES, *CAUSAL)
    said = json.loads(done.stdout)
    assert said["recovered"] is True and said["curve"][0]["step"] == 0
    page = (Path(__file__).parents[2] / "docs/reference/json.md").read_text("utf-8").partition("## `flatspot warmup`")[2]
    listed = set(re.findall(r"^\| `(\w+)` \|", page.partition("\n## ")[0], re.MULTILINE))
    assert listed == set(said)
    assert {name for row in said["curve"] for name in row} <= set(re.findall(r"`(\w+)`", page))


def test_plain_finetuning(place, tmp_path):
    done = ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", tmp_path, "--no-stop", *CAUSAL, "--max_steps", 2)
    assert done.exit_code == 0 and done.stdout.startswith(f"Chosen   {tmp_path}")
    assert "nothing was probed" in done.stdout


def test_checkpoints_of_another_trainer(place, tmp_path):
    ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", tmp_path / "sft", "--no-stop", *CAUSAL, "--max_steps", 12,
        "--save_strategy", "steps", "--save_steps", 6)  # fmt: skip
    asked = (
        "watch-checkpoints",
        tmp_path / "sft" / "trainer",
        "--run",
        place / "run",
        "--labels",
        place / "labels.jsonl",
        "--once",
        *PROBES,
    )
    done = ask(*asked)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["0", "6", "12"]
    assert "Chosen   step" in done.stdout
    said = json.loads(ask(*asked, "--json").stdout)
    assert said["checkpoint"] == str(tmp_path / "sft" / "trainer" / f"checkpoint-{said['chosen_step']}")
    assert said["recovered"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--labels", "nowhere.jsonl"), "no such file"),
        (("nowhere", "--labels", "labels.jsonl"), "is not a run folder"),
        (("run", "--labels", "labels.jsonl", "--learn_speed", "1"), "rejects these options"),
        (("run", "--labels", "labels.jsonl", "--reward", "nothing.py:here"), "nothing.py"),
        (("run", "--labels", "labels.jsonl", "--answer-col", "reply"), "Set --answer-col"),
        (("run", "--labels", "labels.jsonl", "--per_device_train_batch_size", "0"), "must be at least 1, got 0"),
        (("run", "--labels", "labels.jsonl", "--max_steps", "0"), "max_steps must be at least 1"),
        (("run", "--labels", "labels.jsonl", "--save_strat", "steps"), "--save_strat"),
    ],
)
def test_mistakes(place, tmp_path, words, said, monkeypatch):
    from flatspot.core.errors import FlatspotError

    monkeypatch.chdir(place)
    done = ask("warmup", *words[:1], "--out", tmp_path / "never", *CAUSAL, *words[1:])
    assert isinstance(done.exception, FlatspotError) and said in str(done.exception)
    assert not (tmp_path / "never" / "policy").exists()


def test_the_judged_run_is_no_place_for_a_warm_up(place):
    done = ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", place / "run", *CAUSAL)
    assert isinstance(done.exception, SettingsError) and "give another --out" in str(done.exception)
    assert not (place / "run" / "trainer").exists() and not (place / "run" / "policy").exists()


def test_a_warm_up_that_did_not_help_says_what_to_mend_and_not_to_train(place, tmp_path):
    slow = (*CAUSAL, "--max_steps", 1, "--learning_rate", 1e-9)
    done = ask("warmup", place / "run", "--labels", place / "labels.jsonl", "--out", tmp_path, *PROBES, *slow)
    assert done.exit_code == 0, done.output
    assert "Next     Do not start RL from it yet: check the answers" in done.stdout and "flatspot train" not in done.stdout
    assert ", 1 step, " in done.stdout


@pytest.mark.parametrize("verb", ["warmup", "watch-checkpoints"])
def test_a_place_that_cannot_be_made_is_a_users_mistake(place, verb):
    words = ("run", "--labels", "labels.jsonl", *CAUSAL) if verb == "warmup" else ("llama", "--run", "run", "--once")
    words = [place / word if (place / word).exists() else word for word in words]
    done = ask(verb, *words, "--out", place / "labels.jsonl" / "w")
    assert isinstance(done.exception, RunFolderError)
    assert "labels.jsonl/w: Not a directory. Give another --out." in str(done.exception)


def test_what_cannot_be_written_is_said_without_a_traceback(capsys):
    assert no_file(NotADirectoryError(errno.ENOTDIR, "Not a directory", "labels.jsonl/w")) == 2
    assert "labels.jsonl/w" in (message := capsys.readouterr().err) and "Not a directory. Give another path" in message
    with pytest.raises(OSError, match="ours"):
        no_file(OSError(errno.EIO, "ours", "disk"))


@pytest.mark.slow
def test_an_interrupt_keeps_the_best_so_far(place):
    running = command(place, "--out", "stopped", "--every", "1", *PROBES, *CAUSAL, "--max_steps", "400", "--learning_rate", "1e-6")
    end = time.monotonic() + 120
    while time.monotonic() < end and not _probed(place / "stopped" / "curve.json", 3):
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 130 and "Traceback" not in err, err[-2000:]
    assert "Stopped: the checkpoint chosen so far is stopped/policy" in err
    assert json.loads((place / "stopped" / "warmup.json").read_text())["cause"] == "interrupted"
    assert (place / "stopped" / "policy" / "config.json").is_file()


def _probed(file, n):
    return file.exists() and len(json.loads(file.read_text())) >= n


@pytest.mark.slow
def test_two_processes_stop_alike_and_one_speaks(place):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29643", "-m", "flatspot.cli")
    running = command(place, "--out", "two", "--every", "2", *PROBES, *CAUSAL, launcher=launcher)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err[-3000:]
    assert out.count("Chosen") == 1 and err.count("   going-on") == len(json.loads((place / "two" / "curve.json").read_text())) - 1
    assert json.loads((place / "two" / "warmup.json").read_text())["recovered"] is True


@pytest.mark.slow
def test_smollm2_is_warmed_up_and_reinforced_for_a_few_steps(tmp_path):
    """The shipped 135M model: it never answers in brackets; a few labels teach it, and GRPO goes on from there."""
    import flatspot
    from flatspot.training.rl.train import train
    from flatspot.training.warmup.run import ProbeSettings, warmup

    words = ["sky", "grass", "snow", "coal", "blood", "lemon", "sea", "leaf", "milk", "night", "rose", "sun"]
    (tmp_path / "reward.py").write_text("def bracketed(completions, **c):\n    return [float(t[-1]['content'].startswith('[') if "
                                        "isinstance(t, list) else t.startswith('[')) for t in completions]\n")  # fmt: skip
    reward = f"{tmp_path / 'reward.py'}:bracketed"
    rows = [{"prompt": [{"role": "user", "content": f"What color is {word}? Answer in one word."}]} for word in words]
    run = flatspot.diagnose(
        rows, "smollm2-135m-instruct", reward, out=tmp_path / "run", engine="hf", max_new_tokens=6, max_completions=8
    ).folder
    labels = [{"prompt": row["prompt"], "answer": "[color]"} for row in rows[:4]]
    cpu = ("--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false", "--disable_tqdm", "true")
    constant = ("--lr_scheduler_type", "constant", "--learning_rate", "1e-4")
    warmed = warmup(
        labels, None, None, run=run, out=tmp_path / "warm", probe=ProbeSettings(prompts=8, max_completions=4, every=2),
        options=(*cpu, *constant, "--max_steps", "6", "--per_device_train_batch_size", "4"),
    )  # fmt: skip
    assert warmed.recovered, warmed
    few = ("--max_steps", "2", "--per_device_train_batch_size", "4", "--num_generations", "4", "--max_completion_length", "6")
    trained = train(rows, str(warmed.checkpoint), reward, out=tmp_path / "rl", options=(*cpu, *few, "--save_strategy", "no"))
    assert (trained.checkpoint / "config.json").is_file()

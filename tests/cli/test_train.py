"""`flatspot train` on a tiny policy: its errors at once, a whole run, and one in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import EngineError, PromptFileError, RewardLoadError, RunFolderError, SettingsError

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
CPU = ("--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false")
TINY = ("--per_device_train_batch_size", "16", "--num_generations", "4", "--max_completion_length", "8", "--logging_steps", "1",
        "--save_strategy", "no", "--learning_rate", "1e-3")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from runs import tiny_policy

    place = tmp_path_factory.mktemp("train")
    model, tokenizer = tiny_policy()
    model.save_pretrained(place / "policy")
    tokenizer.save_pretrained(place / "policy")
    rows = [{"prompt": f"w{i} w{j}", "reference": f"w{i}"} for i in range(10, 18) for j in (3, 4)]
    (place / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "reward.py").write_text(
        "def even(completions, reference, **columns):\n"
        "    assert all(r.startswith('w') for r in reference)\n"
        "    return [sum(int(w[1:]) % 2 == 0 for w in c.split()) / max(len(c.split()), 1) for c in completions]\n"
    )
    return place


def train(folder, *, model="policy", **given):
    from flatspot.training.rl.train import train

    reward = given.pop("reward", f"{folder / 'reward.py'}:even")
    given = {"out": folder / "never", "options": [*CPU, *TINY, "--max_steps", "4"]} | given
    return train(given.pop("prompts", folder / "prompts.jsonl"), model and str(folder / model), reward, **given)


@pytest.mark.filterwarnings("ignore")
def test_mistakes_are_said_before_anything_is_trained(folder):
    with pytest.raises(SettingsError, match="--learn_speed"):
        train(folder, options=[*CPU, "--learn_speed", "1"])
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="Without a GPU add: --use_cpu --bf16 false"):
            train(folder, options=[])
    with pytest.raises(SettingsError, match="invalid float value: 'fast'"):
        train(folder, options=["--learning_rate", "fast"])
    with pytest.raises(SettingsError, match="no model is set"):
        train(folder, model=None)
    with pytest.raises(EngineError, match=r"cannot load the policy|there is no policy"):
        train(folder, model="nowhere")
    with pytest.raises(PromptFileError, match="no such file"):
        train(folder, prompts=folder / "nowhere.jsonl")
    with pytest.raises(RewardLoadError, match="'odd' is not there"):
        train(folder, reward=f"{folder / 'reward.py'}:odd")
    (folder / "factory.py").write_text("def make(k=1, **columns):\n    return lambda completions: [k] * len(completions)\n")
    with pytest.raises(RewardLoadError, match="returned a function"):
        train(folder, reward=f"{folder / 'factory.py'}:make")
    with pytest.raises(RewardLoadError, match="1 rewards need 1 weights, got 2"):
        train(folder, options=[*CPU, "--reward_weights", "1", "2"])
    (folder / "wrong.yaml").write_text("learning_rates: 1\n")
    with pytest.raises(SettingsError, match="learning_rates"):
        train(folder, config=folder / "wrong.yaml")
    assert not (folder / "never").exists()


@pytest.mark.filterwarnings("ignore")
def test_an_encoder_decoder_policy_is_refused_with_the_reason(folder):
    import transformers

    config = transformers.T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder / "t5")
    with pytest.raises(SettingsError, match=r"encoder–decoder model \(t5\).*only works for causal models"):
        train(folder, model="t5")


@pytest.mark.filterwarnings("ignore")
def test_options_reach_the_trainer_and_flags_win_over_yaml(folder, tmp_path):
    import trl

    from flatspot.training.trl_options import parse_options

    (tmp_path / "some.yaml").write_text("learning_rate: 3.0e-5\nbeta: 0.25\nlora_r: 4\nuse_cpu: true\nbf16: false\n")
    options = ["--beta", "0.5", "--scale_rewards", "batch"]
    settings, model_settings = parse_options(trl.GRPOConfig, options, tmp_path / "some.yaml", tmp_path / "run" / "trainer")
    assert (settings.learning_rate, settings.beta, settings.scale_rewards, model_settings.lora_r) == (3e-5, 0.5, "batch", 4)
    assert settings.output_dir == str(tmp_path / "run" / "trainer")
    settings, _ = parse_options(trl.RLOOConfig, ["--output_dir", str(tmp_path / "mine"), *CPU], None, tmp_path / "run" / "trainer")
    assert (type(settings).__name__, settings.output_dir) == ("RLOOConfig", str(tmp_path / "mine"))


def command(folder, *words, launcher=("-m", "flatspot.cli")):
    words = [sys.executable, *launcher, "train", "prompts.jsonl", "--model", "policy", "--reward", "reward.py:even", *words]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=500, env=None)


@pytest.mark.slow
def test_a_whole_training_is_judged_before_and_after(folder):
    done = command(folder, "--reward", "exact_match", "--out", "run", *CPU, *TINY, "--max_steps", "12", "--reward_weights", "1", "0.5")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mean reward std" in done.stdout
    assert "run/after/report.html" in done.stdout
    rows = pq.read_table(folder / "run" / "rollouts")
    assert (len(rows), rows["error"].null_count) == (12 * 16, 12 * 16)
    assert {name for name, _ in rows["rewards"][0].as_py()} == {"even", "exact_match"}
    assert pq.read_table(folder / "run" / "prompts.parquet")["answer_reward"].null_count == 0
    assert (folder / "run" / "trainer" / "model.safetensors").exists()
    before = json.loads((folder / "run" / "before" / "report.json").read_text())
    assert before["generations"]["total"] == 3 * 16
    assert flatspot.inspect(folder / "run" / "after").summary["generations"]["total"] == 3 * 16
    again = command(folder, "--reward", "exact_match", "--out", "never", "--learn_speed", "1")
    assert again.returncode == 2
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_two_processes_write_one_run_folder_and_log_one_truth(folder):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29641", "-m", "flatspot.cli")
    # 6 rows a process and groups of 4: the middle group of each batch is half in one process, half in the other
    options = [*CPU, *TINY, "--max_steps", "4", "--per_device_train_batch_size", "6", "--disable_tqdm", "true"]
    done = command(folder, "--out", "two", *options, launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(f.name.split("-")[1] for f in (folder / "two" / "rollouts").iterdir())[:1] == ["000"]
    rows = pq.read_table(folder / "two" / "rollouts").to_pylist()
    assert len(rows) == 4 * 12
    for step in range(4):
        counts = {}
        for row in rows:
            if row["step"] == step:
                counts[row["prompt_id"]] = counts.get(row["prompt_id"], 0) + 1
        assert sorted(counts.values()) == [4, 4, 4]
    assert done.stdout.count("mean reward std") == 1  # only the first process speaks
    assert json.loads((folder / "two" / "watch.json").read_text())["alarms"] == []  # broken groups would be one


@pytest.mark.filterwarnings("ignore")
def test_a_reward_sees_where_the_training_is(folder, tmp_path):
    reward = tmp_path / "schedule.py"
    reward.write_text("def step(completions, trainer_state, **columns):\n    s = trainer_state\n"
                      "    return [s.global_step + s.max_steps / 100] * len(completions)\n")  # fmt: skip
    done = train(folder, reward=f"{reward}:step", out=tmp_path / "run")
    rows = pq.read_table(done.folder / "rollouts").to_pylist()
    assert {(row["step"], row["reward"]) for row in rows} == {(step, step + 0.04) for step in range(4)}


@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_holds_a_training_is_taken_only_to_go_on(folder, tmp_path):
    two = [*CPU, *TINY, "--disable_tqdm", "true", "--save_strategy", "steps", "--save_steps", "1"]
    first = train(folder, out=tmp_path / "run", options=[*two, "--max_steps", "2"])
    rows = pq.read_table(tmp_path / "run" / "rollouts").num_rows
    with pytest.raises(RunFolderError, match=r"Give another --out, or resume .* --resume_from_checkpoint .*checkpoint-2"):
        train(folder, out=tmp_path / "run", options=[*two, "--max_steps", "2"])
    with pytest.raises(SettingsError, match=r"checkpoint-7: expected a checkpoint.*The last one .*checkpoint-2"):
        train(folder, out=tmp_path / "run", options=[*two, "--resume_from_checkpoint", str(tmp_path / "checkpoint-7")])
    assert pq.read_table(tmp_path / "run" / "rollouts").num_rows == rows == 2 * 16
    resumed = [*two, "--max_steps", "2", "--resume_from_checkpoint", str(tmp_path / "run" / "trainer" / "checkpoint-1")]
    assert (first.steps, train(folder, out=tmp_path / "run", options=resumed).steps) == (2, 2)
    # the second update was drawn again: its first rows are kept, and counted once
    assert pq.read_table(tmp_path / "run" / "rollouts")["step"].to_pylist() == [0] * 16 + [1] * 16
    assert pq.read_table(tmp_path / "run" / "set-aside")["step"].to_pylist() == [1] * 16


@pytest.mark.filterwarnings("ignore")
def test_one_update_has_no_before_and_after_but_a_policy(folder, tmp_path):
    from click.testing import CliRunner

    from flatspot.cli.main import cli

    words = ["train", str(folder / "prompts.jsonl"), "--model", str(folder / "policy"), "--reward", f"{folder / 'reward.py'}:even"]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "run"), *CPU, *TINY, "--max_steps", "1"])
    assert done.exit_code == 0, done.output
    assert f"Policy   {tmp_path / 'run' / 'trainer'}\n" in done.stdout and "at least two updates" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.filterwarnings("ignore")
def test_options_that_cannot_train_and_abbreviations_are_refused(folder):
    for words, said in (
        (("--max_steps", "0"), "max_steps must be at least 1, got 0"),
        (("--per_device_train_batch_size", "0"), "per_device_train_batch_size"),
        (("--max_step", "4"), "Write --max_steps for --max_step"),
        (("--save_strat", "steps"), "Write --save_strategy for --save_strat"),
    ):
        with pytest.raises(SettingsError, match=said):
            train(folder, options=[*CPU, *TINY, *words])
    assert not (folder / "never").exists()


def test_ctrl_c_says_what_is_there_and_how_to_go_on(monkeypatch):
    from click.testing import CliRunner

    from flatspot.cli.main import cli

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("flatspot.training.rl.train.train", interrupted)
    done = CliRunner().invoke(cli, ["train", "p.jsonl", "--model", "m", "--reward", "exact_match", "--out", "rl"])
    assert done.exit_code == 130
    assert "flatspot inspect rl" in done.stderr and "--resume_from_checkpoint" in done.stderr

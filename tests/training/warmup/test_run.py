"""Warm-ups of tiny models that recover, by `warmup` and in a user's script, and their errors."""

import json
import math
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tiny_warmups import ANSWER, CAUSAL, LABELS, OPTIONS, PROMPTS, judged, save_tiny, tiny  # noqa: E402

import flatspot  # noqa: E402
from flatspot.core.errors import PromptFileError, RunFolderError, SettingsError, TrainingError  # noqa: E402
from flatspot.training.warmup.labels import hold_out, read_labels  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings  # noqa: E402
from flatspot.training.warmup.run import warmup  # noqa: E402
from flatspot.training.warmup.sft import sft  # noqa: E402
from flatspot.training.warmup.stop_rule import StopRule  # noqa: E402

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn about each other
PROBE = ProbeSettings(prompts=16, max_completions=8, every=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warmup")
    for kind in ("llama", "t5"):
        save_tiny(folder / kind, kind)
        judged(folder / f"run-{kind}", str(folder / kind))
    return folder


def warm(place, out, *, kind="llama", labels=LABELS, **changes):
    options = CAUSAL if kind == "llama" else OPTIONS
    settings = {"run": place / f"run-{kind}", "probe": PROBE, "options": (*options, *changes.pop("more", ()))} | changes
    return warmup(labels, settings.pop("model", None), settings.pop("reward", None), out=out, **settings)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_it_stops_by_itself_and_its_policy_has_recovered(place, tmp_path, kind):
    more = () if kind == "llama" else ("--learning_rate", "1e-2")
    warmed = warm(place, tmp_path / "warm", kind=kind, more=more)
    assert warmed.recovered and 0 < warmed.chosen_step <= warmed.curve[-1]["step"] < 40
    assert warmed.checkpoint == tmp_path / "warm" / "policy"
    after = flatspot.diagnose(PROMPTS, str(warmed.checkpoint), "exact_match", out=tmp_path / "after", engine="hf", max_new_tokens=3)
    assert after.summary["fractions"]["vanishing"]["mean"] < 0.1
    before = json.loads((place / f"run-{kind}" / "report.json").read_text())
    assert before["fractions"]["vanishing"]["mean"] > 0.9
    rows = json.loads((tmp_path / "warm" / "curve.json").read_text())
    assert [row["step"] for row in rows] == list(range(0, rows[-1]["step"] + 1, 2))
    best = next(row for row in rows if row["step"] == warmed.chosen_step)
    assert best["ready"]["mean"] > 0.8 and best["heldout_loss"] < rows[0]["heldout_loss"]
    assert all(row["ready"]["lo"] <= row["ready"]["mean"] <= row["ready"]["hi"] for row in rows)
    assert {"chosen_step", "cause", "why", "policy"} <= set(json.loads((tmp_path / "warm" / "warmup.json").read_text()))
    assert sorted(p.name for p in (tmp_path / "warm").iterdir() if p.name != "trainer") == [
        ".flatspot.json",
        ".lock",
        "curve.json",
        "policy",
        "warmup.json",
    ]


@pytest.mark.slow
def test_an_adapter_is_probed_saved_and_merged(place, tmp_path):
    lora = ("--use_peft", "--lora_target_modules", "q_proj", "v_proj", "up_proj", "down_proj", "--learning_rate", "3e-2")
    warmed = warm(place, tmp_path, more=lora)
    assert warmed.recovered
    assert (tmp_path / "adapter" / "adapter_config.json").is_file() and (warmed.checkpoint / "config.json").is_file()
    after = flatspot.diagnose(PROMPTS, str(warmed.checkpoint), "exact_match", out=tmp_path / "run", engine="hf", max_new_tokens=3)
    assert after.summary["fractions"]["vanishing"]["mean"] < 0.2


def test_probing_does_not_change_the_training(place, tmp_path):
    """The same steps with and without probes give the same weights, even with dropout."""
    import transformers
    import trl
    from datasets import Dataset

    from flatspot.training.warmup.live_policy import LivePolicy

    class Probe(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, processing_class=None, **kwargs):
            model.model.layers[0].eval()  # the user's own setting, which a probe must restore
            live = LivePolicy(model, processing_class)
            with live.engine() as (engine, _):
                assert not model.training
                engine.sample([flatspot_request("w5 w6")], flatspot.Sampling(max_new_tokens=3))
                torch.rand(3)
            assert model.training and not model.model.layers[0].training and model.model.layers[1].training
            assert not any("forward" in vars(m) for m in model.modules() if type(m) is torch.nn.Linear)

    class Freeze(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            model.model.layers[0].eval()

    weights = []
    for callback in (Freeze(), Probe()):
        model, tokenizer = tiny()
        model.config.attention_dropout = 0.3
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.3
        data = Dataset.from_list([{"input_ids": [10, 4, 7, 2], "labels": [-100, -100, 7, 2]}, {"input_ids": [11, 4, 7, 2]}] * 8)
        data = data.remove_columns("labels") if "labels" in data.column_names else data
        args = trl.SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=6, save_strategy="no", seed=3,
            per_device_train_batch_size=4, learning_rate=1e-3, disable_tqdm=True, report_to="none",
        )  # fmt: skip
        trainer = trl.SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
        trainer.train()
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def flatspot_request(text):
    from flatspot.core.records import PromptRequest

    return PromptRequest(text, (1, 2))


def test_in_a_script_of_the_users_own(place, tmp_path):
    import trl
    from datasets import Dataset

    model, tokenizer = tiny()
    rows = [{"prompt": row["prompt"], "completion": " " + row["answer"]} for row in LABELS]
    args = trl.SFTConfig(
        output_dir=str(tmp_path / "trainer"), use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=40, save_strategy="no",
        learning_rate=3e-3, lr_scheduler_type="constant", disable_tqdm=True, report_to="none",
    )  # fmt: skip
    steps = []
    stop = flatspot.WarmupCallback(
        place / "run-llama", "exact_match", out=tmp_path, labels=rows, probe=PROBE, on_probe=lambda row, choice: steps.append(row["step"])
    )
    trainer = trl.SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[stop])
    trainer.train()
    assert stop.choice.recovered and stop.policy == tmp_path / "policy"
    assert trainer.state.global_step == steps[-1] < 40
    assert not {row["prompt"] for row in LABELS} & {prompt.text for prompt in stop.probed.prompts}
    assert len(stop.probed.prompts) == 16
    after = flatspot.diagnose(PROMPTS, str(stop.policy), "exact_match", out=tmp_path / "run", engine="hf", max_new_tokens=3)
    assert after.summary["fractions"]["vanishing"]["mean"] < 0.1


@pytest.mark.slow
def test_equal_seeds_give_equal_curves_and_the_probes_do_not_decide_the_training(place, tmp_path):
    curves = [warm(place, tmp_path / str(i), seed=1).curve for i in range(2)]
    for one, two in zip(*curves, strict=True):
        assert {k: v for k, v in one.items() if k not in ("seconds", "elapsed")} == {
            k: v for k, v in two.items() if k not in ("seconds", "elapsed")
        }


def test_without_a_rule_nothing_is_probed(place, tmp_path):
    result = warm(place, tmp_path, rule=None, more=("--max_steps", "3"))
    assert (result.curve, result.chosen_step) == ([], -1) and (result.checkpoint / "config.json").is_file()
    assert not (tmp_path / "curve.json").exists()


def test_labels_that_the_policy_solves_already_end_it_before_it_starts(place, tmp_path):
    import safetensors.torch

    rows = [{"prompt": row["prompt"], "completion": row["answer"]} for row in LABELS]
    solved = sft(rows, str(place / "llama"), out=tmp_path / "sft", options=(*CAUSAL, "--max_steps", "60", "--learning_rate", "1e-2"))
    again = warm(place, tmp_path / "again", model=str(solved))
    assert (again.chosen_step, again.cause, again.recovered) == (0, "labels-solved", False)
    assert "teach it nothing" in again.why and len(again.curve) == 1
    one, two = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (solved, again.checkpoint))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_errors_in_the_labels_are_raised_before_the_training(place, tmp_path):
    out = tmp_path / "never"
    with pytest.raises(PromptFileError, match=r"1 of 2 labels are for prompts that are not in .*:\n  'w3 w3'(.|\n)*--allow-foreign"):
        warm(place, out, labels=[LABELS[0], {"prompt": "w3 w3", "answer": ANSWER}])
    with pytest.raises(PromptFileError, match="none of the 1 rows has an answer: write them into the column 'answer'"):
        warm(place, out, labels=[{"prompt": "w10 w4", "answer": None}])
    with pytest.raises(PromptFileError, match="expected the answers in a column 'answer', and its columns are: label"):
        warm(place, out, labels=[{"prompt": "w10 w4", "label": "w7"}])
    with pytest.raises(PromptFileError, match="no such file"):
        warm(place, out, labels=tmp_path / "nowhere.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "w10 w4", "answer": "w7"}\n{oops\n')
    with pytest.raises(PromptFileError, match=r"bad.jsonl:2: not JSON"):
        warm(place, out, labels=tmp_path / "bad.jsonl")
    with pytest.raises(PromptFileError, match="none of the 14 answers has more than the lowest reward, 0"):
        warm(place, out, labels=[row | {"answer": "w8"} for row in LABELS])
    with pytest.raises(PromptFileError, match="more than the context of 256: shorten the answer"):
        warm(place, out, labels=[*LABELS, {"prompt": "w11 w5", "answer": " ".join([ANSWER] * 300)}])
    with pytest.raises(PromptFileError, match="must be nonempty text"):
        warm(place, out, labels=[{"prompt": "w10 w4", "answer": ["w7", ""]}])
    with pytest.raises(RunFolderError, match="is not a run folder"):
        warm(place, out, run=tmp_path)
    with pytest.raises(SettingsError, match="every prompt has a label"):
        warm(place, out, labels=[{"prompt": row["prompt"], "answer": ANSWER} for row in PROMPTS])
    with pytest.raises(SettingsError, match="SFTConfig rejects these options"):
        warm(place, out, more=("--learn_speed", "1"))
    assert not (out / "policy").exists() and not (out / "curve.json").exists()


def test_labels_twice_unanswered_several_or_foreign(place):
    run = place / "run-llama"
    rows = [LABELS[0], LABELS[0], {"prompt": "w10 w5", "answer": ["w7", "w8"]}, {"prompt": "w11 w5", "answer": "  "}]
    labels = read_labels(rows, run)
    assert [(row["prompt"], row["completion"]) for row in labels.train] == [("w10 w4", "w7"), ("w10 w5", "w7"), ("w10 w5", "w8")]
    assert labels.train[0]["columns"] == {"reference": ANSWER}  # of the run, needed by the reward
    assert labels.notes == (
        "1 of 4 labels have no answer yet and are skipped",
        "1 answers are duplicates for the same prompt and are used once",
    )
    assert len(read_labels([{"prompt": "new", "answer": 7}], run, allow_foreign=True).train) == 1
    many = read_labels(LABELS, run)
    parts = hold_out(many, 0.1, seed=0)
    assert (len(parts.train), len(parts.held_out)) == (13, 1)
    assert hold_out(many, 0.0, seed=0) == many and not hold_out(labels, 0.5, seed=0).held_out


def test_the_last_good_checkpoint_survives_a_loss_that_is_not_finite(place, tmp_path):
    import safetensors.torch
    import transformers

    class Break(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 5:
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)

    from flatspot.training.warmup.callback import WarmupCallback
    from flatspot.training.warmup.sft import make_learner

    rows = read_labels(LABELS, place / "run-llama").train
    stop = WarmupCallback(place / "run-llama", "exact_match", out=tmp_path, labels=rows, probe=PROBE)
    make_learner(rows, str(place / "llama"), out=tmp_path, options=CAUSAL, callbacks=[stop, Break()]).trainer.train()
    assert (stop.choice.cause, stop.choice.step <= 4) == ("not-a-number", True)
    assert "lower the learning rate" in stop.choice.why
    rows = json.loads((tmp_path / "curve.json").read_text())
    assert rows[-1]["step"] == 6 and rows[-1].get("ready") is None
    weights = safetensors.torch.load_file(tmp_path / "policy" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_an_interrupt_keeps_the_curve_and_the_best_so_far(place, tmp_path):
    def stop(row, choice):
        if row["step"] == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm(place, tmp_path, on_probe=stop)
    contents = json.loads((tmp_path / "warmup.json").read_text())
    assert contents["cause"] == "interrupted" and "interrupted after step 6" in contents["why"]
    assert (tmp_path / "policy" / "config.json").is_file() and not (tmp_path / "checkpoints").exists()
    assert [row["step"] for row in json.loads((tmp_path / "curve.json").read_text())] == [0, 2, 4, 6]
    assert warm(place, tmp_path).cause != "interrupted"  # and the same call starts over


def test_a_full_disk_leaves_the_earlier_checkpoints_complete(place, tmp_path, monkeypatch):
    import errno

    real = os.fsync

    def fsync(descriptor):
        if "step-000004" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunFolderError, match=r"cannot write .*step-000004: No space left on device.*free some space"):
        warm(place, tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names and "step-000004" not in names and not [name for name in names if name.endswith(".part")]
    assert [row["step"] for row in json.loads((tmp_path / "curve.json").read_text())] == [0, 2]
    monkeypatch.setattr(os, "fsync", real)
    assert warm(place, tmp_path).recovered


def test_a_reward_that_always_fails_is_an_error_at_the_start(place, tmp_path):
    (tmp_path / "reward.py").write_text(
        "def fails(prompts, completions, **columns):\n"
        "    if completions == ['w7']:\n        return [1.0]\n    raise ValueError('no database')\n"
    )
    with pytest.raises(TrainingError, match=r"failed on every completion at the start: .*no database"):
        warm(place, tmp_path / "warm", reward=f"{tmp_path / 'reward.py'}:fails")


@pytest.mark.slow
def test_a_rule_that_waits_runs_to_the_end(place, tmp_path):
    result = warm(place, tmp_path, rule=StopRule(patience=100), more=("--max_steps", "5"))
    assert result.curve[-1]["step"] == 5 and result.cause in ("max-steps", "enough", "never-recovered")

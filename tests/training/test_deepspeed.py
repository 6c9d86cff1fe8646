"""Trainings under DeepSpeed ZeRO-2 and ZeRO-3 on two processes, without a GPU; `make deepspeed` runs them."""

import collections
import importlib.util
import json
import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")
if importlib.util.find_spec("deepspeed") is None:
    pytest.skip("DeepSpeed is not installed: make deepspeed", allow_module_level=True)

from two_processes import PROBES, prepare, train, trained, warmup, whole

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]
os.environ["DS_ACCELERATOR"] = "cpu"
ZERO = {2: ("--use_deepspeed", "--zero_stage", "2"), 3: ("--use_deepspeed", "--zero_stage", "3", "--zero3_save_16bit_model", "true")}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("deepspeed"))


def one_object(text):
    """The JSON object of standard output; DeepSpeed's own lines stand before it."""
    return json.loads(text[text.index("{\n") :])


@pytest.mark.parametrize("stage", [2, 3])
def test_a_training_is_recorded_whole_and_reported_once(place, stage):
    code, out, err, _ = train(place, f"train{stage}", "--learning_rate", "1e-3", "--beta", "0.1", "--reward_weights", "1", how=ZERO[stage])
    assert code == 0, err[-3000:]
    assert (out.count("mean reward std"), err.count("flatspot: summary")) == (1, 1)
    assert collections.Counter(row["step"] for row in whole(place / f"train{stage}")) == {0: 16, 1: 16, 2: 16}
    assert (place / f"train{stage}" / "trainer" / "model.safetensors").is_file()


@pytest.mark.parametrize("stage", [2, 3])
def test_plain_finetuning_saves_a_whole_policy(place, stage):
    code, out, err, _ = warmup(place, f"plain{stage}", "--no-stop", "--json", how=ZERO[stage])
    assert code == 0, err[-3000:]
    assert one_object(out)["policy"] == f"plain{stage}/policy" and trained(place / f"plain{stage}" / "policy")


def test_an_adapter_under_zero_3_is_merged(place):
    code, out, err, _ = warmup(place, "lora", "--no-stop", "--use_peft", "--lora_target_modules", "q_proj", "v_proj", how=ZERO[3])
    assert code == 0, err[-3000:]
    assert out.count("Chosen   lora/policy") == 1 and trained(place / "lora" / "policy")
    assert (place / "lora" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_warm_up_under_zero_2_is_probed(place):
    code, out, err, _ = warmup(place, "probed", *PROBES, "--json", how=ZERO[2])
    assert code == 0, err[-3000:]
    assert [row["step"] for row in one_object(out)["curve"]] == [0, 2, 4] and err.count("   going-on") == 2


def test_a_probed_warm_up_under_zero_3_is_refused_and_its_checkpoints_can_be_watched(place):
    code, _, err, _ = warmup(place, "never", *PROBES, how=ZERO[3])
    assert code == 1 and err.count("error:") == 1 and "flatspot watch-checkpoints" in err, err[-3000:]
    assert "sharded over processes (DeepSpeed ZeRO-3)" in err and "Traceback" not in err
    assert not (place / "never" / "curve.json").exists() and not (place / "never" / "policy").exists()

    import flatspot
    from flatspot.tasks.letters import letters_model

    saves = ("--no-stop", "--save_strategy", "steps", "--save_steps", "2", "--save_only_model", "true")
    code, _, err, _ = warmup(place, "saved", *saves, how=ZERO[3])
    assert code == 0, err[-3000:]
    watched = flatspot.watch_checkpoints(place / "saved" / "trainer", str(letters_model()), "exact_match", run=place / "run", once=True)
    assert [row["step"] for row in watched.curve] == [0, 2, 4]


def test_zero_3_that_would_save_no_policy_is_refused(place):
    code, _, err, _ = warmup(place, "shards", "--no-stop", how=("--use_deepspeed", "--zero_stage", "3"))
    assert code == 1 and err.count("error:") == 1 and "--zero3_save_16bit_model true" in err, err[-3000:]
    assert not (place / "shards" / "policy").exists()

"""Probes with vLLM, a stub of it: it sleeps while the training goes on, and wakes with the weights of the step that is probed."""

from __future__ import annotations

import json
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import vllm_stub  # noqa: E402
from tiny_warmups import CAUSAL, LABELS, PROMPTS, judged, save_tiny  # noqa: E402

from flatspot.core.errors import EngineError, MissingExtra, SettingsError  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings  # noqa: E402
from flatspot.training.warmup.run import warmup  # noqa: E402
from flatspot.training.warmup.watch_checkpoints import watch_checkpoints  # noqa: E402

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn about each other
PROBE = ProbeSettings(prompts=8, max_completions=4, every=2, engine="vllm")
LORA = ("--use_peft", "--lora_target_modules", "q_proj", "v_proj", "up_proj", "down_proj", "--learning_rate", "3e-2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    save_tiny(folder / "llama")
    judged(folder / "run", str(folder / "llama"))
    return folder


@pytest.fixture
def told(monkeypatch):
    """What vLLM was told, with "step" for each step of the training between."""
    import transformers

    vllm_stub.install(monkeypatch)
    step = transformers.Trainer.training_step

    def counted(*args, **kwargs):
        vllm_stub.LLM.told.append("step")
        return step(*args, **kwargs)

    monkeypatch.setattr(transformers.Trainer, "training_step", counted)
    return vllm_stub.LLM.told


def warm(place, out, *more, probe=PROBE, **changes):
    return warmup(LABELS, run=place / "run", out=out, probe=probe, options=(*CAUSAL, "--max_steps", "4", *more), **changes)


@pytest.mark.parametrize("lora", [(), LORA], ids=["whole", "adapter"])
def test_it_sleeps_before_the_training_goes_on_and_wakes_with_the_weights_of_the_step(place, tmp_path, told, lora):
    warmed = warm(place, tmp_path / "warm", *lora)
    order = [name for i, name in enumerate(told) if i == 0 or told[i - 1] != name]  # without repetitions
    probe = ["reload_weights", "generate", "sleep"]
    assert order == ["generate", "sleep", "step", *probe, "step", *probe]
    assert [row["step"] for row in warmed.curve] == [0, 2, 4]
    (settings,) = vllm_stub.LLM.opened
    longest = max(len(row["prompt"].split()) for row in PROMPTS)
    assert settings["max_model_len"] == longest + 3  # and the run's max_new_tokens
    by_hf = warm(place, tmp_path / "hf", *lora, probe=ProbeSettings(prompts=8, max_completions=4, every=2))
    for ours, theirs in zip(warmed.curve, by_hf.curve, strict=True):
        assert ours["heldout_loss"] == pytest.approx(theirs["heldout_loss"], rel=1e-3) if "heldout_loss" in theirs else True
        assert ours["reward"] == pytest.approx(theirs["reward"], abs=0.35)
    assert json.loads((tmp_path / "warm" / "warmup.json").read_text())["probe"]["engine"] == "vllm"


def test_other_weights_than_those_of_the_step_end_the_warmup(place, tmp_path, told, monkeypatch):
    monkeypatch.setattr(vllm_stub.LLM, "collective_rpc", lambda self, method, *, kwargs: self._load(str(place / "llama")))
    with pytest.raises(EngineError, match=r"does not sample .* as transformers does"):
        warm(place, tmp_path / "warm", "--learning_rate", "0.1")
    assert told[-1] == "sleep" and "step" in told


def test_checkpoints_of_another_trainer_are_probed_by_one_vllm(place, tmp_path, told):
    from flatspot.training.warmup.sft import sft

    rows = [{"prompt": row["prompt"], "completion": row["answer"]} for row in LABELS]
    saving = ("--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2", "--output_dir", str(tmp_path / "trainer"))
    for more in ((), LORA):
        sft(rows, str(place / "llama"), out=tmp_path / "out", options=(*CAUSAL, *saving, *more))
        told.clear()
        vllm_stub.LLM.opened.clear()
        out = tmp_path / f"curve-{len(more)}"
        result = watch_checkpoints(
            tmp_path / "trainer", str(place / "llama"), "exact_match", run=place / "run", out=out, probe=PROBE, once=True
        )
        assert [row["step"] for row in result.curve] == [0, 2, 4] and len(vllm_stub.LLM.opened) == 1
        assert told.count("reload_weights") == 2 and told.count("sleep") == 3


def test_what_does_not_fit_is_said_before_anything_is_trained(place, tmp_path, told, monkeypatch):
    with pytest.raises(SettingsError, match="--probe-memory-gib is for vLLM's cache"):
        ProbeSettings(memory_gib=2)
    with pytest.raises(SettingsError, match="--probe-engine must be hf or vllm, got 'openvino'"):
        ProbeSettings(engine="openvino")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="probe with --probe-engine hf, or train with --no-stop"):
        warm(place, tmp_path / "several")
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setitem(sys.modules, "vllm.platforms", None)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"flatspot\[vllm\]"):
        warm(place, tmp_path / "missing")
    assert "step" not in told


def test_settings_that_are_left_as_they_were_name_the_same_probes():
    """A curve or a stage of a recipe of an older flatspot, which had no other engine, is gone on with."""
    assert not {"engine", "memory_gib"} & ProbeSettings().identity().keys()
    assert ProbeSettings(engine="vllm", memory_gib=1).identity() == ProbeSettings(engine="vllm", memory_gib=8).identity()
    assert ProbeSettings(engine="vllm").identity()["engine"] == "vllm"

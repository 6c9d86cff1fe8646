"""The stop rule over checkpoint folders of another trainer: full models and adapters, resumed, and as they appear."""

import dataclasses
import json
import shutil
import threading
import time
import types

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tiny_warmups import CAUSAL, LABELS, judged, save_tiny  # noqa: E402

from flatspot.core.errors import EngineError, RunFolderError, SettingsError  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings  # noqa: E402
from flatspot.training.warmup.sft import sft  # noqa: E402
from flatspot.training.warmup.stop_rule import StopRule  # noqa: E402
from flatspot.training.warmup.watch_checkpoints import _check_settings, checkpoints_in, watch_checkpoints  # noqa: E402

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]
PROBE = ProbeSettings(prompts=16, max_completions=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Checkpoints every 4 of 16 steps, of a full model and of an adapter."""
    folder = tmp_path_factory.mktemp("watch")
    save_tiny(folder / "llama")
    judged(folder / "run", str(folder / "llama"))
    rows = [{"prompt": row["prompt"], "completion": row["answer"]} for row in LABELS]
    saving = ("--max_steps", "16", "--save_strategy", "steps", "--save_steps", "4", "--output_dir")
    sft(rows, str(folder / "llama"), out=folder / "whole", options=(*CAUSAL, *saving, str(folder / "whole")))
    lora = ("--use_peft", "--lora_target_modules", "q_proj", "v_proj", "up_proj", "down_proj", "--learning_rate", "3e-2")
    sft(rows, str(folder / "llama"), out=folder / "lora", options=(*CAUSAL, *lora, *saving, str(folder / "lora")))
    return folder


def watch(place, folder, **changes):
    settings = {"run": place / "run", "labels": LABELS, "probe": PROBE, "once": True} | changes
    return watch_checkpoints(folder, str(place / "llama"), "exact_match", **settings)


@pytest.mark.parametrize("kind", ["whole", "lora"])
def test_checkpoints_that_are_there(place, tmp_path, kind):
    result = watch(place, place / kind, out=tmp_path)
    assert [row["step"] for row in result.curve] == [0, 4, 8, 12, 16]
    assert result.curve[0]["ready"]["mean"] < 0.2 < 0.8 < result.curve[-1]["ready"]["mean"]
    assert result.choice.recovered and result.checkpoint == place / kind / f"checkpoint-{result.choice.step}"
    assert json.loads((tmp_path / "choice.json").read_text())["checkpoint"] == str(result.checkpoint)
    assert json.loads((tmp_path / "curve.json").read_text())[2]["step"] == 8


def test_probes_of_an_older_flatspot_are_those_of_the_same_settings(tmp_path):
    """Whose watch.json has settings by their old names."""
    request, probed = {"run": "r", "model": {"name": "m"}, "reward": {}}, types.SimpleNamespace(prompts=[])
    old = {"max_completions": "max_samples", "held_out": "held_back"}
    stored = {old.get(name, name): value for name, value in PROBE.identity().items()}
    assert set(old.values()) < set(stored)
    (tmp_path / "watch.json").write_text(json.dumps(request | {"probe": stored, "prompts": []}))
    _check_settings(tmp_path, request, PROBE, probed)
    assert json.loads((tmp_path / "watch.json").read_text())["probe"] == PROBE.identity()
    with pytest.raises(SettingsError, match=r"probe.max_completions: 8 there, 9 now"):
        _check_settings(tmp_path, request, dataclasses.replace(PROBE, max_completions=9), probed)


def test_what_is_in_the_curve_is_not_probed_again(place, tmp_path):
    shutil.copytree(
        place / "whole", tmp_path / "sft", ignore=lambda _, names: [n for n in names if n in ("checkpoint-12", "checkpoint-16")]
    )
    steps = []
    first = watch(place, tmp_path / "sft", on_probe=lambda row, _: steps.append(row["step"]))
    assert steps == [0, 4, 8] and first.out == tmp_path / "sft" / "flatspot"
    shutil.copytree(place / "whole" / "checkpoint-12", tmp_path / "sft" / "checkpoint-12")
    second = watch(place, tmp_path / "sft", on_probe=lambda row, _: steps.append(row["step"]))
    assert steps == [0, 4, 8, 12]
    assert second.curve[:3] == first.curve
    with pytest.raises(SettingsError, match=r"contains probes with other settings:\n  probe.max_completions: 8 there, 16 now"):
        watch(place, tmp_path / "sft", probe=ProbeSettings(prompts=16, max_completions=16))


def test_checkpoints_are_probed_as_they_appear_until_the_rule_applies(place, tmp_path, monkeypatch):
    import flatspot.training.warmup.watch_checkpoints as module

    monkeypatch.setattr(module, "_POLL_S", 0.1)
    monkeypatch.setattr(module, "_SETTLED_S", 0.2)
    (tmp_path / "sft").mkdir()

    def write():
        for step in (4, 8, 12, 16):
            time.sleep(0.3)
            shutil.copytree(place / "whole" / f"checkpoint-{step}", tmp_path / "sft" / f"checkpoint-{step}")

    writer = threading.Thread(target=write)
    writer.start()
    result = watch(place, tmp_path / "sft", once=False, rule=StopRule(max_steps=16))
    writer.join()
    assert result.choice.stop and result.choice.recovered
    assert [row["step"] for row in result.curve] == list(range(0, result.curve[-1]["step"] + 1, 4))


def test_folders_that_are_not_checkpoints(place, tmp_path):
    with pytest.raises(SettingsError, match="is not a folder"):
        watch(place, tmp_path / "nowhere")
    (tmp_path / "sft" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "sft" / "checkpoint-x").mkdir()
    assert checkpoints_in(tmp_path / "sft") == []
    only_start = watch(place, tmp_path / "sft")
    assert (only_start.choice.step, only_start.checkpoint, only_start.choice.cause) == (0, None, "going-on")
    (tmp_path / "sft" / "checkpoint-2" / "config.json").write_text("{}")
    with pytest.raises(EngineError, match=r"checkpoint-2 cannot be probed: "):
        watch(place, tmp_path / "sft")


def test_a_column_of_labels_takes_labels(tmp_path):
    with pytest.raises(SettingsError, match=r"--answer-col x .*Add --labels FILE"):
        watch_checkpoints(tmp_path, "model", "exact_match", run=tmp_path, answer_col="x")


def test_another_reward_or_model_is_refused_and_the_same_folder_by_another_path_is_not(place, tmp_path, monkeypatch):
    (tmp_path / "sft").mkdir()
    few = {"probe": ProbeSettings(prompts=4, max_completions=2), "once": True, "out": tmp_path / "out"}
    monkeypatch.chdir(place)
    first = watch_checkpoints(tmp_path / "sft", "llama", "exact_match", run="run", **few)
    again = watch_checkpoints(tmp_path / "sft", str(place / "llama"), "exact_match", run=place / "run", **few)
    assert again.curve == first.curve
    with pytest.raises(SettingsError, match=r"reward\.(names|components)"):
        watch_checkpoints(tmp_path / "sft", "llama", ["exact_match", "rouge_l"], run="run", **few)
    shutil.copytree(place / "llama", tmp_path / "other")
    with pytest.raises(SettingsError, match=r"model\.name: .*llama.*other"):
        watch_checkpoints(tmp_path / "sft", str(tmp_path / "other"), "exact_match", run="run", **few)


@pytest.mark.parametrize("text", ["[]", "3", "{", "[" * 10**5])
def test_a_damaged_record_of_the_settings_is_named(place, tmp_path, text):
    (tmp_path / "sft" / "flatspot").mkdir(parents=True)
    (tmp_path / "sft" / "flatspot" / ".flatspot.json").write_text('{"made_by": "flatspot watch-checkpoints"}')
    (tmp_path / "sft" / "flatspot" / "watch.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"watch\.json is damaged .*Give another --out"):
        watch(place, tmp_path / "sft")

"""All stages on tiny random models: what is trained, resumed and refused, and what the command prints."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("trl")
pytest.importorskip("matplotlib")
pytest.importorskip("rouge_score")

import pyarrow.parquet as pq
from tests.paper.grue.conftest import write_rows
from tests.paper.grue.test_run import saved

from flatspot.cli.main import main as flatspot_main  # noqa: F401
from flatspot.core.errors import FlatspotError
from flatspot.core.records import Prompt
from flatspot_paper.cli.grue import grue_command
from flatspot_paper.grue.data import Pool
from flatspot_paper.grue.examples import Ask, Example
from flatspot_paper.grue.plan import SCALES, plan_tasks
from flatspot_paper.grue.stages import run_finetuning
from flatspot_paper.grue.supervised import Material, labeled_rows
from flatspot_paper.grue.words import finetuned_text

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),  # peft and TRL use it
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]


@pytest.fixture
def sentences(data):
    rows = [{"question": "w1", "passage": f"w{i}", "answers": ["w2 w3", "w2 w4"]} for i in range(8)]
    write_rows(data / "narrativeqa/train.jsonl.gz", rows)
    return data


def small(model, folder, **changes):
    """The small scale with the paper's words: a tiny tokenizer has no chat template."""
    [plan] = plan_tasks(replace(SCALES["small"], chat=False), ["narrativeqa"], model=model, folder=folder, engine="hf", **changes)
    return plan


def test_every_arm_of_the_small_scale_and_what_a_second_call_does(sentences, tmp_path):
    plan = small(saved("gpt2", tmp_path / "model"), sentences, inputs=4, completions=4)
    out, said = tmp_path / "out", []
    options = {"scale": "small", "stage": "all", "algorithms": ["ppo", "grpo"], "rl_steps": 2, "sft_steps": 2, "data": sentences}
    results = run_finetuning([plan], out, **options, say=said.append)
    [one] = results["tasks"]
    assert list(one["arms"]) == ["rft-ppo", "rft-grpo", "sft", "sft+rft-ppo", "sft+rft-grpo"]
    assert "NarrativeQA: no warmup, as no input is vanishing" in said  # four completions tell too little
    place = out / "narrativeqa" / "seed-0"
    for arm, result in one["arms"].items():
        table = pq.read_table(place / arm / "inputs.parquet")
        assert result["numbers"]["mean"]["value"] == pytest.approx(np.mean(table["mean"].to_numpy()))
        assert one["comparison"]["arms"][arm]["reward"]["value"] == pytest.approx(np.mean(table["mean"].to_numpy()))
        assert not (place / arm / "train").exists() and not (place / arm / "merged").exists()
        assert len(result["curve"]) == (0 if arm == "sft" else 2)
    gap = one["arms"]["sft"]["numbers"]["mean"]["value"] - one["arms"]["rft-ppo"]["numbers"]["mean"]["value"]
    assert one["comparison"]["gaps"]["ppo"]["value"] == pytest.approx(gap)
    for name in ("arms.svg", "gap.png", "finetuned.json"):
        assert (out / name).stat().st_size > 100
    # nothing is made twice, and one lost arm is made again equal
    stamps = {file: file.stat().st_mtime_ns for file in place.rglob("arm.json")}
    (place / "sft+rft-ppo" / "arm.json").unlink()
    again = run_finetuning([plan], out, **options)
    assert again["tasks"][0]["comparison"] == one["comparison"]
    assert {file: file.stat().st_mtime_ns for file in stamps if "sft+rft-ppo" not in str(file)} == {
        file: stamp for file, stamp in stamps.items() if "sft+rft-ppo" not in str(file)
    }
    with pytest.raises(FlatspotError, match="holds this arm with another rl"):
        run_finetuning([plan], out, **{**options, "stage": "rft", "rl_steps": 3})


def test_a_warm_up_learns_from_few_labels_and_rl_goes_on_from_it(data, tmp_path):
    # answers that the policy has no tokens for: all vanish
    rows = [{"question": "w1", "passage": f"w{i}", "answers": ["beyond", "reach"]} for i in range(8)]
    write_rows(data / "narrativeqa/train.jsonl.gz", rows)
    plan = small(saved("gpt2", tmp_path / "model"), data, inputs=8, completions=24)
    out, said = tmp_path / "out", []
    options = {"scale": "small", "rl_steps": 2, "sft_steps": 4, "data": data}
    run_finetuning([plan], out, stage="sft+rft", **options)
    [one] = run_finetuning([plan], out, stage="warmup", say=said.append, **options)["tasks"]
    assert list(one["arms"]) == ["sft", "sft+rft-ppo", "warmup", "warmup+rft-ppo"] and not any("no warmup" in line for line in said)
    place = out / "narrativeqa" / "seed-0"
    told = json.loads((place / "warmup" / "warmup.json").read_text("utf-8"))
    assert 1 <= told["labels"] <= 2  # both answers of one input of eight
    curve = json.loads((place / "warmup" / "curve.json").read_text("utf-8"))
    assert curve
    assert one["arms"]["warmup+rft-ppo"]["settings"]["after"]["warmup_labels"] == "5%"
    assert one["comparison"]["kept"] == {}  # of a reward of 0


def test_a_training_that_was_stopped_goes_on_and_ends_the_same(sentences, tmp_path, monkeypatch):
    plan = small(saved("gpt2", tmp_path / "model"), sentences, inputs=4, completions=4)
    options = {"scale": "small", "stage": "rft", "rl_steps": 8, "data": sentences}
    whole = run_finetuning([plan], tmp_path / "whole", **options)["tasks"][0]["arms"]["rft-ppo"]

    def stop(line):
        if "step 7" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_finetuning([plan], tmp_path / "parts", **options, say=stop)
    said = []
    parts = run_finetuning([plan], tmp_path / "parts", **options, say=said.append)["tasks"][0]["arms"]["rft-ppo"]
    assert [line for line in said if "step 5" in line] == [] and [line for line in said if "step 6" in line] != []
    assert parts["curve"] == whole["curve"]
    assert parts["numbers"] == whole["numbers"]


@pytest.mark.parametrize(("kind", "stage", "made"), [("t5", "sft+rft", ["sft", "sft+rft-ppo"]), ("gpt2", "rft", ["rft-ppo"])])
def test_the_papers_scale_trains_a_tiny_model_for_a_step(kind, stage, made, sentences, tmp_path):
    plans = plan_tasks(SCALES["paper"], ["narrativeqa"], model=saved(kind, tmp_path / "model"), inputs=4, completions=4, folder=sentences)
    results = run_finetuning(plans, tmp_path / "out", scale="paper", stage=stage, rl_steps=1, sft_steps=1, data=sentences)
    arms = results["tasks"][0]["arms"]
    assert list(arms) == made
    rl = arms[made[-1]]["settings"]["rl"]
    assert (rl["buffer_tokens"], rl["learning_rate"]) == (2560, 5e-7 if kind == "t5" else 2e-6)
    assert (tmp_path / "out/narrativeqa/seed-0" / made[-1] / "policy/config.json").exists()


def test_the_title_of_a_result_names_what_stands_in(sentences, tmp_path):
    write_rows(sentences / "dart/dev.jsonl.gz", [{"triples": [["w1", "w2", f"w{i}"]], "references": ["w3"]} for i in range(30)])
    [plan] = plan_tasks(SCALES["paper"], ["totto"], model=saved("gpt2", tmp_path / "model"), inputs=2, completions=2, folder=sentences)
    plan = replace(plan, asked=replace(plan.asked, data="dart"))
    results = run_finetuning([plan], tmp_path / "out", scale="paper", stage="sft", sft_steps=1, data=sentences)
    assert results["tasks"][0]["title"] == "ToTTo (dart)"
    assert "ToTTo (dart)" in finetuned_text(results)


def test_labels_are_the_references_in_turn_cut_to_some_tokens_or_the_rest_of_a_review(sentences, tmp_path):
    pytest.importorskip("tokenizers")
    from tests.paper.grue.test_engine import tiny

    tokenizer = tiny("gpt2")[1]
    plan = small("any", sentences)
    prompts = [Prompt("x-train-000001", "p", {"references": ["a b c", "d"]}), Prompt("x-train-000000", "q", {})]
    examples = [Example("", (), Ask("", ""), continuation=" w1 w2 w3 w4"), Example("", (), Ask("", ""))]
    material = Material(plan, Pool(examples, "x", ""), prompts)
    assert [row["completion"] for row in labeled_rows(material, tokenizer, 2)] == ["a b", "d", "w1 w2"]
    assert [row["completion"] for row in labeled_rows(replace(material, labels=[1]), tokenizer, None)] == ["w1 w2 w3 w4"]


def test_the_command_prints_the_arms_and_a_dry_run_resolves_them(sentences, tmp_path):
    words = ["--tasks", "narrativeqa", "--scale", "paper", "--stage", "all", "--algorithm", "both"]
    shown = CliRunner().invoke(grue_command, [*words, "--dry-run"], catch_exceptions=False).stdout
    for told in ("rft-ppo ", "sft+rft-grpo", "learning_rate 5e-07", "per_device_train_batch_size 64", "group-normalized"):
        assert told in shown
    [plan] = json.loads(CliRunner().invoke(grue_command, [*words, "--dry-run", "--json"], catch_exceptions=False).stdout)
    assert plan["arms"]["rft-ppo"]["rl"]["kl_target"] == 1.0
    model, out = saved("gpt2", tmp_path / "model"), str(tmp_path / "out")
    words = [*words[:4], "--stage", "rft", "--model", model, "--inputs", "3", "--completions", "3", "--rl-steps", "1", "--out", out]
    text = CliRunner().invoke(grue_command, words, catch_exceptions=False).stdout
    assert "rft-ppo" in text and "correlation of std with change" in text and "arms.svg" in text

"""The whole stage on tiny random models: folders, numbers, resuming, what is refused; and the command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

import pyarrow.parquet as pq
from tests.paper.grue.conftest import write_rows
from tests.paper.grue.test_engine import tiny

import flatspot
from flatspot.cli.main import main as flatspot_main  # noqa: F401
from flatspot.core.errors import FlatspotError
from flatspot_paper.cli.grue import grue_command
from flatspot_paper.grue.plan import SCALES, plan_tasks
from flatspot_paper.grue.stats import run_stats

pytestmark = pytest.mark.thorough


def saved(kind, folder):
    model, tokenizer = tiny(kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def sentences(data):
    """Training data of two tasks, of whose words the tiny models know some."""
    write_rows(data / "iwslt2017_en_de/train.jsonl.gz", [{"en": f"w{i} w{i + 1}", "de": f"w{i} w2 w3 w4"} for i in range(8)])
    write_rows(data / "narrativeqa/train.jsonl.gz", [{"question": "w1", "passage": f"w{i}", "answers": ["w2 w3"]} for i in range(8)])
    return data


@pytest.mark.parametrize(("kind", "task"), [("t5", "iwslt2017"), ("gpt2", "narrativeqa")])
def test_the_papers_scale_on_a_tiny_model(kind, task, sentences, tmp_path):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    plans = plan_tasks(SCALES["paper"], [task], model=saved(kind, tmp_path / "model"), inputs=4, completions=6, folder=sentences)
    results = run_stats(plans, tmp_path / "out", scale="paper", data=sentences)
    [result] = results["tasks"]
    assert result["plan"]["engine"] == "generate"
    assert result["numbers"]["inputs"] == 4
    run = flatspot.open(tmp_path / "out" / task / "pretrained")
    rewards = [row["reward"] for batch in run.batches(["reward"]) for row in batch.to_pylist()]
    assert len(rewards) == 24
    table = pq.read_table(tmp_path / "out" / task / "inputs.parquet")
    assert np.mean(table["mean"].to_numpy()) == pytest.approx(np.mean(rewards))
    assert result["numbers"]["std"]["value"] == pytest.approx(np.mean(table["std"].to_numpy()))
    for name in ("results.json", "scatter.svg", "scatter.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100


def test_a_finished_task_is_left_as_it_is_and_a_lost_one_is_made_again_equal(sentences, tmp_path):
    pytest.importorskip("rouge_score")
    plans = plan_tasks(SCALES["paper"], ["narrativeqa"], model=saved("gpt2", tmp_path / "model"), inputs=4, completions=4, folder=sentences)
    out, task = tmp_path / "out", tmp_path / "out/narrativeqa"
    first = run_stats(plans, out, scale="paper", data=sentences)["tasks"]
    stamp = (task / "numbers.json").stat().st_mtime_ns
    assert run_stats(plans, out, scale="paper", data=sentences)["tasks"] == first
    assert (task / "numbers.json").stat().st_mtime_ns == stamp
    (task / "numbers.json").unlink()
    next((task / "pretrained/rollouts").iterdir()).unlink()
    again = run_stats(plans, out, scale="paper", data=sentences)["tasks"]
    assert again[0]["numbers"] == first[0]["numbers"]
    with pytest.raises(FlatspotError, match="measured with another seed"):
        run_stats(plans, out, scale="paper", seed=1, data=sentences)


def test_the_command_prints_the_table_and_what_departs_from_the_paper(sentences, tmp_path):
    pytest.importorskip("rouge_score")
    model, out = saved("gpt2", tmp_path / "model"), tmp_path / "out"
    words = ["--tasks", "narrativeqa", "--scale", "paper", "--model", model, "--inputs", "3", "--completions", "3", "--out", str(out)]
    result = CliRunner().invoke(grue_command, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "NarrativeQA" in result.stdout
    assert f"the policy is {model}, the paper's t5-base" in result.stdout
    printed = json.loads(CliRunner().invoke(grue_command, [*words, "--json"], catch_exceptions=False).stdout)
    assert printed == json.loads((out / "results.json").read_text())

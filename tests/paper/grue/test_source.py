"""`grue:TASK[…]`: settings, the choice of inputs, what is refused, and that its entry points name what is there."""

import importlib
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.paper.grue.conftest import write_rows

import flatspot
from flatspot.core.errors import PromptFileError, SettingsError
from flatspot.engines.scripted import ScriptedEngine
from flatspot_paper.grue.source import Asked, grue_prompts, parse_grue
from flatspot_paper.grue.tasks import TASKS, task_named


def test_inputs_are_the_first_of_the_papers_permutation(data):
    rows = [{"concepts": [f"c{i}"], "references": [f"r{i}"]} for i in range(50)]
    write_rows(data / "commongen/train.jsonl.gz", rows)
    prompts = grue_prompts("commongen[size=5]")
    chosen = np.random.RandomState(7).permutation(50)[:5]
    assert [prompt.text for prompt in prompts] == [f"generate a sentence with: c{i}." for i in chosen]
    assert [prompt.id for prompt in prompts] == [f"commongen-train-{i:06d}" for i in chosen]
    assert [prompt.references for prompt in prompts] == [(f"r{i}",) for i in chosen]
    assert prompts[0].columns["data"] == "commongen"
    assert len(grue_prompts("commongen[size=all]")) == len(grue_prompts("commongen")) == 50


def test_a_spec_survives_being_written():
    for text in ("grue:imdb", "grue:totto[split=test,data=dart,size=all,seed=3,chat=true,tokenizer=some/model]"):
        assert parse_grue(text.removeprefix("grue:")).spec == text


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("comongen", "there is no task 'comongen'.*Did you mean commongen"),
        ("imdb[x=1]", "grue:imdb has no setting 'x'; its settings are split, data"),
        ("imdb[size=0]", "expected a whole number, 1 or more, got '0'"),
        ("imdb[split=dev]", "split is train, validation, test, got 'dev'"),
        ("imdb[chat=yes]", "chat is true or false, got 'yes'"),
        ("imdb[size=1", r"expected grue:TASK or grue:TASK\[key=value"),
        ("imdb[size]", "expected key=value between the brackets"),
    ],
)
def test_a_wrong_spec_says_what_is_right(rest, message):
    with pytest.raises(PromptFileError, match=message):
        parse_grue(rest)


def test_missing_data_is_an_error_of_the_prompts(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FLATSPOT_DATA", str(tmp_path))
    with pytest.raises(PromptFileError, match="CommonGen was not found"):
        grue_prompts("commongen")


def test_entry_points_name_what_is_there():
    table = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    named = [*table["flatspot.tasks"].values(), *table["flatspot.rewards"].values()]
    assert len(named) == 2
    for place in named:
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_diagnose_takes_the_prompts_with_the_tasks_reward(data, tmp_path):
    pytest.importorskip("rouge_score")
    [prompt] = grue_prompts("narrativeqa")
    engine = ScriptedEngine({prompt.text: {"The girl.": 0.5, "Bob": 0.5}})
    run = flatspot.diagnose([prompt], engine, TASKS["narrativeqa"].reward, out=tmp_path / "run", max_completions=16)
    assert {row["reward"] for batch in run.batches(["reward"]) for row in batch.to_pylist()} == {0.0, 1.0}


def test_every_task_is_found_by_its_name():
    assert [task_named(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(SettingsError, match="the tasks are narrativeqa, totto"):
        task_named("wmt")


def test_what_is_usual_is_left_out_of_a_spec():
    assert Asked(TASKS["imdb"], size=None).spec == "grue:imdb[size=all]"

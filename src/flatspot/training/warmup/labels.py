"""Labeled prompts for a warm-up: read from a file or a list, and checked against the judged run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatspot.core.answers import answer_column
from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt, answer_text
from flatspot.engines.prompts import excerpt
from flatspot.planning.label_files import is_answered
from flatspot.rollouts.store import prompt_text
from flatspot.runs.run import Run, as_run
from flatspot.tasks import Source, load_prompts
from flatspot.training.inputs import LabeledRow

_SHOWN = 5
_FEWEST_TO_HOLD_OUT = 10


@dataclass(frozen=True)
class Labels:
    """The rows {"prompt", "completion", "columns"} for training and those held out, and notes on them."""

    train: tuple[LabeledRow, ...]
    held_out: tuple[LabeledRow, ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(
    labels: Source, run: str | Path | Run, *, answer_col: str = "answer", prompt_col: str = "prompt", allow_foreign: bool = False
) -> Labels:
    """The distinct labels that have an answer, all for prompts of the run.

    labels         a JSONL, JSON, CSV, TSV or Parquet file, or a list of rows, with the prompt and `answer_col`, as `flatspot plan --labels`
                   writes it
    answer_col     the column with one text, or a list of several correct answers
    allow_foreign  accept labels of prompts that are not in the run

    Rows without an answer and duplicate answers are skipped, with a note. Raises PromptFileError for a file that cannot be read, an answer
    that is not text, labels of prompts that are not in the run, and if no answer remains.
    """
    rows = load_prompts(labels, prompt_col=prompt_col)
    where = str(labels) if isinstance(labels, str | Path) else "the labels"
    if not any(answer_col in row.columns for row in rows):
        columns = ", ".join(sorted({name for row in rows for name in row.columns})) or "only the prompt's"
        likely = answer_column(row.columns for row in rows)
        name = likely[0] if likely else "NAME"
        raise PromptFileError(
            f"{where}: expected the answers in a column {answer_col!r}, and its columns are: {columns}. Set --answer-col {name}"
        )
    answered = [row for row in rows if is_answered(row.columns, answer_col)]
    if not answered:
        likely = answer_column(row.columns for row in rows)
        way = f", or use the {likely[1]} in the column {likely[0]!r}: --answer-col {likely[0]}" if likely else ""
        raise PromptFileError(f"{where}: none of the {len(rows)} rows has an answer: write them into the column {answer_col!r}{way}")
    run = as_run(run)
    foreign, of_run = _match(answered, run)
    if foreign and not allow_foreign:
        more = [f"… and {len(foreign) - _SHOWN} more"] if len(foreign) > _SHOWN else []
        lines = [f"  {excerpt(row.text)}" for row in foreign[:_SHOWN]]
        head = f"{where}: {len(foreign)} of {len(answered)} labels are for prompts that are not in {run.folder}"
        raise PromptFileError(
            "\n".join([f"{head}:", *lines, *more, "Use the run they were planned from, or --allow-foreign to train on them too"])
        )
    pairs = [(row, text) for row in answered for text in _answers(row, answer_col, where)]
    distinct = {(prompt_text(row.text), text): _row(row, text, answer_col, of_run) for row, text in pairs}
    notes = []
    if len(answered) < len(rows):
        notes.append(f"{len(rows) - len(answered)} of {len(rows)} labels have no answer yet and are skipped")
    if len(distinct) < len(pairs):
        notes.append(f"{len(pairs) - len(distinct)} answers are duplicates for the same prompt and are used once")
    return Labels(tuple(distinct.values()), notes=tuple(notes))


def hold_out(labels: Labels, share: float, seed: int) -> Labels:
    """Hold out a share of the prompts, with all their answers; none of fewer than 10 prompts."""
    texts = sorted({prompt_text(row["prompt"]) for row in labels.train}, key=lambda text: _random_key(text, seed))
    n = max(1, round(share * len(texts))) if share > 0 and len(texts) >= _FEWEST_TO_HOLD_OUT else 0
    out = set(texts[:n])
    parts: tuple[list[LabeledRow], list[LabeledRow]] = ([], [])
    for row in labels.train:
        parts[prompt_text(row["prompt"]) in out].append(row)
    return Labels(tuple(parts[0]), tuple(parts[1]), labels.notes)


def _random_key(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\x1fheld-back\x1f{text}".encode("utf-8", "backslashreplace")).digest()


def _match(rows: Sequence[Prompt], run: Run) -> tuple[list[Prompt], dict[str, Prompt]]:
    """(labels of prompts that are not in the run, the run's prompts by text)."""
    place = {text: i for i, text in enumerate(run.prompts["prompt"].to_pylist())}
    of_run = {text: run.prompt(place[text]) for text in (prompt_text(row.text) for row in rows) if text in place}
    return [row for row in rows if prompt_text(row.text) not in place], of_run


def _answers(row: Prompt, column: str, where: str) -> list[str]:
    value = row.columns[column]
    several = list(value) if isinstance(value, list | tuple) else [value]
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) and one == one for one in several]  # NaN is none
    texts = [answer_text(one) if number else one for one, number in zip(several, numbers, strict=True)]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise PromptFileError(f"{where}: the answer to {excerpt(row.text)} must be nonempty text or a list of texts, got {value!r}")
    return texts


def _row(row: Prompt, text: str, answer_col: str, of_run: Mapping[str, Prompt]) -> LabeledRow:
    own = {name: value for name, value in row.columns.items() if name != answer_col}
    judged = of_run.get(prompt_text(row.text))
    return {"prompt": row.text, "completion": text, "columns": own | dict(judged.columns if judged else {})}

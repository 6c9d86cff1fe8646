"""Labelled prompts for a warm-up: read from a file or a list, checked against the run they are for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatspot.core.answers import answer_column
from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt, answer_text
from flatspot.engines.prompts import excerpt
from flatspot.planning.label_files import is_answered
from flatspot.rollouts.store import prompt_text
from flatspot.runs.run import Run, as_run
from flatspot.tasks import load_prompts

_SHOWN = 5
_FEWEST_TO_HOLD_BACK = 10


@dataclass(frozen=True)
class Labels:
    """What is learnt and what is held back: rows {"prompt", "completion", "columns"}; and what is to be said of them."""

    learnt: tuple[Mapping[str, Any], ...]
    held_back: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(
    labels: Any, run: str | Path | Run, *, answer_col: str = "answer", prompt_col: str = "prompt", allow_foreign: bool = False
) -> Labels:
    """Labels with an answer, each once, all of prompts of the run.

    labels      a JSONL, JSON, CSV, TSV or Parquet file, or a list of rows, with the prompt and `answer_col`, as `flatspot plan --labels`
                writes it
    answer_col  one text, or a list of several right answers
    allow_foreign  take labels of prompts that the run does not have

    Rows without an answer are left out, and so is an answer that comes twice; the notes say so. Raises PromptFileError for a file that
    cannot be read, an answer that is no text, labels of prompts that are not in the run, and where no answer is left.
    """
    rows = load_prompts(labels, prompt_col=prompt_col)
    where = str(labels) if isinstance(labels, str | Path) else "the labels"
    if not any(answer_col in row.columns for row in rows):
        there = ", ".join(sorted({name for row in rows for name in row.columns})) or "no column but the prompt's"
        likely = answer_column(row.columns for row in rows)
        name = likely[0] if likely else "NAME"
        raise PromptFileError(f"{where}: expected the answers in a column {answer_col!r}; there are {there}. Name it: --answer-col {name}")
    answered = [row for row in rows if is_answered(row.columns, answer_col)]
    if not answered:
        likely = answer_column(row.columns for row in rows)
        way = f", or learn the {likely[1]} of the column {likely[0]!r}: --answer-col {likely[0]}" if likely else ""
        raise PromptFileError(f"{where}: none of the {len(rows)} rows has an answer: write them into the column {answer_col!r}{way}")
    run = as_run(run)
    foreign, known = _known(answered, run)
    if foreign and not allow_foreign:
        more = [f"… and {len(foreign) - _SHOWN} more"] if len(foreign) > _SHOWN else []
        lines = [f"  {excerpt(row.text)}" for row in foreign[:_SHOWN]]
        head = f"{where}: {len(foreign)} of {len(answered)} labels are of prompts that {run.folder} does not have"
        raise PromptFileError(
            "\n".join([f"{head}:", *lines, *more, "Give the run they were planned from, or --allow-foreign to learn them too"])
        )
    given = [(row, text) for row in answered for text in _answers(row, answer_col, where)]
    learnt = {(prompt_text(row.text), text): _row(row, text, answer_col, known) for row, text in given}
    notes = []
    if len(answered) < len(rows):
        notes.append(f"{len(rows) - len(answered)} of {len(rows)} labels have no answer yet and are left out")
    if len(learnt) < len(given):
        notes.append(f"{len(given) - len(learnt)} answers come twice for the same prompt and are learnt once")
    return Labels(tuple(learnt.values()), notes=tuple(notes))


def hold_back(labels: Labels, share: float, seed: int) -> Labels:
    """Put a share of the prompts aside, with all their answers; none where there are fewer than 10, or the share is 0."""
    texts = sorted({prompt_text(row["prompt"]) for row in labels.learnt}, key=lambda text: _drawn(text, seed))
    n = max(1, round(share * len(texts))) if share > 0 and len(texts) >= _FEWEST_TO_HOLD_BACK else 0
    aside = set(texts[:n])
    parts: tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] = ([], [])
    for row in labels.learnt:
        parts[prompt_text(row["prompt"]) in aside].append(row)
    return Labels(tuple(parts[0]), tuple(parts[1]), labels.notes)


def _drawn(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\x1fheld-back\x1f{text}".encode("utf-8", "backslashreplace")).digest()


def _known(rows: Sequence[Prompt], run: Run) -> tuple[list[Prompt], dict[str, Prompt]]:
    """(labels of prompts that are not in the run, the run's own prompts by text)."""
    place = {text: i for i, text in enumerate(run.prompts["prompt"].to_pylist())}
    known = {text: run.prompt(place[text]) for text in (prompt_text(row.text) for row in rows) if text in place}
    return [row for row in rows if prompt_text(row.text) not in place], known


def _answers(row: Prompt, column: str, where: str) -> list[str]:
    found = row.columns[column]
    several = list(found) if isinstance(found, list | tuple) else [found]
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) and one == one for one in several]  # NaN is none
    texts = [answer_text(one) if number else one for one, number in zip(several, numbers, strict=True)]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise PromptFileError(
            f"{where}: the answer to {excerpt(row.text)} must be text that is not empty, or a list of such, got {found!r}"
        )
    return texts


def _row(row: Prompt, text: str, answer_col: str, known: Mapping[str, Prompt]) -> Mapping[str, Any]:
    own = {name: value for name, value in row.columns.items() if name != answer_col}
    of_run = known.get(prompt_text(row.text))
    return {"prompt": row.text, "completion": text, "columns": own | dict(of_run.columns if of_run else {})}

"""A row of the hub, or of a task's own files, under the names that `examples.py` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def canonical(task: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the columns of its task; one that has them stays as it is.

    >>> canonical("iwslt2017", {"translation": {"en": "Yes.", "de": "Ja."}})
    {'en': 'Yes.', 'de': 'Ja.'}
    """
    if task == "narrativeqa" and "document" in row:
        answers = [answer["text"] for answer in row["answers"]]
        return {"question": row["question"]["text"], "passage": row["document"]["summary"]["text"], "answers": answers}
    if task == "totto" and "references" not in row:
        return {**row, "references": _sentences(row["sentence_annotations"])}
    if task == "commongen" and "target" in row:
        target = [row["target"]] if row["target"] else []
        return {"concepts": row["concepts"], "references": list(row.get("references") or target)}
    if task == "iwslt2017" and "translation" in row:
        return {"en": row["translation"]["en"], "de": row["translation"]["de"]}
    if task == "dailydialog" and "utterances" in row:
        return {"dialog": row["utterances"]}
    return dict(row)


def _sentences(annotations: Any) -> list[str]:
    """ToTTo's final sentences: its files have a list of annotations, its Parquet columns of them."""
    if isinstance(annotations, Mapping):
        return [str(sentence) for sentence in annotations["final_sentence"]]
    return [str(annotation["final_sentence"]) for annotation in annotations]

"""Under which names prompt files keep right answers, and how the columns of a row stand beside ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from flatspot.core.records import has_answer

# the most frequent first; verl nests its answer in reward_model
ANSWER_COLUMNS = (
    "reference", "references", "answer", "answers", "solution", "solutions", "ground_truth", "gold", "target", "targets", "expected",
    "expected_answer", "final_answer", "label", "output", "response", "reward_model",
)  # fmt: skip


def answers_in(columns: Mapping[str, object]) -> dict[str, object]:
    """The columns of a row that usually hold its right answer, as they are; those without one (`records.has_answer`) are left out.

    >>> answers_in({"level": 3, "Solution": "x = 4", "answer": None, "label": " "})
    {'Solution': 'x = 4'}
    """
    by_place: dict[int, tuple[str, object]] = {}
    for name, value in columns.items():
        if str(name).lower() in ANSWER_COLUMNS and has_answer(value):
            by_place.setdefault(ANSWER_COLUMNS.index(str(name).lower()), (name, value))
    return dict(by_place[place] for place in sorted(by_place))


def answer_column(rows: Iterable[Mapping[str, object]]) -> tuple[str, int] | None:
    """The column that holds a right answer as text in most rows, and in how many; None where there is none.

    >>> answer_column([{"solution": "x = 4", "label": 1}, {"solution": "y", "label": None}, {"id": "c"}])
    ('solution', 2)
    """
    counts: dict[str, int] = {}
    for row in rows:
        for name, value in answers_in(row).items():
            texts = value if isinstance(value, list) and value else [value]
            if all(isinstance(text, str | int | float) and not isinstance(text, bool) and str(text).strip() for text in texts):
                counts[name] = counts.get(name, 0) + 1
    ordered = sorted(counts, key=lambda name: (-counts[name], ANSWER_COLUMNS.index(name.lower())))
    return (ordered[0], counts[ordered[0]]) if ordered else None


def names_beside(names: Iterable[str], ours: Collection[str]) -> Mapping[str, str]:
    """What each column of a file is called beside columns of ours: its own name, or NAME_original where that is taken.

    >>> dict(names_beside(["prompt", "level"], ["id", "prompt"]))
    {'prompt': 'prompt_original', 'level': 'level'}
    >>> dict(names_beside(["prompt", "prompt_original"], ["prompt"]))
    {'prompt': 'prompt_original_2', 'prompt_original': 'prompt_original'}
    """
    own = list(dict.fromkeys(names))
    used = {*own, *ours}
    names_out = {}
    for name in own:
        free, number = name, 1
        while name in ours and free in used:
            free = f"{name}_original" if number == 1 else f"{name}_original_{number}"
            number += 1
        used.add(free)
        names_out[name] = free
    return MappingProxyType(names_out)

"""Which column of a log is what: named by the user, or recognised by its usual names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flatspot.core.errors import ImportFormatError

# the names seen in the wild, most specific first
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt_id": ("prompt_id", "example_id", "task_id", "problem_id", "question_id", "id", "uid"),
    "prompt": ("prompt", "prompts", "input", "question", "problem", "query", "instruction"),
    "reward": ("reward", "rewards", "score", "scores"),
    "completion": ("completion", "completions", "output", "outputs", "response", "responses", "generation", "generations", "answer_text"),
    "sample_idx": ("sample_idx", "sample", "rollout_idx"),
    "step": ("step", "global_step", "iteration"),
    "truncated": ("truncated", "is_truncated"),
    "n_tokens": ("n_tokens", "num_tokens", "completion_length", "response_length"),
    "error": ("error",),
    "split": ("split",),
    "kept": ("kept",),
    "fixed": ("fixed",),
}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Log column → our column; `types` are the log's own types, as DuckDB names them."""

    names: Mapping[str, str]
    types: Mapping[str, str]

    def type_of(self, ours: str) -> str:
        """The log's type of one of our columns."""
        return self.types[self.names[ours]]

    @property
    def is_wide(self) -> bool:
        """One row per prompt, its rewards in a list (of numbers, or written as text: "[0, 1]")."""
        return self.type_of("reward").endswith("[]")


def map_columns(types: Mapping[str, str], given: Mapping[str, str | None], where: str) -> ColumnMap:
    """Find the columns of a log.

    types : column → DuckDB type; given : our name → the column the user named, or None

    Raises `ImportFormatError` where a named column is absent, or where no reward or neither a prompt nor an id is found.
    """
    names = {}
    folded = {column.lower(): column for column in types}
    for ours, usual in USUAL_NAMES.items():
        wanted = given.get(ours)
        if wanted is not None:
            if wanted not in types:
                raise ImportFormatError(f"{where}: there is no column {wanted!r}; it has {_listed(types)}.")
            names[ours] = wanted
        elif (found := next((folded[name] for name in usual if name in folded), None)) is not None and found not in names.values():
            names[ours] = found
    if "reward" not in names:
        raise ImportFormatError(f"{where}: no reward column found among {_listed(types)}. Name it: --reward-col COLUMN")
    if "prompt" not in names and "prompt_id" not in names:
        raise ImportFormatError(
            f"{where}: neither a prompt nor an id column found among {_listed(types)}. Name one: --prompt-col COLUMN or --id-col COLUMN"
        )
    return ColumnMap(names, types)


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(repr(name) for name in types) or "no columns"

"""The data a page carries: one row per prompt for the table, and the completions that fit, packed so that no text can leave its place."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flatspot.core.answers import answers_in
from flatspot.report.blocks import VERDICTS, ReportData
from flatspot.report.formats import number, visible
from flatspot.report.prompt_line import prompt_line

if TYPE_CHECKING:
    import pyarrow

TEXT_LIMIT = 4_000  # characters of one prompt or completion
PREVIEW_LIMIT = 240  # characters of the prompt in its row; also what the search looks through
TOTAL_LIMIT = 20_000_000  # characters of all prompts and completions of one page

# whose completions are worth a reader's time first, and so the order of the table and of what fits
_PRIORITY = {name: i for i, name in enumerate(("vanishing", "undecided", "unscored", "learnable", "solved"))}
_NUMBERS = (
    "error_probability", "n_samples", "n_scored", "mean", "std", "std_lo", "std_hi", "reward_min", "reward_max", "r_star", "reach",
    "relative_std", "p_mixed", "best_of_k", "gain", "gain_lo", "gain_hi", "distinct_share", "truncated_share", "mean_tokens",
)  # fmt: skip
_OVERHEAD = 80  # characters a completion costs beside its text


@dataclass(frozen=True, slots=True)
class Payload:
    """What is packed into a page.

    rows     columns of the table, in display order
    details  prompt, its answers and its completions by row index, for the prompts that fit
    shown, left_out  how many prompts have their completions in the page, and how many had to stay out
    """

    rows: dict[str, Any]
    details: dict[str, Any]
    shown: int
    left_out: int


def pack(value: Any) -> str:
    """A JSON value as base64 of gzip: small, and of letters that mean nothing to an HTML parser."""
    return base64.b64encode(
        gzip.compress(json.dumps(value, allow_nan=False, separators=(",", ":")).encode(), compresslevel=6, mtime=0)
    ).decode()


def build_payload(data: ReportData, *, total_limit: int = TOTAL_LIMIT) -> Payload:
    """Rows and details, the prompts that need somebody first."""
    verdicts = data.verdicts
    names = _texts(verdicts, "verdict")
    means, reaches = _column(verdicts, "mean"), _column(verdicts, "reach")
    order = sorted(
        range(verdicts.num_rows), key=lambda i: (_PRIORITY.get(names[i], 9), number(means[i]) or 0.0, -(number(reaches[i]) or 0.0))
    )
    ids = _texts(verdicts, "prompt_id")
    prompts, answers = _prompts(data.prompts), _answers(data.prompts)
    rows = _rows(data, order, ids, names)
    ordered_ids = [ids[i] for i in order]
    texts = {name: [*prompts.get(name, ()), *answers.get(name, ())] for name in ordered_ids}
    chosen = _choose(data.completions, ordered_ids, texts, total_limit)
    with_completions = set(_texts(data.completions, "prompt_id"))
    details = _details(data.completions, ordered_ids, prompts, answers, chosen)
    shown = sum(prompt_id in chosen for prompt_id in with_completions)
    return Payload(rows, details, shown, max(0, len(set(ids)) - shown))


def _rows(data: ReportData, order: Sequence[int], ids: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    verdict_names = [verdict.name for verdict in VERDICTS]
    verdict_names += sorted(set(names) - set(verdict_names))
    texts = {prompt_id: (text, is_chat) for prompt_id, text, is_chat in _prompt_texts(data.prompts)}
    rows: dict[str, Any] = {
        "names": [visible(name) for name in verdict_names],
        "id": [visible(ids[i]) for i in order],
        "verdict": [verdict_names.index(names[i]) for i in order],
        "prompt": [prompt_line(*texts.get(ids[i], ("", False)), PREVIEW_LIMIT) for i in order],
    }
    if "why" in data.verdicts.column_names:
        why = _texts(data.verdicts, "why")
        rows["why"] = [visible(_cut(why[i], TEXT_LIMIT)[0]) for i in order]
    for name in _NUMBERS:
        if name in data.verdicts.column_names:
            column = data.verdicts.column(name).to_pylist()
            rows[name] = [_rounded(column[i]) for i in order]
    rows["components"] = _components(data.verdicts, order)
    return rows


def _components(verdicts: pyarrow.Table, order: Sequence[int]) -> dict[str, dict[str, list[float | None]]]:
    """Mean and std per reward function, by its name; nothing where there is only one, which is the total."""
    components: dict[str, dict[str, list[float | None]]] = {}
    for key in ("mean", "std"):
        maps = [dict(row or ()) for row in _column(verdicts, f"component_{key}")]
        names = dict.fromkeys(name for row in maps for name in row)
        for name in names:
            components.setdefault(visible(name), {})[key] = [_rounded(maps[i].get(name)) for i in order]
    return components if len(components) > 1 else {}


def _choose(completions: pyarrow.Table, ordered_ids: Sequence[str], texts: dict[str, list[tuple[str, str]]], total_limit: int) -> set[str]:
    """The prompts whose full text, answers and completions fit, in the order given."""
    sizes: dict[str, int] = {}
    if completions.num_rows and "completion" in completions.column_names:
        import pyarrow.compute as pc

        lengths = pc.min_element_wise(pc.fill_null(pc.utf8_length(completions["completion"]), 0), TEXT_LIMIT)
        table = completions.select(["prompt_id"]).append_column("size", pc.add(lengths, _OVERHEAD))
        summed = table.group_by("prompt_id").aggregate([("size", "sum")])
        sizes = dict(zip(_texts(summed, "prompt_id"), summed["size_sum"].to_pylist(), strict=True))
    chosen: set[str] = set()
    room = total_limit
    for prompt_id in ordered_ids:
        size = sizes.get(prompt_id, 0) + sum(min(len(text), TEXT_LIMIT) for _, text in texts.get(prompt_id, ()))
        if size > room:
            break  # a smaller, less important one must not take the place of this one: the page says where it stopped
        if size:
            chosen.add(prompt_id)
            room -= size
    return chosen


def _details(
    completions: pyarrow.Table,
    ordered_ids: Sequence[str],
    prompts: dict[str, list[tuple[str, str]]],
    answers: dict[str, list[tuple[str, str]]],
    chosen: set[str],
) -> dict[str, Any]:
    index = {prompt_id: i for i, prompt_id in enumerate(ordered_ids)}
    details: dict[str, Any] = {
        str(index[prompt_id]): {
            "prompt": [_shown(role, text) for role, text in prompts.get(prompt_id, [])],
            "answers": [_shown(name, text) for name, text in answers.get(prompt_id, [])],
            "completions": [],
        }
        for prompt_id in chosen
    }
    if completions.num_rows and chosen:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = completions.filter(
            pc.is_in(completions["prompt_id"], value_set=pa.array(sorted(chosen), completions.schema.field("prompt_id").type))
        )
        if "sample_idx" in table.column_names:
            table = table.sort_by([("prompt_id", "ascending"), ("sample_idx", "ascending")])
        for row in table.to_pylist():
            details[str(index[row["prompt_id"]])]["completions"].append(_completion_row(row))
    return details


def _completion_row(row: dict[str, Any]) -> dict[str, Any]:
    text, whole = _cut(str(row.get("completion") or ""), TEXT_LIMIT)
    values: dict[str, Any] = {"text": visible(text), "reward": _rounded(row.get("reward"))}
    if whole:
        values["of"] = whole
    if parts := dict(row.get("rewards") or ()):
        values["parts"] = [[visible(str(name)), _rounded(value)] for name, value in parts.items()]
    if row.get("error"):
        values["error"] = visible(_cut(str(row["error"]), TEXT_LIMIT)[0])
    if row.get("truncated"):
        values["truncated"] = True
    if row.get("n_tokens") is not None:
        values["tokens"] = row["n_tokens"]
    return values


def _shown(role: str, text: str) -> dict[str, Any]:
    cut, whole = _cut(text, TEXT_LIMIT)
    return {"role": visible(role), "text": visible(cut), **({"of": whole} if whole else {})}


def _prompts(table: pyarrow.Table) -> dict[str, list[tuple[str, str]]]:
    """By id, the prompt as (role, text) pairs; the role is empty for plain text."""
    return {prompt_id: _messages(text) if is_chat else [("", text)] for prompt_id, text, is_chat in _prompt_texts(table)}


def _prompt_texts(table: pyarrow.Table) -> list[tuple[str, str, bool]]:
    """(id, text as stored, whether that is a chat) of each prompt."""
    if "prompt" not in table.column_names or "prompt_id" not in table.column_names:
        return []
    return list(zip(_texts(table, "prompt_id"), _texts(table, "prompt"), map(bool, _column(table, "is_chat")), strict=True))


def _answers(table: pyarrow.Table) -> dict[str, list[tuple[str, str]]]:
    """By id, the columns of the prompt that hold its right answer, as (column, text) pairs."""
    if "columns" not in table.column_names or "prompt_id" not in table.column_names:
        return {}
    return {
        prompt_id: _answer_texts(columns) for prompt_id, columns in zip(_texts(table, "prompt_id"), _texts(table, "columns"), strict=True)
    }


def _answer_texts(columns: str) -> list[tuple[str, str]]:
    try:
        values = json.loads(columns or "{}")
        answers = answers_in(values) if isinstance(values, dict) else {}
    except (ValueError, RecursionError):
        return []
    return [
        (name, "\n".join(_answer_text(one) for one in (value if isinstance(value, list) else [value]))) for name, value in answers.items()
    ]


def _answer_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _messages(text: str) -> list[tuple[str, str]]:
    try:
        messages = json.loads(text)
        return [
            (str(m.get("role", "")), m["content"] if isinstance(m.get("content"), str) else json.dumps(m.get("content"))) for m in messages
        ]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return [("", text)]  # a foreign log's idea of a chat: shown as it came


def _cut(text: str, limit: int) -> tuple[str, int]:
    """The text's start, and its whole length where something was cut (else 0)."""
    return (text, 0) if len(text) <= limit else (text[:limit], len(text))


def _rounded(value: Any) -> float | None:
    x = number(value)
    return None if x is None else float(f"{x:.5g}")


def _column(table: pyarrow.Table, name: str) -> list[Any]:
    return table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows


def _texts(table: pyarrow.Table, name: str) -> list[str]:
    return ["" if text is None else str(text) for text in _column(table, name)]

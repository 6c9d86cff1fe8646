"""From the rows of a file or a Python list to prompts: check each, name each, and say which row is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Message, Prompt, PromptText, prompt_id, with_equal_columns
from flatspot.tasks.prompt_template import PromptTemplate

SHOWN = 5  # how many bad rows a message lists

_LIKELY = ("question", "messages", "problem", "instruction", "input", "query", "text")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # a lone surrogate, as JSON can write it: UTF-8 and tokenizers have no place for it

Row = tuple[str, Mapping[str, object]]  # where it stands, as "file.jsonl:3", and its columns


def prompts_from_rows(
    rows: Iterable[Row],
    *,
    source: str,
    prompt_col: str = "prompt",
    id_col: str = "id",
    template: PromptTemplate | None = None,
    as_chat: bool = False,
) -> list[Prompt]:
    """Prompts from rows of columns, in order.

    The prompt column holds text or chat messages; ids come from the id column where it has a value, else from the content, and a
    prompt seen before gets -2, -3, … after it. Every other column goes to `Prompt.columns` unchanged, and is None where a row lacks it.
    With a template the text is made of the columns that it names, and the prompt column is not looked at; with `as_chat` text becomes one
    user message.
    Raises `PromptFileError` listing the first bad rows: a missing, empty or mistyped prompt, or an id that two rows share.

    >>> rows = [("row 1", {"prompt": "2+2=", "answer": 4}), ("row 2", {"prompt": "2+2=", "id": "b"})]
    >>> [(prompt.id, dict(prompt.columns)) for prompt in prompts_from_rows(rows, source="a list")]
    [('20243c49d24c4af1', {'answer': 4}), ('b', {'answer': None})]
    """
    items = list(rows)
    if not items:
        raise PromptFileError(f"{source}: no prompts: expected at least one row with a {prompt_col!r} column")
    for name in (prompt_col,) if template is None else template.columns:
        _require_column(items, source, name, in_template=template is not None)
    problems: list[str] = []
    texts: list[PromptText] = []
    for where, row in items:
        text, problem = _prompt_text(row.get(prompt_col), prompt_col) if template is None else _filled(template, row)
        if as_chat and isinstance(text, str):
            text = [{"role": "user", "content": text}]
        problem = problem or _half_character(text, row.get(id_col))
        texts.append(text)
        if problem:
            problems.append(f"{where}: {problem}")
    raise_problems(source, problems)
    ids = _ids(items, texts, source, id_col)
    prompts = [
        Prompt(name, text, {key: value for key, value in row.items() if key not in (prompt_col, id_col)})
        for name, text, (_, row) in zip(ids, texts, items, strict=True)
    ]
    return with_equal_columns(prompts)


def check_limit(limit: int | None) -> None:
    """Raise `PromptFileError` where a limit on the number of prompts is below 1."""
    if limit is not None and limit < 1:
        raise PromptFileError(f"limit must be at least 1, got {limit}")


def raise_problems(source: str, problems: Sequence[str], further: int = 0) -> None:
    """Raise `PromptFileError` with the first few of the problems, if there are any; `further` ones are only counted."""
    if problems:
        n = len(problems) + further
        more = [f"… and {n - SHOWN} more"] if n > SHOWN else []
        rows = "1 row" if n == 1 else f"{n} rows"
        raise PromptFileError("\n  ".join([f"{source}: {rows} cannot be read as prompts", *problems[:SHOWN], *more]))


def unique_ids(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, each repeated one with -2, -3, … after it.

    >>> unique_ids(["a", "b", "a", "a"])
    ['a', 'b', 'a-2', 'a-3']
    """
    used = set(taken)
    count: dict[str, int] = {}
    unique = []
    for name in names:
        free, number = name, count.get(name, 1)
        while free in used:
            number += 1
            free = f"{name}-{number}"
        count[name] = number
        used.add(free)
        unique.append(free)
    return unique


def _filled(template: PromptTemplate, row: Mapping[str, object]) -> tuple[str, str | None]:
    text = template.fill(row)
    if text is None:
        empty = next(name for name in template.columns if row.get(name) is None)
        return "", f"the column {empty!r}, which --prompt-template names, is missing or null"
    return text, None if text.strip() else "the prompt that --prompt-template makes is empty"


def _require_column(rows: Sequence[Row], source: str, prompt_col: str, *, in_template: bool = False) -> None:
    if any(prompt_col in row for _, row in rows):
        return
    columns = list(dict.fromkeys(str(key) for _, row in rows[:100] for key in row))
    if in_template:
        raise PromptFileError(f"{source}: no column {prompt_col!r}, which --prompt-template names; the columns are {', '.join(columns)}")
    guess = next((name for name in columns if name.lower() in _LIKELY), "NAME")
    raise PromptFileError(
        f"{source}: no column {prompt_col!r}; the columns are {', '.join(columns) or 'none'}. "
        f"Name the one that holds the prompts: --prompt-col {guess}"
    )


def _prompt_text(value: object, column: str) -> tuple[PromptText, str | None]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "", f"the column {column!r} is missing or null; expected text or chat messages"
    if isinstance(value, str):
        return value, None if value.strip() else f"the column {column!r} is empty; expected text or chat messages"
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return "", f"the column {column!r} holds {_short(value)}; expected text or a list of messages with role and content"
    if not value:
        return "", f"the column {column!r} is an empty list; expected at least one message with role and content"
    messages: list[Message] = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping):
            return "", f"message {number} is {_short(message)}; expected an object with role and content"
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                return "", f"message {number} has {key} {_short(message.get(key))}; expected text"
        # Parquet gives every message every key, null where it has none: those must not make it another prompt
        messages.append({key: part for key, part in message.items() if part is not None})
    return messages, None


def _half_character(text: PromptText, name: object) -> str | None:
    """What is wrong with a prompt or id that holds half of a character; its other columns may, for they are only handed on."""
    parts = [text] if isinstance(text, str) else [part for m in text for part in (m.get("role"), m.get("content")) if isinstance(part, str)]
    parts += [name] if isinstance(name, str) else []
    half = next((m.group() for m in map(_HALF_CHARACTER.search, parts) if m), None)
    return half and f"the prompt or its id holds \\u{ord(half):04x}, half of a character that UTF-8 cannot hold; write the whole one"


def _ids(rows: Sequence[Row], texts: Sequence[PromptText], source: str, id_col: str) -> list[str]:
    ids = [_given_id(row.get(id_col)) for _, row in rows]
    first: dict[str, str] = {}
    problems = []
    for name, (where, _) in zip(ids, rows, strict=True):
        if name is not None and name in first:
            problems.append(f"{where}: the id {name!r} is that of {first[name]} too; ids must differ, or be left out")
        elif name is not None:
            first[name] = where
    raise_problems(source, problems)
    hashed = iter(unique_ids((prompt_id(text) for text, name in zip(texts, ids, strict=True) if name is None), taken=first))
    return [name if name is not None else next(hashed) for name in ids]


def _given_id(value: object) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} (a {type(value).__name__})" if value is not None else "nothing"

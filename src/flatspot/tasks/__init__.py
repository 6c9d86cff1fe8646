"""Named data sets and prompt files → prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flatspot.core.errors import FileError, PromptFileError
from flatspot.core.records import Prompt, with_equal_columns
from flatspot.readers.in_memory import arrow_table, way_on
from flatspot.readers.parquet_rows import table_rows
from flatspot.tasks.gym import PREFIX, gym_prompts
from flatspot.tasks.hub import PREFIX as HUB
from flatspot.tasks.hub import hub_rows, parse_hub
from flatspot.tasks.prompt_file import read_prompts
from flatspot.tasks.prompt_template import PromptTemplate
from flatspot.tasks.rows import check_limit, prompts_from_rows
from flatspot.tasks.sources import added_prompts

__all__ = ["gym_prompts", "load_prompts", "read_prompts"]

Source = str | Path | Sequence[str | Mapping[str, object] | Prompt] | object  # the last: a table in memory


def load_prompts(
    source: Source, *, prompt_col: str = "prompt", id_col: str = "id", limit: int | None = None, template: str | None = None
) -> list[Prompt]:
    """The prompts of a file, of a source by name (`reasoning-gym:…`, `hf:…`, another package's), of a table in memory, or of a Python list.

    A table is anything with an Arrow stream (pyarrow, pandas from 2.2, polars) or a `datasets.Dataset`; a list has texts, rows or prompts.

    template  makes the text of each prompt of its columns (`PromptTemplate`); None: it stands in the prompt column

    Raises `PromptFileError` saying what cannot be read, and where.

    >>> [prompt.text for prompt in load_prompts(["2+2=", {"prompt": "3+3=", "reference": "6"}])]
    ['2+2=', '3+3=']
    """
    check_limit(limit)
    made = None if template is None else PromptTemplate(template)
    if isinstance(source, str) and source.startswith(PREFIX) and made is not None:
        raise PromptFileError(f"--prompt-template is for rows with columns, and {PREFIX}… makes its prompts: leave it out")
    if isinstance(source, str) and source.startswith(HUB):
        return _hub_prompts(source, prompt_col, id_col, limit, made)
    if isinstance(source, str) and source.startswith(PREFIX):
        return with_equal_columns(gym_prompts(source)[:limit])
    if isinstance(source, str) and (added := added_prompts(source, limit)) is not None:
        return _prompts_of(added, source, prompt_col, id_col, made)
    if isinstance(source, str | Path):
        return read_prompts(source, prompt_col=prompt_col, id_col=id_col, limit=limit, template=made)
    try:
        if (table := arrow_table(source)) is not None:
            source = table_rows(table.slice(0, limit), "the table")
    except FileError as error:
        raise PromptFileError(str(error)) from None
    if not isinstance(source, Sequence):
        kind = f"{type(source).__module__}.{type(source).__name__}".removeprefix("builtins.")
        raise PromptFileError(f"expected a path, {PREFIX}…, a table or a list of prompts, got a {kind}: {way_on(source)}")
    return _prompts_of(source[:limit], "the list of prompts", prompt_col, id_col, made)


def _hub_prompts(spec: str, prompt_col: str, id_col: str, limit: int | None, template: PromptTemplate | None) -> list[Prompt]:
    rows = [(f"row {number}", row) for number, row in enumerate(hub_rows(spec, limit), 1)]
    return prompts_from_rows(rows, source=spec, prompt_col=prompt_col, id_col=id_col, template=template, as_chat=parse_hub(spec).chat)


def _prompts_of(items: Sequence[object], place: str, prompt_col: str, id_col: str, template: PromptTemplate | None = None) -> list[Prompt]:
    """The prompts of texts, rows and prompts; `place` is what an error says they are of."""
    rows = [(f"item {number}", _as_row(item, number, prompt_col, id_col)) for number, item in enumerate(items, 1)]
    prompts = prompts_from_rows(rows, source=place, prompt_col=prompt_col, id_col=id_col, template=template)
    return with_equal_columns([_with_all_columns(prompt, item) for prompt, item in zip(prompts, items, strict=True)])


def _with_all_columns(prompt: Prompt, item: object) -> Prompt:
    """The prompt with those further columns of a `Prompt` that have the name of the prompt's or the id's own."""
    return replace(prompt, columns={**prompt.columns, **item.columns}) if isinstance(item, Prompt) else prompt


def _as_row(item: object, number: int, prompt_col: str, id_col: str) -> Mapping[str, object]:
    if isinstance(item, Prompt):
        return {**item.columns, prompt_col: item.text, id_col: item.id}
    if isinstance(item, str):
        return {prompt_col: item}
    if isinstance(item, Mapping):
        return item
    raise PromptFileError(f"the list of prompts: item {number} is a {type(item).__name__}; expected text, a dict or a Prompt")

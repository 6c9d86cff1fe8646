"""Data sets of the Hugging Face hub as prompts, through `datasets`: `hf:openai/gsm8k[main,split=train,reference=answer]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flatspot.core.errors import FileError, PromptFileError
from flatspot.core.optional import require
from flatspot.core.pairs import read_pairs
from flatspot.readers.in_memory import arrow_table
from flatspot.readers.parquet_rows import table_rows

PREFIX = "hf:"
_LOADED_BY = ("split", "revision", "data_dir", "data_files")
_FORM = f"expected {PREFIX}NAME or {PREFIX}NAME[CONFIG,split=SPLIT,…]"


@dataclass(frozen=True, slots=True)
class HubSet:
    """A data set and how its rows are read.

    name     on the hub, or a local folder that `datasets` can load
    config   its configuration; None: the only one
    options  of `datasets.load_dataset`: split, revision, data_dir, data_files
    chat     ask each prompt in text as one user message
    renamed  further columns by what they are copied from
    """

    name: str
    config: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    chat: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)


def parse_hub(spec: str) -> HubSet:
    """What a spec names, without loading anything; raises PromptFileError.

    >>> parse_hub("hf:openai/gsm8k[main,split=train,reference=answer]")
    HubSet(name='openai/gsm8k', config='main', options={'split': 'train'}, chat=False, renamed={'reference': 'answer'})
    """
    name, bracket, rest = spec.removeprefix(PREFIX).partition("[")
    if not name.strip() or (bracket and not rest.endswith("]")):
        raise PromptFileError(f"{spec!r}: {_FORM}")
    first, comma, others = rest[:-1].partition(",")
    config, pairs = (None, rest[:-1]) if "=" in first else (first.strip() or None, others if comma else "")
    try:
        values = read_pairs(pairs)
    except ValueError as error:
        raise PromptFileError(f"{spec!r}: {error}; {_FORM}") from None
    chat = values.pop("chat", "false").strip().lower()
    if chat not in ("true", "false"):
        raise PromptFileError(f"{spec!r}: chat is true or false, got {chat!r}")
    options = {key: value for key, value in values.items() if key in _LOADED_BY}
    return HubSet(name.strip(), config, options, chat == "true", {key: value for key, value in values.items() if key not in options})


def hub_rows(spec: str, limit: int | None = None) -> list[dict[str, Any]]:
    """The first rows of a data set, with its renamed columns; raises PromptFileError, and MissingExtra without the package."""
    asked = parse_hub(spec)
    datasets = require("datasets", extra="datasets", purpose=f"{PREFIX}{asked.name}")
    try:
        loaded = datasets.load_dataset(asked.name, asked.config, **asked.options)
        if isinstance(loaded, Mapping):
            if len(loaded) > 1:
                raise PromptFileError(f"{spec}: the data set has the splits {', '.join(loaded)}: name one, as [split={next(iter(loaded))}]")
            [loaded] = loaded.values()
        table = arrow_table(loaded.select(range(min(limit, len(loaded)))) if limit is not None else loaded)
    except (FileError, PromptFileError, MemoryError):
        raise
    except Exception as error:  # only `datasets` runs here, with what the user wrote
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise PromptFileError(
            f"{spec}: datasets cannot load it: {reason}. Compare name, configuration and split with the page of the data set; without a "
            "network, give a file of it"
        ) from error
    if table is None:
        raise PromptFileError(f"{spec}: datasets gave a {type(loaded).__name__}, which is no table")
    if missing := [f"{key}={value}" for key, value in asked.renamed.items() if value not in table.column_names]:
        raise PromptFileError(
            f"{spec}: {', '.join(missing)}: there is no such column; the columns are {', '.join(table.column_names)}. Options are "
            f"{', '.join(_LOADED_BY)} and chat; any other NAME=COLUMN copies a column"
        )
    rows = table_rows(table, spec)
    return [row | {key: row[value] for key, value in asked.renamed.items()} for row in rows]

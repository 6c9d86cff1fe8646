"""Prompts made of columns: `--prompt-template 'Question: {question}\\nAnswer:'`."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from flatspot.core.errors import PromptFileError


@dataclass(frozen=True)
class PromptTemplate:
    r"""Text with the names of columns in braces; `{{` and `}}` are braces of the text, and `\n` as two characters begins a line.

    Raises PromptFileError for braces that do not match, or hold anything but a name.

    >>> PromptTemplate(r"Q: {question}\nA:").fill({"question": "2+2?"})
    'Q: 2+2?\nA:'
    """

    text: str

    def __post_init__(self) -> None:
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise PromptFileError(f"--prompt-template {self.text!r}: {error}. Write braces of the text as {{{{ and }}}}") from None
        for _, name, form, conversion in parts:
            if name is not None and (not name or form or conversion):
                raise PromptFileError(
                    f"--prompt-template {self.text!r}: expected the name of a column between braces, as {{question}}. Write braces of the "
                    "text as {{ and }}"
                )
        if not any(name for _, name, _, _ in parts):
            raise PromptFileError(
                f"--prompt-template {self.text!r} names no column, so every prompt would be the same: add one, as {{question}}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once."""
        return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(self.text) if name))

    def fill(self, row: Mapping[str, object]) -> str | None:
        """The prompt of a row; None where the row has no value in a column that is named."""
        if any(row.get(name) is None for name in self.columns):
            return None
        return "".join(
            text.replace("\\n", "\n") + ("" if name is None else str(row[name])) for text, name, _, _ in string.Formatter().parse(self.text)
        )

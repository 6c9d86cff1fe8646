"""What vLLM tells of a call before its end: it advances a bar as requests end, which is one that nobody sees."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from flatspot.core.protocols import OnTokens, tell_completed


@dataclass
class Told:
    """How many completions and tokens of a call an `OnTokens` was told of."""

    on_tokens: OnTokens | None
    completions: int = 0
    tokens: int = 0

    def so_far(self, completions: int, tokens: int) -> None:
        """So many of each there are by now."""
        new, self.completions = completions - self.completions, completions
        tell_completed(self.on_tokens, new)
        new, self.tokens = max(0, tokens - self.tokens), max(tokens, self.tokens)
        if self.on_tokens is not None and new:
            self.on_tokens(new)


def hidden_bar() -> Callable[..., Any]:
    """A bar that vLLM advances as requests end, and nobody sees: all that it tells of a call before its end.

    It counts requests. vLLM writes the tokens beside them, divided by the seconds, which are one here; a version that writes them
    otherwise tells of tokens at the end alone.
    """
    tqdm: Any = import_module("tqdm").tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, told: Told, *arguments: Any, **named: Any) -> None:
            self.told = told
            super().__init__(*arguments, **named | {"file": io.StringIO(), "mininterval": 3600.0})

        @property
        def format_dict(self) -> dict[str, Any]:
            return {**super().format_dict, "elapsed": 1.0}

        def update(self, n: float | None = 1) -> bool | None:
            updated: bool | None = super().update(n)
            tokens = re.search(r"output: ([\d.]+)", str(self.postfix))
            if self.iterable is None:  # else it is of prompts that are read
                self.told.so_far(int(self.n), round(float(tokens[1])) if tokens else 0)
            return updated

    return Bar

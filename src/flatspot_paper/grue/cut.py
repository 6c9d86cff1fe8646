"""Prompts no longer than so many tokens of a policy's tokenizer, cut in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flatspot_paper.grue.tasks import Side

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Cut = Callable[[str, int, Side], str]


def whole(text: str, tokens: int, side: Side) -> str:
    """The text as it is: where there is no tokenizer to count with."""
    return text


def cutter(tokenizer: PreTrainedTokenizerBase) -> Cut:
    """A function that leaves of a text at most so many tokens, the tokenizer's special ones included: on `side` the rest is dropped.

    The text is cut between two tokens, not decoded from them, so what is left stands as it stood.
    """
    special = tokenizer.num_special_tokens_to_add()

    def cut(text: str, tokens: int, side: Side) -> str:
        places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        room = max(1, tokens - special)
        if len(places) <= room:
            return text
        return text[: places[room - 1][1]] if side == "right" else text[places[-room][0] :]

    return cut


def tokenizer_cut(model: str) -> Cut:
    """The cutter of a policy, as `--model` names it; raises `EngineError` where there is none."""
    from pathlib import Path

    from flatspot.core.errors import EngineError
    from flatspot.engines.adapter import base_of, has_tokenizer
    from flatspot.engines.model_folder import is_adapter
    from flatspot.engines.policy import locate
    from flatspot.engines.pretrained import tokenizer_of

    source, _ = locate(model)
    if is_adapter(Path(source)) and not has_tokenizer(Path(source)):
        source, _ = locate(base_of(Path(source)))
    tokenizer = tokenizer_of(source)
    if not tokenizer.is_fast:
        raise EngineError(f"the tokenizer of {model} does not say where its tokens stand in the text: use one with tokenizer.json")
    return cutter(tokenizer)

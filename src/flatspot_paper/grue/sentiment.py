"""The reward of IMDB: how positive a classifier of film reviews takes the prompt and its completion to be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flatspot.core.errors import RewardLoadError
from flatspot.core.optional import require

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLASSIFIER = "lvwerra/distilbert-imdb"
_TOGETHER = 64  # texts in one pass


def grue_sentiment(prompts: Sequence[object], completions: Sequence[object], *, classifier: str = CLASSIFIER) -> list[float]:
    """The probability of a positive review, in [0, 1], of each prompt with its completion.

    classifier  of two labels, the second of them positive: a name on the hub or a folder

    What is longer than the classifier reads is cut on the left, so that the completion stays.
    """
    score = _classifier(classifier)
    texts = [_text(prompt) + _text(completion) for prompt, completion in zip(prompts, completions, strict=True)]
    return [value for start in range(0, len(texts), _TOGETHER) for value in score(texts[start : start + _TOGETHER])]


grue_sentiment.reward_range = (0.0, 1.0)  # type: ignore[attr-defined]


def _text(part: object) -> str:
    """A text, or what messages say, one after another."""
    if isinstance(part, str):
        return part
    return "".join(str(message["content"]) for message in part)  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=1)
def _classifier(name: str) -> Callable[[list[str]], list[float]]:
    torch = require("torch", extra="reproduce", purpose="the reward grue_sentiment")
    transformers = require("transformers", extra="reproduce", purpose="the reward grue_sentiment")
    try:
        model: PreTrainedModel = transformers.AutoModelForSequenceClassification.from_pretrained(name).eval()
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(name, truncation_side="left")
    except Exception as error:  # transformers raises many kinds: offline, unknown, unreadable
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RewardLoadError(
            f"grue_sentiment: the classifier {name} cannot be loaded: {reason[:200]}. Connect to the hub once, give a folder "
            "(grue_sentiment[classifier=FOLDER]), or use the word list instead: --reward sentiment"
        ) from error
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))

    def score(texts: list[str]) -> list[float]:
        inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=longest)
        with torch.inference_mode():
            logits: Tensor = model(**inputs).logits
        return [float(value) for value in torch.softmax(logits.double(), dim=-1)[:, 1]]

    return score

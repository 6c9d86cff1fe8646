"""METEOR as a reward, with WordNet's synonyms or, where the user says so, without them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flatspot.core.errors import RewardLoadError
from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.rewards.metrics import RowReward, references_of
from flatspot.rewards.wordnet import read_wordnet

_WORD = re.compile(r"\w+|[^\w\s]")

_HOW_TO_GET_WORDNET = (
    "meteor needs WordNet for its synonyms and found none. Get it with `python -m nltk.downloader wordnet`; or, on Debian and "
    "Ubuntu, `apt-get install wordnet-base` and write meteor[wordnet=/usr/share/wordnet]; or write "
    "meteor[wordnet=none] to match words and stems only, a different metric that must be named as such."
)


def meteor(*, wordnet: str = "auto") -> RowReward:
    """METEOR, the best over the references, in [0, 1]; Banerjee and Lavie 2005 as in NLTK: alpha 0.9, beta 3, gamma 0.5.

    wordnet  auto: the corpus NLTK finds; a folder with WordNet's data.* and index.* files; none: words and stems only

    Words are runs of letters and digits, and single punctuation marks, in lower case. NLTK looks up synonyms of the stems that are
    left over, so a synonym whose stem is no word ("automobil") is missed.
    """
    scorer = require("nltk.translate.meteor_score", extra="metrics", purpose="the reward meteor")
    synonyms = _synonyms(wordnet)

    def score(prompt: Prompt, text: str) -> float:
        references = [_words(reference) for reference in references_of(prompt)]
        return float(scorer.meteor_score(references, _words(text), wordnet=synonyms))

    return score


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


class _NoSynonyms:
    """Stands where METEOR asks WordNet, and knows no word."""

    def synsets(self, word: str) -> list[Any]:
        return []


def _synonyms(wordnet: str) -> Any:
    if wordnet == "none":
        return _NoSynonyms()
    corpus = require("nltk.corpus", extra="metrics", purpose="the reward meteor")
    if wordnet == "auto":
        try:
            corpus.wordnet.synsets("word")  # the corpus is opened on first use, so ask it something
        except LookupError:
            raise RewardLoadError(_HOW_TO_GET_WORDNET) from None
        return corpus.wordnet
    try:
        return read_wordnet(Path(wordnet).expanduser())
    except (OSError, ValueError, IndexError) as error:
        raise RewardLoadError(f"meteor: cannot read WordNet from {wordnet}: {error}. {_HOW_TO_GET_WORDNET}") from None

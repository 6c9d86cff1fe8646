"""METEOR as a reward, with WordNet's synonyms or, where the user says so, without them."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from flatspot.core.errors import RewardLoadError
from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.rewards.metrics import RowReward, references_of

# METEOR never asks for the lexicographer file a synset came from, but NLTK wants the list of their names, 45 of them
_LEXNAMES = "".join(f"{i:02d}\tlexfile{i:02d}\t1\n" for i in range(45))
_WORD = re.compile(r"\w+|[^\w\s]")

_HOW_TO_GET_WORDNET = (
    "meteor needs WordNet for its synonyms and found none. Get it with `python -m nltk.downloader wordnet`; or, on Debian and "
    "Ubuntu, `apt-get install wordnet-base wordnet-sense-index` and write meteor[wordnet=/usr/share/wordnet]; or write "
    "meteor[wordnet=none] to match words and stems only, a different metric that must be named as such."
)


def meteor(*, wordnet: str = "auto") -> RowReward:
    """METEOR, the best over the references, in [0, 1]; Banerjee and Lavie 2005 as in NLTK: alpha 0.9, beta 3, gamma 0.5.

    wordnet  auto: the corpus NLTK finds; a folder with WordNet's data.* and index.* files; none: words and stems only

    Words are runs of letters and digits, and single punctuation marks, in lower case.
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
    return _read_wordnet(Path(wordnet).expanduser())


def _read_wordnet(folder: Path) -> Any:
    """NLTK's reader over a WordNet folder; Debian's lacks one file that NLTK wants, so it is read through a folder of links."""
    if not (folder / "data.noun").is_file():
        raise RewardLoadError(f"meteor: no WordNet in {folder} (it has no data.noun). {_HOW_TO_GET_WORDNET}")
    reader = require("nltk.corpus.reader.wordnet", extra="metrics", purpose="the reward meteor").WordNetCorpusReader
    allowed = require("nltk.data", extra="metrics", purpose="the reward meteor").path
    with tempfile.TemporaryDirectory(prefix="flatspot-wordnet-") as name:
        links = Path(name).resolve()
        for file in folder.resolve().iterdir():
            (links / file.name).symlink_to(file.resolve())
        if not (links / "lexnames").exists():
            (links / "lexnames").write_text(_LEXNAMES)
        # NLTK opens only what its search path names; the user named this folder, so it is allowed while it is opened
        added = [str(links), str(folder.resolve())]
        allowed.extend(added)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The multilingual functions are not available")  # METEOR needs none
                found = reader(str(links), None)
            for part in ("n", "v", "a", "r"):
                found._data_file(part)  # opened now and kept open, so the folder of links can go
        finally:
            for path in added:
                allowed.remove(path)
    return found

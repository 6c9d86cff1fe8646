"""METEOR as a reward, with WordNet's synonyms or, where the user says so, without them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

from flatspot.core.errors import RewardLoadError
from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.rewards.metrics import RowReward, references_of

_REMEMBERED = 1 << 16  # words, of each kind
_WORD = re.compile(r"\w+|[^\w\s]")

_HOW_TO_GET_WORDNET = (
    "Get it with `python -m nltk.downloader wordnet`; or, where there is no network, take along a folder that "
    "`python -m nltk.downloader -d FOLDER wordnet` filled elsewhere, and write meteor[wordnet=FOLDER]; or write meteor[wordnet=none] to "
    "match words and stems only, a different metric that must be named as such."
)


def meteor(*, wordnet: str = "auto") -> RowReward:
    """METEOR, the best over the references, in [0, 1]; Banerjee and Lavie 2005 as in NLTK: alpha 0.9, beta 3, gamma 0.5.

    wordnet  auto: the corpus that NLTK finds; a folder of NLTK's data, with corpora/wordnet or corpora/wordnet.zip; none: words and stems
             only

    Words are runs of letters and digits, and single punctuation marks, in lower case. NLTK looks up synonyms of the stems that are
    left over, so a synonym whose stem is no word ("automobil") is missed.
    """
    scorer = require("nltk.translate.meteor_score", extra="metrics", purpose="the reward meteor")
    synonyms, stemmer = _Remembered(_synonyms(wordnet)), _stemmer()

    def score(prompt: Prompt, text: str) -> float:
        references = [_words(reference) for reference in references_of(prompt)]
        return float(scorer.meteor_score(references, _words(text), stemmer=stemmer, wordnet=synonyms))

    return score


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


class _Thesaurus(Protocol):
    def synsets(self, word: str) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class _Word:
    """A lemma, of which NLTK asks the name."""

    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Synset:
    """Words of one meaning, or of several."""

    words: tuple[_Word, ...]

    def lemmas(self) -> tuple[_Word, ...]:
        return self.words


class _Remembered:
    """A thesaurus that reads each word once: texts repeat theirs, and NLTK looks them up anew for every pair of texts."""

    def __init__(self, thesaurus: _Thesaurus) -> None:
        @lru_cache(maxsize=_REMEMBERED)
        def synsets(word: str) -> tuple[_Synset, ...]:
            names = {lemma.name() for synset in thesaurus.synsets(word) for lemma in synset.lemmas()}
            return (_Synset(tuple(map(_Word, sorted(names)))),)

        self.synsets = synsets


@cache
def _stemmer() -> object:
    """NLTK's Porter stemmer, which stems each word once."""
    stemmer = require("nltk.stem.porter", extra="metrics", purpose="the reward meteor").PorterStemmer()
    stemmer.stem = lru_cache(maxsize=_REMEMBERED)(stemmer.stem)
    return stemmer


class _NoSynonyms:
    """Stands where METEOR asks WordNet, and knows no word."""

    def synsets(self, word: str) -> Sequence[Any]:
        return []


def _synonyms(wordnet: str) -> _Thesaurus:
    """NLTK's reader of WordNet, in memory after about two seconds; `RewardLoadError` where it finds none, or cannot read it."""
    if wordnet == "none":
        return _NoSynonyms()
    data = require("nltk.data", extra="metrics", purpose="the reward meteor")
    corpus = require("nltk.corpus", extra="metrics", purpose="the reward meteor")
    folder = None if wordnet == "auto" else str(Path(wordnet).expanduser().resolve())
    if folder is not None and folder not in data.path:
        data.path.append(folder)  # NLTK opens files nowhere else; last, so that `auto` does not take this corpus for its own
    where = "on NLTK's search path" if folder is None else f"in {folder}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no other languages
            reader: _Thesaurus = corpus.wordnet if folder is None else _reader_of(folder)
            reader.synsets("word")  # the corpus is read on first use, so ask it something
    except LookupError as error:
        hint = " that NLTK reads: other accounts may write there (chmod -R go-w)" if "writable by other accounts" in str(error) else ""
        raise RewardLoadError(f"meteor needs WordNet for its synonyms, and there is none {where}{hint}. {_HOW_TO_GET_WORDNET}") from None
    except (OSError, ValueError, AssertionError, BadZipFile) as error:
        raise RewardLoadError(f"meteor: WordNet {where} cannot be read: {error}. {_HOW_TO_GET_WORDNET}") from None
    return reader


@cache
def _reader_of(folder: str) -> _Thesaurus:
    """The reader of WordNet in this folder of NLTK's data, unpacked or not; `LookupError` where it is not there, whatever others hold.

    One for a process: it leaves files open.
    """
    data = require("nltk.data", extra="metrics", purpose="the reward meteor")
    corpus = require("nltk.corpus", extra="metrics", purpose="the reward meteor")
    try:
        root = data.find("corpora/wordnet", [folder])
    except LookupError:
        root = data.find("corpora/wordnet.zip/wordnet/", [folder])
    reader: _Thesaurus = corpus.WordNetCorpusReader(root, None)
    return reader

"""The synonyms of a word, from a folder of WordNet's database files.

NLTK's own reader wants files that distributions leave out, and reads only from its own search path; METEOR asks for synonyms alone.
Formats: the manual pages wndb(5WN) and morphy(7WN) of Princeton's WordNet 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# morphy's rules of detachment: an ending, and what takes its place
_RULES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "noun": tuple(
        zip(("s", "ses", "ves", "xes", "zes", "ches", "shes", "men", "ies"), ("", "s", "f", "x", "z", "ch", "sh", "man", "y"), strict=True)
    ),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
_MARKER = re.compile(r"\([a-z]+\)$")  # where an adjective may stand: "galore(ip)"


@dataclass(frozen=True, slots=True)
class Lemma:
    """One word of a synset, named as NLTK's METEOR asks."""

    word: str

    def name(self) -> str:
        """The word, its parts joined by underscores."""
        return self.word


@dataclass(frozen=True, slots=True)
class Synset:
    """Words of one meaning."""

    words: tuple[str, ...]

    def lemmas(self) -> list[Lemma]:
        """The words as lemmas."""
        return [Lemma(word) for word in self.words]


@dataclass(frozen=True, slots=True)
class WordNet:
    """A WordNet database in memory, by part of speech.

    index       lemma → where its synsets stand in `data`
    exceptions  irregular form → base forms
    """

    index: Mapping[str, Mapping[str, tuple[int, ...]]]
    data: Mapping[str, bytes]
    exceptions: Mapping[str, Mapping[str, tuple[str, ...]]]

    def synsets(self, word: str) -> list[Synset]:
        """The synsets of the word's base forms, over all parts of speech."""
        word = word.lower()
        return [
            self._synset(part, offset) for part in self.index for form in self._base_forms(word, part) for offset in self.index[part][form]
        ]

    def _synset(self, part: str, offset: int) -> Synset:
        data = self.data[part]
        fields = data[offset : data.index(b"\n", offset)].decode().split(" ")
        n_words = int(fields[3], 16)
        return Synset(tuple(_MARKER.sub("", word) for word in fields[4 : 4 + 2 * n_words : 2]))

    def _base_forms(self, word: str, part: str) -> list[str]:
        if word in self.exceptions[part]:
            return self._known((word, *self.exceptions[part][word]), part)
        forms = _detached([word], part)
        found = self._known((word, *forms), part)
        while forms and not found:
            forms = _detached(forms, part)
            found = self._known(forms, part)
        return found

    def _known(self, forms: Iterable[str], part: str) -> list[str]:
        return [form for form in dict.fromkeys(forms) if form in self.index[part]]


def read_wordnet(folder: Path) -> WordNet:
    """WordNet from the files index.*, data.* and *.exc of a folder, in about a second; raises `OSError` where one is missing."""
    return WordNet(
        index={part: dict(map(_index_entry, _lines(folder / f"index.{part}"))) for part in _RULES},
        data={part: (folder / f"data.{part}").read_bytes() for part in _RULES},
        exceptions={part: {line.split()[0]: tuple(line.split()[1:]) for line in _lines(folder / f"{part}.exc")} for part in _RULES},
    )


def _lines(file: Path) -> Iterable[str]:
    # the licence at the head of each file is set in by two spaces
    return (line for line in file.read_text(encoding="utf-8").split("\n") if line and not line.startswith("  "))


def _index_entry(line: str) -> tuple[str, tuple[int, ...]]:
    fields = line.split()
    n_synsets = int(fields[2])
    return fields[0], tuple(int(offset) for offset in fields[-n_synsets:])


def _detached(forms: Iterable[str], part: str) -> list[str]:
    return [form[: -len(old)] + new for form in forms for old, new in _RULES[part] if form.endswith(old)]

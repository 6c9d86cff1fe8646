"""Texts as vectors without a model: character n-grams by TF-IDF, hashed into a fixed width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_SIZES = (1, 2, 3)  # characters of an n-gram
_TERMS = 1 << 18  # n-grams that are told apart when counted
_AT_ONCE = 2000  # documents hashed at a time: bounds the memory
_END = 400  # characters of a text looked at, from each of its ends

Documents = Sequence[Sequence[str]]
Vectors = NDArray[np.float32]


def embed(documents: Documents, width: int) -> Vectors:
    """[M, width] unit rows of documents that are one or more texts each; a document without a character is a row of zeros.

    An n-gram of 1 to 3 characters that comes c times weighs (1 + log c) · log((2 + M)/(1 + m)) where m documents have it; each then goes to
    one column, with a sign, by its hash. The rows' inner products are the cosines of these weights up to about 1/√width.

    >>> rows = embed([["2+2="], ["2+3="], ["Write a poem."], [""]], 256)
    >>> bool(rows[0] @ rows[1] > 0.25), bool(abs(rows[0] @ rows[2]) < 0.1), float(rows[3] @ rows[3])
    (True, True, 0.0)
    """
    documents_with = np.zeros(_TERMS, np.int64)
    for _, _, term, _ in _counted(documents):
        documents_with += np.bincount(term, minlength=_TERMS)
    # an n-gram that all documents have tells none apart, but is not lost where all are such
    rarity = np.log((2 + len(documents)) / (1 + documents_with))
    mixed = _mixed(np.arange(_TERMS, dtype=np.uint64))
    column, sign = (mixed % np.uint64(width)).astype(np.int64), np.where(mixed >> np.uint64(63), -1.0, 1.0)
    rows = np.zeros((len(documents), width), np.float32)
    for first, document, term, count in _counted(documents):
        n = min(_AT_ONCE, len(documents) - first)
        values = (1 + np.log(count)) * rarity[term] * sign[term]
        rows[first : first + n] = np.bincount(document * width + column[term], values, n * width).reshape(n, width)
    return unit_rows(rows)


def shape(text: str) -> str:
    """What a text is made of, not what it says: letters as A or a, digits as 0, all else as it is.

    >>> shape("The answer is 42.")
    'Aaa aaaaaa aa 00.'
    """
    return "".join("A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else c for c in text)


def ends(text: str) -> str:
    """A text, or the two ends of a long one."""
    return text if len(text) <= 2 * _END else text[:_END] + text[-_END:]


def unit_rows(rows: NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1; rows of zeros stay."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0), np.float32)


def _counted(documents: Documents) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """By chunk: its first document, then one entry per distinct (document of the chunk, n-gram), with how often it comes."""
    for first in range(0, len(documents), _AT_ONCE):
        texts = [(at, f" {ends(text)} ") for at, parts in enumerate(documents[first : first + _AT_ONCE]) for text in parts if text]
        codes = np.frombuffer("".join(text for _, text in texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        lengths = np.array([len(text) for _, text in texts], np.int64)
        number = np.repeat(np.arange(len(texts)), lengths)
        document = np.repeat(np.array([at for at, _ in texts], np.int64), lengths)
        keys = [np.zeros(0, np.int64)]
        for size in _SIZES:
            ok = np.flatnonzero(number[size - 1 :] == number[: len(number) - size + 1]) if len(number) >= size else np.zeros(0, np.int64)
            hashed = np.full(len(ok), size, np.uint64)
            for k in range(size):
                hashed = _mixed(hashed ^ codes[ok + k])
            keys.append(document[ok] * _TERMS + (hashed % np.uint64(_TERMS)).astype(np.int64))
        pairs, count = np.unique(np.concatenate(keys), return_counts=True)
        yield first, pairs // _TERMS, pairs % _TERMS, count


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Equal bits to every bit: the finalizer of SplitMix64."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))

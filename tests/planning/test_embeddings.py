"""Texts as vectors, against TF-IDF written down with dictionaries, and files that do not fit."""

import math
from collections import Counter

import numpy as np
import pytest

from flatspot.planning import embeddings
from flatspot.planning.embeddings import embed, shape, unit_rows

TEXTS = ["2 + 2 =", "2 + 3 =", "write a poem about rain", "write a story about rain", "Ünïcode 日本語 🎲", "17 * 23 ="]


def by_hand(documents):
    """Cosines of the weights that `embed` documents."""
    counts = [Counter(f" {text} "[i : i + n] for text in parts for n in (1, 2, 3) for i in range(len(text) + 3 - n)) for parts in documents]
    seen = Counter(gram for found in counts for gram in found)
    rows = [{g: (1 + math.log(c)) * math.log((2 + len(documents)) / (1 + seen[g])) for g, c in found.items()} for found in counts]
    norms = [math.sqrt(sum(v * v for v in row.values())) for row in rows]
    return np.array(
        [
            [sum(v * b.get(g, 0) for g, v in a.items()) / (na * nb) for b, nb in zip(rows, norms, strict=True)]
            for a, na in zip(rows, norms, strict=True)
        ]
    )


def test_the_vectors_have_the_cosines_of_tf_idf():
    documents = [[text] for text in TEXTS] + [["2 + 2 =", "17 * 23 ="]]
    wide = embed(documents, 1 << 15)
    assert wide @ wide.T == pytest.approx(by_hand(documents), abs=0.02)
    narrow = embed(documents, 512)
    assert narrow @ narrow.T == pytest.approx(by_hand(documents), abs=0.12)


def test_a_document_is_the_same_in_any_chunk_and_order(monkeypatch):
    documents = [[f"question {i} of {i % 7}"] for i in range(50)]
    whole = embed(documents, 64)
    monkeypatch.setattr(embeddings, "_AT_ONCE", 7)
    assert embed(documents, 64) == pytest.approx(whole, abs=1e-6)
    assert embed(documents[::-1], 64)[::-1] == pytest.approx(whole, abs=1e-6)


def test_texts_without_anything_are_rows_of_zeros():
    found = embed([[], [""], ["a"], ["\ud800"]], 32)
    assert np.linalg.norm(found, axis=1) == pytest.approx([0, 0, 1, 1])
    assert embed([], 32).shape == (0, 32)


def test_equal_documents_are_alike_even_where_there_is_nothing_else():
    found = embed([["the same"]] * 3, 64)
    assert found @ found.T == pytest.approx(np.ones((3, 3)))


def test_the_shape_of_an_answer_does_not_say_what_it_is_about():
    assert shape("The answer is 42.") == shape("Its length of 99.") == "Aaa aaaaaa aa 00."


def test_unit_rows_leave_zeros():
    assert unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]

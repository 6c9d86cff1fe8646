import numpy as np
import pytest

from flatspot.stats.kinds import distinct


@pytest.mark.parametrize("m", [0, 1, 7, 2000])
def test_they_are_the_rows_that_numpy_finds(m):
    rng = np.random.default_rng(m)
    columns = rng.integers(0, 9, m), rng.choice([0.25, -1.0, 3.0], m), rng.integers(-2, 2, m), np.full(m, 5)
    rows, place, size = np.unique(np.stack(columns, -1), axis=0, return_inverse=True, return_counts=True)
    found, at, counts = distinct(*columns)
    np.testing.assert_array_equal(np.stack(found, -1), rows)
    np.testing.assert_array_equal(at, place.reshape(-1))
    np.testing.assert_array_equal(counts, size)
    assert [column.dtype for column in found] == [column.dtype for column in columns]


def test_a_kind_for_every_prompt():
    many = np.random.default_rng(0).permutation(100_000) / 7
    (found, same), at, counts = distinct(many, many[::-1])
    np.testing.assert_array_equal(found[at], many)
    np.testing.assert_array_equal(same[at], many[::-1])
    assert (counts == 1).all()

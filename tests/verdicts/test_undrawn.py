"""The caveat of a run that did not end."""

import pytest

from flatspot.rollouts.completeness import Completeness
from flatspot.verdicts.undrawn import _unfinished


@pytest.mark.parametrize(("missing", "says"), [(0, "not complete. Set"), (1, "1 part is missing."), (2, "2 parts are missing.")])
def test_missing_parts_are_counted(missing, says):
    (caveat,) = _unfinished(None, Completeness(completions=8, drawn=4, missing=missing, ended=False))
    assert says in caveat.text

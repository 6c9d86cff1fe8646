from __future__ import annotations

import json

import numpy as np
import pytest

from flatspot.report.json import to_json, write_json


def test_it_is_strict_json_whatever_came():
    odd = {
        "b": np.float64("nan"),
        "a": [np.int32(3), float("inf")],
        "verdict": "proceed",
        "set": {2, 1},
        3: np.array([1.5, np.nan]),
        "t": "\ud800\x00",
    }
    found = json.loads(to_json(odd), parse_constant=lambda word: pytest.fail(word))
    assert found == {"verdict": "proceed", "3": [1.5, None], "a": [3, None], "b": None, "set": [1, 2], "t": "\ud800\x00"}


def test_the_order_of_keys_does_not_depend_on_the_input():
    summary = {"zeta": 1, "caveats": [], "schema_version": 1, "verdict": "x", "alpha": 2}
    texts = {to_json(dict(items)) for items in (summary.items(), reversed(summary.items()))}
    assert len(texts) == 1
    assert list(json.loads(texts.pop())) == ["schema_version", "verdict", "caveats", "alpha", "zeta"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "deep" / "report.json"
    write_json({"n_prompts": 1}, path)

    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError):
        write_json({"n_prompts": Bad()}, path)
    assert json.loads(path.read_text("utf-8")) == {"n_prompts": 1}
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]

"""The comparison of a run with the expected numbers, and the numbers that are kept."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("expected", ROOT / "experiments/controlled/expected.py")
expected = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(expected)


def results(accuracy=0.05, std=0.01):
    spread = {"mean": accuracy, "std": std, "min": accuracy - 0.01, "max": accuracy + 0.01}
    groups = {g: {when: dict.fromkeys((*expected.FLOORS, "loss"), spread) for when in ("start", "end")} for g in expected.GROUPS}
    plan = {"setting": {"dataset": "made-up"}, "scale": "quick"}
    return {"variant": "adam", "plan": plan, "source": "s", "runs": [{"seed": 0}, {"seed": 1}], "over_seeds": {"rft": groups}}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(expected, "EXPECTED", tmp_path)

    def write(value):
        (tmp_path / "results.json").write_text(json.dumps(value))
        return str(tmp_path / "results.json")

    return write


def test_a_run_agrees_with_itself_and_differs_from_another(written, capsys):
    assert expected.main(["compare", written(results())]) == 2  # nothing is recorded
    assert expected.main(["record", written(results())]) == 0
    assert expected.main(["compare", written(results())]) == 0
    assert expected.main(["compare", written(results(0.09))]) == 0  # within the floors of 0.05 and 3·0.01
    capsys.readouterr()
    assert expected.main(["compare", written(results(0.2))]) == 1
    assert "rft, small_std, end: accuracy is 0.2000, expected 0.0400 to 0.0600" in capsys.readouterr().out
    other = results()
    other["plan"]["lr"] = 1
    assert expected.main(["compare", written(other)]) == 2


def ends(name, method, group):
    record = json.loads((ROOT / f"experiments/expected/{name}.json").read_text("utf-8"))
    return record, record["over_seeds"][method][group]


FILES = sorted(p.stem for p in (ROOT / "experiments/expected").glob("controlled-*.json"))


@pytest.mark.parametrize("name", FILES)
def test_the_record_shows_the_phenomenon(name):
    """In every recorded experiment RFT leaves the samples of small reward std behind, and SFT does not."""
    record, rft = ends(name, "rft", "small_std")
    _, sft = ends(name, "sft", "small_std")
    assert rft["end"]["accuracy"]["mean"] + 0.3 <= sft["end"]["accuracy"]["mean"]
    if record["plan"]["scale"] == "paper":
        assert record["seeds"] == [0, 1, 2]
        assert rft["end"]["accuracy"]["max"] <= 0.2 and sft["end"]["accuracy"]["min"] >= 0.95
        assert rft["start"]["reward_std"]["max"] < 0.05
        for method in ("sft", "rft"):
            _, large = ends(name, method, "large_std")
            assert large["end"]["accuracy"]["min"] >= 0.98
            assert large["start"]["reward_std"]["mean"] == pytest.approx(0.8, abs=0.01)

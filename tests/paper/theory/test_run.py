import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("matplotlib")

from flatspot.cli.main import cli
from flatspot_paper.theory import run as theory
from flatspot_paper.theory.random_policies import FAMILIES, REWARDS, random_models

pytestmark = pytest.mark.thorough

MODELS = 60


@pytest.fixture(scope="module", autouse=True)
def short_tables():
    """From p0 = 0.1 the times are short; the longer ones are tested in tests/theory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theory, "_STARTS", (1e-1,))
        patch.setattr(theory, "_OBJECTIVES_START", 1e-2)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theory")
    return theory.reproduce_theory(folder, models=MODELS, seed=5), folder


def test_no_bound_is_violated(results):
    content, _ = results
    assert content["violations"] == 0
    assert set(content["bounds"]) == {"score", "collision", "lipschitz", "median", "theorem_1", "theorem_1_kl", "surrogate"}
    assert all(bound["violations"] == 0 and 0 < bound["largest_share"] <= 1 + 1e-9 for bound in content["bounds"].values())
    assert content["identity"]["largest_relative_error"] < 1e-13


def test_every_model_is_in_one_band(results):
    for bound in results[0]["bounds"].values():
        assert sum(band["n"] for band in bound["times_the_norm"]) <= MODELS
        assert all(1 - 1e-9 <= band["min"] <= band["median"] <= band["max"] for band in bound["times_the_norm"] if band["n"])


def test_slopes_along_a_path(results):
    slopes = results[0]["slopes"]["one sparse reward, as p falls"]
    expected = {"norm": 2, "median": 2, "lipschitz": 1, "score": 1, "collision": 1, "theorem_1": 2 / 3}
    assert {name: s["slope"] for name, s in slopes.items()} == pytest.approx(expected, abs=0.01)


def test_the_folder_holds_what_was_returned(results):
    content, folder = results
    assert json.loads((folder / "results.json").read_text()) == content
    assert content["figures"] == ["slopes.svg", "tightness.svg", "separation.svg"]
    assert all((folder / name).read_text().startswith("<?xml") for name in content["figures"])


def test_equal_seeds_give_equal_results(tmp_path):
    one, two = (theory.reproduce_theory(tmp_path, models=6, seed=5) for _ in range(2))
    for key in ("bounds", "slopes", "identity"):
        assert one[key] == two[key]
    other = theory.reproduce_theory(tmp_path, models=2)
    assert other["seed"] != 5
    assert other["models"] == 2


def test_a_violated_bound_is_counted_and_exits_with_1(tmp_path, monkeypatch):
    real = theory.bounds_of
    monkeypatch.setattr(theory, "bounds_of", lambda exact: real(exact) | {"score": 0.01 * real(exact)["score"]})
    done = CliRunner().invoke(cli, ["reproduce", "theory", "--models", "10", "--seed", "1", "--out", str(tmp_path / "out"), "--json"])
    content = json.loads(done.stdout)
    assert done.exit_code == 1
    assert content["violations"] == content["bounds"]["score"]["violations"] > 0


def test_the_command_prints_the_tables(tmp_path):
    done = CliRunner().invoke(cli, ["reproduce", "theory", "--models", "20", "--seed", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "20 random policies, seed 1: 0 violations of 7 bounds" in done.stdout
    for words in ("Theorem 1: 6·L·γ·std^(2/3)", "RL·std0²", "reinforce", "results.json"):
        assert words in done.stdout


def test_the_models_cover_what_the_bounds_claim():
    models = list(random_models(200, np.random.default_rng(0)))
    assert {d.family for d in models} == set(FAMILIES)
    assert {d.kind for d in models} == set(REWARDS)
    assert all(np.abs(d.rewards).max() <= 1 for d in models)
    assert {len(d.rewards) for d in models} >= {2, 16, 27, 256}
    stds = [theory.measure(d)["std"] for d in models]
    assert min(stds) < 1e-5
    assert max(stds) > 0.5

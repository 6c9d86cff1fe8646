"""`diagnose --gradients` from prompts to gradients.parquet, on tiny policies with weights."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot.core.schema import GRADIENTS

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
pytest.importorskip("torch")
pytest.importorskip("transformers")
from tiny_policies import tiny_model, word_tokenizer

from flatspot.flow import gradients as gradient_pass

pytestmark = pytest.mark.thorough

PROMPTS = ["w5 w6 w7", "w8"]
SETTINGS = {
    "max_completions": 4,
    "max_new_tokens": 5,
    "engine": "hf",
    "gradients": True,
    "gradient_completions": 8,
    "reward_range": (0.0, 1.0),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATSPOT_CACHE", str(tmp_path / "cache"))


def many_words(completions, **_):
    return [len(set(text.split())) / 5 for text in completions]


def diagnose(tmp_path, kind="gpt2", reward=many_words, **changes):
    policy = (tiny_model(kind), word_tokenizer())
    return flatspot.diagnose(PROMPTS, policy, reward, out=tmp_path / "run", **{**SETTINGS, **changes})


def table(tmp_path):
    return pq.read_table(tmp_path / "run" / "gradients.parquet").to_pylist()


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_a_row_per_prompt_with_every_column(tmp_path, kind):
    found = diagnose(tmp_path, kind)
    rows = table(tmp_path)
    assert [row["prompt_id"] for row in rows] == found.prompts["prompt_id"].to_pylist()
    for row in rows:
        assert set(row) == {c.name for c in GRADIENTS}
        assert all(value is not None for name, value in row.items() if name != "error")
        assert row["grad_norm_lo"] <= row["grad_norm"] <= row["grad_norm_hi"]
        assert row["std"] < row["std_hi"] <= 0.5 * max(1.0, row["std"] / 0.5)
        assert row["grad_norm_hi"] <= row["bound_score"] * (1 + 1e-9)
        assert row["bound_score"] == pytest.approx(row["std_hi"] * row["score_second_moment_hi"] ** 0.5)
        assert row["bound_collision"] == pytest.approx(row["gamma"] * row["std_hi"] * row["collision_hi"] ** 0.5)
        assert row["bound_lipschitz"] == pytest.approx(row["max_length"] ** 0.5 * row["gamma"] * row["std_hi"])
        assert row["bound_theorem_1"] == pytest.approx(6 * 0.5 ** (1 / 3) * row["max_length"] * row["gamma"] * row["std_hi"] ** (2 / 3))
        assert 0 < row["collision"] <= row["max_length"]
    assert "Measured gradients" in (tmp_path / "run" / "report.html").read_text()


def test_a_stopped_pass_goes_on_where_it_was(tmp_path, monkeypatch):
    """Killed after the first prompt; then the rest alone is measured, and the table is that of a run never stopped."""
    measured, real = [], gradient_pass._row

    def dies_on_the_second(prompt, *rest):
        measured.append(prompt.id)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(prompt, *rest)

    monkeypatch.setattr(gradient_pass, "_row", dies_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        diagnose(tmp_path)
    assert len(table(tmp_path)) == 1
    diagnose(tmp_path)
    assert len(measured) == 3  # one, the one that died, and that one again
    stopped = table(tmp_path)
    diagnose(tmp_path)
    assert len(measured) == 3  # nothing was left
    diagnose(tmp_path, gradient_completions=4)  # another question: all anew
    assert [row["n_samples"] for row in table(tmp_path)] == [4, 4]
    diagnose(tmp_path)  # and the first one again, in one go
    assert len(measured) == 7
    assert [without_time(row) for row in stopped] == [without_time(row) for row in table(tmp_path)]


def without_time(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def test_a_prompt_whose_reward_fails_is_a_row_with_an_error(tmp_path):
    def fails_on_one(prompts, completions, **_):
        return [None if prompt == "w8" else len(text) % 2 for prompt, text in zip(prompts, completions, strict=True)]

    diagnose(tmp_path, reward=fails_on_one)
    rows = {row["prompt_id"]: row for row in table(tmp_path)}
    broken = [row for row in rows.values() if row["error"]]
    assert len(broken) == 1
    assert "at least 4 scored completions" in broken[0]["error"]
    assert broken[0]["grad_norm"] is None


def test_without_the_option_nothing_is_measured(tmp_path):
    diagnose(tmp_path, gradients=False)
    assert not (tmp_path / "run" / "gradients.parquet").exists()
    assert "Measured gradients" not in (tmp_path / "run" / "report.html").read_text()


def test_a_policy_without_weights_is_refused_before_anything_is_drawn(tmp_path):
    engine = flatspot.ScriptedEngine({"a": {"1": 1.0}})
    with pytest.raises(EngineError, match="--engine hf or openvino"):
        flatspot.diagnose(["a"], engine, lambda completions, **_: [1.0] * len(completions), gradients=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_groups_that_do_not_fit_are_refused_before_anything_is_drawn(tmp_path):
    def ranks(completions, **_):
        groups = [completions[at : at + 4] for at in range(0, len(completions), 4)]
        return [sorted(group).index(text) / len(group) for group in groups for text in group]

    with pytest.raises(SettingsError, match="--gradient-completions must be a multiple of --group-size 4"):
        diagnose(tmp_path, reward=ranks, group_size=4, fixed_completions=True, gradient_completions=6)
    assert not (tmp_path / "run").exists()


def test_two_samples_make_no_halves():
    with pytest.raises(SettingsError, match="--gradient-completions must be at least 4"):
        flatspot.Settings(gradients=True, gradient_completions=3)


def test_a_damaged_table_is_named_with_what_mends_it(tmp_path):
    run = diagnose(tmp_path).folder
    for damage in (b"", b"no parquet"):
        (run / "gradients.parquet").write_bytes(damage)
        with pytest.raises(RunFolderError, match=r"gradients\.parquet cannot be read .* Delete that file"):
            diagnose(tmp_path)

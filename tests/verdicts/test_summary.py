"""The object of `--json` of a log whose probabilities are known."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot


def log_of(path, p, draws=48, seed=0):
    rng = np.random.default_rng(seed)
    rows = [{"prompt_id": f"{i:03d}", "reward": float(rng.random() < one)} for i, one in enumerate(p) for _ in range(draws)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_what_there_is_to_train_on_leaves_the_solved_and_the_vanishing_out(tmp_path):
    right = np.r_[np.zeros(8), np.ones(40), np.tile([0.12, 0.3, 0.5, 0.8], 20)]
    found = flatspot.inspect(log_of(tmp_path / "log.parquet", right), out=tmp_path / "run", reward_range=(0, 1), group_size=8)
    kept = np.isin(found.verdicts["verdict"].to_pylist(), ("learnable", "undecided"))
    mixed = 1 - right**8 - (1 - right) ** 8  # enumerated: all 8 equal, or not
    assert found.summary["to_train"]["n_prompts"] == kept.sum() >= 78
    assert found.summary["to_train"]["informative"] == pytest.approx(mixed[kept].mean(), abs=0.03)
    assert found.summary["forecast"]["8"]["informative"] == pytest.approx(mixed.mean(), abs=0.05)
    assert mixed.mean() < mixed[kept].mean() - 0.2


def test_where_nothing_is_left_to_train_on_the_share_is_not_known(tmp_path):
    found = flatspot.inspect(log_of(tmp_path / "log.parquet", np.ones(40)), out=tmp_path / "run", reward_range=(0, 1))
    assert found.summary["to_train"] == {"n_prompts": 0, "informative": None}


def test_the_rule_tells_a_share_from_its_limit_and_from_none():
    from flatspot.verdicts.explain import explain_set
    from flatspot.verdicts.judge import SetJudgment

    assert explain_set(SetJudgment("warm-up", "vanishing", 0.204, 0.2))[1] == "vanishing prompts: 20.4% > 20.0%"
    reason, rule = explain_set(SetJudgment("proceed", "none", 0.003, 0.2))
    assert "vanishes on <1% of the prompts" in reason and rule == "vanishing prompts: <1% <= 20%"
    assert explain_set(SetJudgment("fix-data", "solved", 0.997, 0.8))[1] == "solved prompts: >99% > 80%"


@pytest.mark.parametrize(("answer_col", "caveats"), [(None, 0), ("reference", 1)])
def test_a_reference_that_the_reward_cannot_read_makes_no_prompt_solved(tmp_path, answer_col, caveats):
    answers = [f"<answer>{i}</answer>" for i in range(12)]
    rows = [
        {"prompt": f"q{i}", "reference": str(i) if i < 4 else right, "completion": right if k < (0, 8, 16)[i % 3] else "?", "reward": 0}
        for i, right in enumerate(answers)
        for k in range(16)
    ]
    flatspot.inspect(rows, out=tmp_path / "log")

    def reward(completions):
        return [float(text in answers) for text in completions]

    found = flatspot.rescore(tmp_path / "log", reward, reward_range=(0, 1), answer_col=answer_col, out=tmp_path / "again")
    assert found.verdicts["verdict"].to_pylist() == ["vanishing", "learnable", "solved"] * 4
    assert found.summary["caveat_codes"].count("low-references") == caveats

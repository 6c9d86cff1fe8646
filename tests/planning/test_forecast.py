"""`flatspot plan` on runs whose success probabilities are known, against exact sums."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.planning.forecast import PlanSettings, plan_groups
from flatspot.report.plan_text import plan_text

P = np.random.default_rng(3).beta(0.5, 1.0, 150)


def mixed(k):
    return float((1 - P**k - (1 - P) ** k).mean())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    answers = {f"q{i}": {"1": p, "0": 1 - p} for i, p in enumerate(P)}
    rows = [{"prompt": name, "reference": "1"} for name in answers]
    return flatspot.diagnose(rows, flatspot.ScriptedEngine(answers), "exact_match", out=tmp_path_factory.mktemp("plan") / "run").folder


def test_the_forecast_is_near_the_true_share_of_mixed_groups(run):
    found = plan_groups(run, PlanSettings())["forecast"]
    for k in (2, 4, 8, 16, 32):
        row = found[str(k)]
        assert row["lo"] <= row["informative"] <= row["hi"]
        assert row["informative"] == pytest.approx(mixed(k), abs=0.04)  # 150 prompts: a few points, most at the largest size
        assert row["rollouts_per_informative"] == pytest.approx(k / row["informative"])


def test_the_recommended_size_and_its_cost(run):
    found = plan_groups(run, PlanSettings(share=0.6))
    size = found["recommended"]["group_size"]
    assert found["recommended"]["reached"]
    assert found["forecast"][str(size)]["informative"] >= 0.6 > found["forecast"][str(size // 2)]["informative"]
    assert found["recommended"]["completions"] == 150 * size
    assert found["recommended"]["tokens"] == 150 * size  # an answer of the table is one word
    assert not plan_groups(run, PlanSettings(share=0.99))["recommended"]["reached"]


def test_a_batch_and_the_chance_that_it_stays_short(run):
    found = plan_groups(run, PlanSettings(group_size=8, batch=40, gen_batch=40, max_gen_batches=2))["batch"]
    assert found["groups"]["mean"] == pytest.approx(40 / mixed(8), rel=0.06)
    assert found["rollouts"]["mean"] == pytest.approx(8 * found["groups"]["mean"])
    assert found["stall"] == pytest.approx(stats.binom.cdf(39, 80, mixed(8)), abs=0.05)
    assert plan_groups(run, PlanSettings(batch=40, gen_batch=10, max_gen_batches=3))["batch"]["stall"] == 1


def test_a_set_that_never_varies_has_no_end(tmp_path):
    engine = flatspot.ScriptedEngine({"a": {"0": 1.0}})
    run = flatspot.diagnose([{"prompt": "a", "reference": "1"}], engine, "exact_match", out=tmp_path / "run", max_completions=8).folder
    text = plan_text(plan_groups(run, PlanSettings()))
    assert "Caveats" in text
    assert max(map(len, text.splitlines())) <= 80


def test_text_names_every_size_and_fits(run):
    text = plan_text(plan_groups(run, PlanSettings(group_size=12)), width=80)
    assert max(map(len, text.splitlines())) <= 80
    for k in (2, 4, 8, 12, 16, 32, 64):
        assert f"\n{k:>3}  " in text


def test_the_command_prints_one_object(run):
    command = Path(sys.executable).parent / "flatspot"
    done = subprocess.run([command, "plan", run, "--json", "--batch", "7"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["batch"]["informative_groups"] == 7
    lost = subprocess.run([command, "plan", run.parent], capture_output=True, text=True)
    assert lost.returncode == 2
    assert "has not been judged" in lost.stderr


def test_a_run_without_a_reward_cannot_be_planned(tmp_path):
    def broken(completions, **_):
        return [None] * len(completions)

    run = flatspot.diagnose(["a"], flatspot.ScriptedEngine({"a": {"x": 1.0}}), broken, out=tmp_path / "run", max_completions=2).folder
    with pytest.raises(RunFolderError, match="no completion with a reward"):
        plan_groups(run, PlanSettings())


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"group_size": 1}, {"batch": 0}, {"max_gen_batches": 0}])
def test_bad_settings(wrong):
    with pytest.raises(SettingsError):
        PlanSettings(**wrong)


@pytest.mark.parametrize("text", ["[]", "3", "{}", "{", '{"epsilon": 0.05}'])
def test_a_damaged_report_is_named_with_what_mends_it(run, tmp_path, text):
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    (broken / "report.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"report\.json is damaged .* flatspot inspect"):
        plan_groups(broken, PlanSettings())


def test_a_folder_in_the_place_of_the_report_is_named(tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(RunFolderError, match=r"report\.json is damaged"):
        plan_groups(tmp_path, PlanSettings())

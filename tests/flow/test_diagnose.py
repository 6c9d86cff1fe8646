"""The whole flow on the scripted engine, whose answers and stds are known exactly."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import PromptFileError, RunFolderError, SettingsError
from flatspot.core.records import Completion, Prompt
from flatspot.core.schema import PROMPTS, ROLLOUTS, VERDICTS
from flatspot.engines.scripted import ScriptedEngine
from flatspot.flow.draw import answers_are_scored
from flatspot.report.run.next_steps import diagnose_command, next_steps
from flatspot.rewards import load_reward
from flatspot.rollouts.files import write_table
from flatspot.rollouts.parts import parts_of

ANSWERS = {"easy": {"1": 1.0}, "half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}, "rare": {"1": 0.01, "0": 0.99}}
ROWS = [{"prompt": name, "reference": "1"} for name in ANSWERS]


def run(tmp_path, rows=ROWS, answers=ANSWERS, reward="exact_match", **settings):
    return flatspot.diagnose(rows, ScriptedEngine(answers), reward, out=tmp_path / "run", **settings)


def test_verdicts_and_statistics_of_known_distributions(tmp_path):
    found = run(tmp_path, max_completions=400, fixed_completions=True)
    table = found.verdicts.to_pydict()
    assert table["verdict"] == ["solved", "learnable", "vanishing", "vanishing"]
    assert table["n_samples"] == [400] * 4
    for i, p in enumerate((1.0, 0.5, 0.0, 0.01)):
        assert table["std_lo"][i] - 1e-9 <= np.sqrt(p * (1 - p)) <= table["std_hi"][i]
        assert table["mean"][i] == pytest.approx(p, abs=0.08)
    assert found.summary["verdict"] == "warm-up"
    assert found.summary["counts"] == {"learnable": 1, "vanishing": 2, "solved": 1, "undecided": 0, "unscored": 0}
    assert found.summary["generations"] == {"total": 1600, "per_prompt": 400.0, "tokens": 1600}


def test_the_run_folder_is_complete_and_as_declared(tmp_path):
    found = run(tmp_path, max_completions=8)
    names = {p.name for p in found.folder.iterdir()}
    assert {"run.json", "rollouts", "prompts.parquet", "verdicts.parquet", "report.html", "report.json"} <= names
    for name, columns in (("rollouts", ROLLOUTS), ("prompts.parquet", PROMPTS), ("verdicts.parquet", VERDICTS)):
        assert pq.read_table(found.folder / name).schema.names == [c.name for c in columns]
    assert json.loads((found.folder / "report.json").read_text())["n_prompts"] == 4


def test_a_moved_run_names_the_folder_where_it_is(tmp_path):
    run(tmp_path, max_completions=8)
    (tmp_path / "run").rename(tmp_path / "moved")
    opened = flatspot.open(tmp_path / "moved")
    judged = flatspot.inspect(tmp_path / "moved")
    for found in (opened, judged):
        assert found.summary.settings.out == str(tmp_path / "moved")
        assert not any(str(tmp_path / "run") in step.command for step in next_steps(found.summary))
    assert str(tmp_path / "moved") in str(judged)


def test_the_rows_are_the_engines_and_the_rewards(tmp_path):
    found = run(tmp_path, max_completions=30)
    fixed = [row["sample_idx"] for row in pq.read_table(found.folder / "rollouts").to_pylist() if row["fixed"]]
    assert sorted(fixed) == sorted([0, 1, 2, 3] * 4)
    for row in pq.read_table(found.folder / "rollouts").to_pylist():
        assert row["reward"] == float(row["completion"] == "1")
        assert row["completion"] in ANSWERS[row["prompt"]]


def test_a_second_call_draws_nothing_and_says_the_same(tmp_path):
    first = run(tmp_path, max_completions=8)

    class Silent(ScriptedEngine):
        def sample(self, *_, **__):
            raise AssertionError("drew again")

    second = flatspot.diagnose(ROWS, Silent(ANSWERS), "exact_match", out=tmp_path / "run", max_completions=8)
    assert second.verdicts.equals(first.verdicts)


def test_more_samples_keep_the_rows_already_drawn(tmp_path):
    small = pq.read_table(run(tmp_path, max_completions=4, fixed_completions=True).folder / "rollouts").to_pylist()
    grown = pq.read_table(run(tmp_path, max_completions=9, fixed_completions=True).folder / "rollouts").to_pylist()
    at_once = pq.read_table(run(tmp_path / "other", max_completions=9, fixed_completions=True).folder / "rollouts").to_pylist()
    key = lambda row: (row["prompt_id"], row["sample_idx"])  # noqa: E731
    assert [r for r in sorted(grown, key=key) if r["sample_idx"] < 4] == sorted(small, key=key)
    assert sorted(grown, key=key) == sorted(at_once, key=key)


@pytest.mark.parametrize("change", [{"seed": 1}, {"temperature": 0.5}, {"max_new_tokens": 7}])
def test_another_setting_does_not_mix(tmp_path, change):
    run(tmp_path, max_completions=4)
    with pytest.raises(RunFolderError, match=next(iter(change))):
        run(tmp_path, max_completions=4, **change)


def test_another_reward_or_prompt_does_not_mix(tmp_path):
    run(tmp_path, max_completions=4)
    with pytest.raises(RunFolderError, match="reward"):
        run(tmp_path, max_completions=4, reward="regex[pattern=1]")
    with pytest.raises(RunFolderError, match="prompts"):
        run(tmp_path, max_completions=4, rows=ROWS[:2])


def test_judging_may_change_over_the_same_rows(tmp_path):
    run(tmp_path, max_completions=64)
    assert run(tmp_path, max_completions=64, group_size=64, target_error=0.1).summary["group_size"] == 64


@pytest.mark.parametrize("advantage", ["centered", "normalized"])
def test_a_stated_kind_of_advantages_is_read_back(tmp_path, advantage):
    run(tmp_path, max_completions=16, advantage=advantage)
    assert flatspot.open(tmp_path / "run").summary.settings.advantage == advantage


KILLED = """
import sys, time, flatspot
from flatspot.engines.scripted import ScriptedEngine

class Slow(ScriptedEngine):
    rows_per_call = 32
    def sample(self, *args, **kwargs):
        time.sleep(0.06)
        return super().sample(*args, **kwargs)

answers = {f"p{i}": {"1": (i / 40) ** 3, "0": 1 - (i / 40) ** 3} for i in range(40)}
rows = [{"prompt": p, "reference": "1"} for p in answers]
fixed = sys.argv[2] == "fixed"
flatspot.diagnose(rows, Slow(answers), "exact_match", out=sys.argv[1], max_completions=8 if fixed else 40, fixed_completions=fixed)
"""


@pytest.mark.parametrize("how", [pytest.param("fixed", marks=pytest.mark.thorough), "adaptive"])
def test_kill_9_at_any_moment_changes_nothing(tmp_path, how):
    """Killed twice part-way and continued: the same rows as a run left alone, none lost, none twice."""
    parts = lambda name: len(parts_of(tmp_path / name))  # noqa: E731
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "alone"), how], check=True)
    for attempt in range(2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "killed"), how], start_new_session=True)
        wanted = 2 + (attempt * parts("alone")) // 2
        deadline = time.monotonic() + 60
        while parts("killed") < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert parts("killed") < parts("alone")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed"), how], check=True)
    key = lambda row: (row["prompt_id"], row["sample_idx"])  # noqa: E731
    killed, alone = (sorted(pq.read_table(tmp_path / name / "rollouts").to_pylist(), key=key) for name in ("killed", "alone"))
    assert len({key(row) for row in killed}) == len(killed)
    assert len(killed) == 320 if how == "fixed" else 40 * 4 < len(killed) < 40 * 40
    assert killed == alone
    for name in sorted(p.name for p in (tmp_path / "alone" / "rounds").iterdir()):
        assert pq.read_table(tmp_path / "alone" / "rounds" / name).equals(pq.read_table(tmp_path / "killed" / "rounds" / name))
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("killed", "alone")]
    assert reports[0]["counts"] == reports[1]["counts"]


def hard_set(m=120):
    rng = np.random.default_rng(0)
    p = np.where(rng.random(m) < 0.5, 0.0, rng.beta(0.6, 1.2, m))
    answers = {f"q{i}": {"1": x, "0": 1 - x} if 0 < x < 1 else {"1" if x else "0": 1.0} for i, x in enumerate(p)}
    return answers, [{"prompt": name, "reference": "1"} for name in answers]


def test_triage_on_the_same_rewards_gives_the_same_verdicts(tmp_path):
    """What `diagnose` drew, served to `flatspot.triage`: the same samples asked for, the same verdicts, the same errors."""
    answers, rows = hard_set()
    found = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", round_size=2)
    drawn = pq.read_table(found.folder / "rollouts").to_pylist()
    table = np.full((len(rows), 64), np.nan)
    place = {row["prompt"]: i for i, row in enumerate(rows)}
    for row in drawn:
        table[place[row["prompt"]], row["sample_idx"]] = row["reward"]
    used = np.zeros(len(rows), int)

    def draw(indices, k):
        served = table[indices[:, None], used[indices][:, None] + np.arange(k)]
        assert np.isfinite(served).all()  # what was not drawn there is not asked for here
        used[indices] += k
        return served

    again = flatspot.triage(
        draw,
        len(rows),
        epsilon=found.summary["epsilon"],
        target_error=0.03,
        round_size=2,
        reward_range=(0.0, 1.0),
        r_star=np.ones(len(rows)),
    )
    assert again.n_samples.tolist() == found.verdicts["n_samples"].to_pylist()
    assert again.verdict.tolist() == found.verdicts["verdict"].to_pylist()
    np.testing.assert_allclose(again.error_probability, found.verdicts["error_probability"].to_numpy())
    assert again.predicted_error == pytest.approx(found.summary["predicted_error"])
    assert again.fractions["vanishing"][0] == pytest.approx(found.summary["fractions"]["vanishing"]["mean"])


def test_prompts_that_are_clear_are_drawn_less_than_the_others(tmp_path):
    answers, rows = hard_set()
    found = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run")
    n = found.verdicts["n_samples"].to_numpy()
    assert n.min() >= 4
    assert found.summary["generations"]["per_prompt"] < 25
    assert found.summary["predicted_error"] <= 0.03
    assert (n[found.verdicts["verdict"].to_numpy(zero_copy_only=False) == "undecided"] == 64).all()


def test_a_stricter_target_draws_on_and_a_looser_one_draws_nothing(tmp_path):
    answers, rows = hard_set()
    sizes = []
    for target in (0.05, 0.01, 0.05):
        found = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", target_error=target)
        sizes.append(found.summary["generations"]["total"])
    assert sizes[0] < sizes[1] == sizes[2]


def test_worst_case_draws_on_in_the_same_folder_and_keeps_its_limit(tmp_path):
    answers, rows = hard_set()
    plain, strict = (
        flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", worst_case=w) for w in (False, True)
    )
    assert plain.summary["generations"]["total"] < strict.summary["generations"]["total"]
    assert strict.summary["predicted_error_limit"] <= 0.03 < plain.summary["predicted_error_limit"]
    assert strict.request.worst_case is None and strict.summary.settings.worst_case


def test_worst_case_says_what_it_left_open(tmp_path):
    answers, rows = hard_set(30)
    found = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", worst_case=True, max_completions=3)
    assert found.summary["counts"]["undecided"] > 15
    assert any("--worst-case leaves" in caveat for caveat in found.summary["caveats"])


def test_worst_case_is_yes_or_no(tmp_path):
    with pytest.raises(SettingsError, match="worst_case is True or False"):
        flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), "exact_match", out=tmp_path / "run", worst_case="false")


def test_worst_case_says_where_it_cannot_hold(tmp_path):
    def own_values(prompts, completions, **_):
        """Other rewards for each prompt, as a continuous reward has."""
        return [int(c) / 2 + int(p[1:]) / 200 for p, c in zip(prompts, completions, strict=True)]

    answers, rows = hard_set(60)
    found = flatspot.diagnose(
        rows, ScriptedEngine(answers), own_values, out=tmp_path / "run", worst_case=True, reward_range=(0, 1), max_completions=8
    )
    assert any("few-valued rewards only" in caveat for caveat in found.summary["caveats"])


def test_a_run_may_go_on_with_a_fixed_number_and_back(tmp_path):
    answers, rows = hard_set(30)
    first = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", max_completions=16)
    full = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", max_completions=16, fixed_completions=True)
    assert full.verdicts["n_samples"].to_pylist() == [16] * 30
    assert full.summary["generations"]["total"] > first.summary["generations"]["total"]
    rows_now = pq.read_table(full.folder / "rollouts").to_pylist()
    assert len({(row["prompt_id"], row["sample_idx"]) for row in rows_now}) == len(rows_now) == 480
    again = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", max_completions=16)
    assert again.verdicts.equals(full.verdicts)


def test_no_more_than_the_budget_is_drawn(tmp_path):
    answers, rows = hard_set(50)
    found = flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "run", max_generations=230)
    assert 200 <= found.summary["generations"]["total"] <= 230
    with pytest.raises(SettingsError, match="at least one for each of the 50 prompts"):
        flatspot.diagnose(rows, ScriptedEngine(answers), "exact_match", out=tmp_path / "small", max_generations=49)
    assert not (tmp_path / "small").exists()


def test_progress_is_a_limit_that_shrinks(tmp_path):
    answers, rows = hard_set(60)
    seen = []
    engine = ScriptedEngine(answers)
    engine.rows_per_call = 64
    found = flatspot.diagnose(rows, engine, "exact_match", out=tmp_path / "run", on_progress=seen.append)
    assert all(p.at_most and p.rows_done <= p.rows_total for p in seen)
    assert seen[0].rows_total == 60 * 64
    assert seen[-1].rows_total < 60 * 64
    assert seen[-1].rows_done == found.summary["generations"]["total"]


def test_rewards_of_other_kinds_are_drawn_adaptively_too(tmp_path):
    def length(prompts, completions, **_):
        return [len(c) / 4 for c in completions]

    answers = {"a": {"x": 1.0}, "b": {"x": 0.5, "xxxx": 0.5}, "c": {"xxxx": 1.0}, "d": {"x": 0.3, "xx": 0.3, "xxx": 0.4}}
    rows = [{"prompt": f"{name}"} for name in answers]
    found = flatspot.diagnose(rows, ScriptedEngine(answers), length, out=tmp_path / "run", reward_range=(0.0, 1.0))
    assert found.summary["reward_model"] == "few-valued"
    assert found.verdicts["n_samples"].to_pylist()[1] < 64


def failing(prompts, completions, **_):
    return [None if c == "0" else 1.0 for c in completions]


def test_a_reward_that_fails_on_a_share_is_to_be_fixed_first(tmp_path):
    found = run(tmp_path, max_completions=16, reward=failing)
    assert found.verdicts["n_samples"].to_pylist()[2] == 4  # failed four times of four: left alone
    assert found.summary["verdict"] == "fix-reward"
    assert found.summary["health"]["errors"][0]["error"]
    rows = pq.read_table(found.folder / "rollouts").to_pylist()
    assert all(row["reward"] is None and row["error"] for row in rows if row["completion"] == "0")
    assert all(row["reward"] == 1.0 and row["error"] is None for row in rows if row["completion"] == "1")
    assert "unscored" in found.verdicts["verdict"].to_pylist()


def test_several_rewards_are_weighted_and_kept_apart(tmp_path):
    def length(prompts, completions, **_):
        return [float(len(c)) for c in completions]

    found = run(tmp_path, max_completions=8, reward=["exact_match", length], reward_weights=(1.0, 0.1), reward_range=(0.0, 1.1))
    rows = pq.read_table(found.folder / "rollouts").to_pylist()
    assert all(row["reward"] == pytest.approx(dict(row["rewards"])["exact_match"] + 0.1) for row in rows)
    assert set(found.summary["components"]) == {"exact_match", "length"}
    assert found.summary["components"]["length"]["std_mean"] == 0


@pytest.mark.parametrize(("answer_col", "rewards", "verdict"), [("reference", [0.5] * 4, "solved"), (None, [None] * 4, "vanishing")])
def test_answers_are_scored_where_they_are_named_and_set_what_is_achievable(tmp_path, answer_col, rewards, verdict):
    def half(prompts, completions, **_):
        return [0.5 * (c == "1") for c in completions]

    found = run(tmp_path, max_completions=64, reward=half, reward_range=(0.0, 1.0), answer_col=answer_col)
    assert found.prompts["answer_reward"].to_pylist() == rewards
    assert found.verdicts["verdict"].to_pylist()[0] == verdict


def test_answers_that_are_named_later_are_scored_then(tmp_path):
    def half(prompts, completions, **_):
        return [0.5 * (c == "1") for c in completions]

    settings = {"max_completions": 64, "reward": half, "reward_range": (0.0, 1.0)}
    run(tmp_path, **settings)
    assert run(tmp_path, answer_col="reference", **settings).prompts["answer_reward"].to_pylist() == [0.5] * 4
    assert run(tmp_path, **settings).prompts["answer_reward"].to_pylist() == [None] * 4


def test_another_runs_folder_is_refused_before_its_answers_are_touched(tmp_path):
    run(tmp_path, max_completions=64)
    before = (tmp_path / "run" / "prompts.parquet").read_bytes()
    with pytest.raises(RunFolderError):
        run(tmp_path, [{"prompt": "another", "reference": "1"}], {"another": {"1": 1.0}}, answer_col="reference")
    assert (tmp_path / "run" / "prompts.parquet").read_bytes() == before


def test_answers_of_a_call_that_was_killed_count_for_no_other(tmp_path, monkeypatch):
    def half(prompts, completions, **_):
        return [0.5 * (c == "1") for c in completions]

    settings = {"max_completions": 64, "reward": half, "reward_range": (0.0, 1.0)}
    run(tmp_path, **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.flow.diagnose.judge_run", interrupted)
        run(tmp_path, answer_col="reference", **settings)
    assert run(tmp_path, **settings).prompts["answer_reward"].to_pylist() == [None] * 4


def test_the_kind_of_advantages_and_the_answers_stay_with_the_run(tmp_path):
    def small(completions, **_):
        return [0.01 * (c == "1") for c in completions]

    settings = {"reward": small, "reward_range": (0.0, 1.0), "max_completions": 16, "fixed_completions": True}
    drawn = run(tmp_path, advantage="normalized", answer_col="reference", **settings)
    again = flatspot.inspect(tmp_path / "run")
    assert again.summary.advantage == "normalized" and again.verdicts.equals(drawn.verdicts)
    assert "--answer-col reference" in diagnose_command(again.summary)


def test_a_range_of_the_users_own_does_not_become_reachable(tmp_path):
    assert run(tmp_path, max_completions=8, reward_range=(0.0, 2.0)).summary.settings.top_reachable is False
    assert run(tmp_path / "own", max_completions=8).summary.settings.top_reachable


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("answer_col", ["answer", "reference"])
def test_a_column_without_answers_is_refused_before_anything_is_drawn(tmp_path, answer_col):
    rows = [{"prompt": "q", "reference": " "}]
    with pytest.raises(PromptFileError, match=f"no prompt has an answer in the column '{answer_col}'"):
        run(tmp_path, rows, {"q": {"1": 1.0}}, reward=lambda completions: [1.0] * len(completions), answer_col=answer_col)


TAGGED = {"right": "<answer>1</answer>", "bare": "1"}


@pytest.mark.parametrize(
    ("p", "verdict", "on_set"),
    [(0.5, "learnable", "proceed"), (0.0, "vanishing", "warm-up"), (1.0, "solved", "fix-data")],
)
def test_a_reference_that_is_only_the_final_answer_is_not_what_is_achievable(tmp_path, p, verdict, on_set):
    def inside_tags(prompts, completions, reference, **_):
        return [(c == f"<answer>{r}</answer>") + 0.5 * ("<answer>" in c) for c, r in zip(completions, reference, strict=True)]

    rows = [{"prompt": f"q{i}", "reference": "1"} for i in range(12)]
    answers = {row["prompt"]: {TAGGED["right"]: p, TAGGED["bare"]: 1 - p} for row in rows}
    found = run(tmp_path, rows, answers, inside_tags, reward_range=(0.0, 1.5), max_completions=32)
    assert set(found.verdicts["verdict"].to_pylist()) == {verdict}
    assert found.summary["verdict"] == on_set


@pytest.mark.parametrize("rewards", [["nan"], ["inf"], ["text"]])
def test_values_that_are_no_rewards_are_errors(tmp_path, rewards):
    def odd(prompts, completions, **_):
        return [{"nan": float("nan"), "inf": float("inf"), "text": "high"}[rewards[0]]] * len(completions)

    found = run(tmp_path, max_completions=4, reward=odd)
    assert found.summary["counts"]["unscored"] == 4
    assert found.summary["verdict"] == "fix-reward"


def test_one_prompt_one_sample(tmp_path):
    found = run(tmp_path, rows=ROWS[:1], max_completions=1)
    assert found.summary["counts"]["undecided"] == 1
    assert found.verdicts["std"].to_pylist() == [None]


def test_rewards_outside_the_stated_range_are_told(tmp_path):
    def ten(prompts, completions, **_):
        return [10.0 * (c == "1") for c in completions]

    found = run(tmp_path, max_completions=8, reward=ten, reward_range=(0.0, 1.0))
    assert any("outside the range" in caveat for caveat in found.summary["caveats"])


def test_an_unknown_setting_is_named(tmp_path):
    with pytest.raises(SettingsError, match="max_completion'"):
        run(tmp_path, max_completion=4)


def test_prompts_and_completions_are_public_records():
    assert flatspot.Prompt is Prompt
    assert flatspot.Completion is Completion
    with pytest.raises(AttributeError, match="it offers"):
        _ = flatspot.diagnoze


def test_inspecting_a_runs_own_completions_gives_its_verdicts(tmp_path):
    from flatspot.flow.export import export

    found = run(tmp_path, max_completions=64)
    export(found.folder, tmp_path / "rows.jsonl", completions=True)
    again = flatspot.inspect(tmp_path / "rows.jsonl", out=tmp_path / "inspected", reward_range=(0.0, 1.0))
    assert again.verdicts["verdict"].to_pylist() == found.verdicts["verdict"].to_pylist()
    assert again.verdicts["std"].to_pylist() == found.verdicts["std"].to_pylist()


def test_a_run_folder_is_judged_again_in_its_own_range(tmp_path):
    """Two pattern rewards sum to at most 2: seen from 0 to 1 alone, the prompt would look solved."""
    answers = {"2+2=": {"4": 1.0}}
    found = run(tmp_path, rows=[{"prompt": "2+2="}], answers=answers, reward=["regex[pattern=4]", "regex[pattern=z]"], max_completions=64)
    again = flatspot.inspect(found.folder)
    assert again.summary["reward"]["range"] == [0.0, 2.0]
    assert again.verdicts["verdict"].to_pylist() == found.verdicts["verdict"].to_pylist() == ["vanishing"]
    assert again.summary["settings"]["reward"] == found.summary["settings"]["reward"]
    with pytest.raises(SettingsError, match="is a run folder"):
        flatspot.inspect(found.folder, out=tmp_path / "elsewhere")


def test_new_content_under_the_same_name_is_not_taken_for_the_old(tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"p": {"1": 1.0}}))
    rows = [{"prompt": "p", "reference": "1"}]
    flatspot.diagnose(rows, str(file), "exact_match", engine="scripted", out=tmp_path / "run", max_completions=4)
    file.write_text(json.dumps({"p": {"0": 1.0}}))
    with pytest.raises(RunFolderError, match="engine"):
        flatspot.diagnose(rows, str(file), "exact_match", engine="scripted", out=tmp_path / "run", max_completions=4)


def test_a_reward_that_needs_an_absent_column_speaks_before_anything_is_drawn(tmp_path):
    def needs(completions, difficulty):
        return [1.0 for _ in completions]

    with pytest.raises(flatspot.FlatspotError, match="difficulty"):
        run(tmp_path, reward=needs)
    assert not (tmp_path / "run").exists()


def test_one_sample_per_prompt_decides_nothing(tmp_path):
    assert run(tmp_path, max_completions=1).summary["counts"]["undecided"] == 4


def test_answers_that_could_not_be_scored_are_named_with_the_reason(tmp_path):
    rows = [row | {"gold": "right" if i == 0 else "unheard of"} for i, row in enumerate(ROWS)]
    found = run(tmp_path, rows, reward=picky, reward_range=(0.0, 1.0), answer_col="gold", max_completions=64)
    for judged in (found, flatspot.inspect(found.folder)):
        assert judged.prompts["answer_reward"].to_pylist() == [0.5, None, None, None]
        [text] = [text for text in judged.summary.caveats if "real answers" in text]
        assert "3 of the 4 real answers could not be scored" in text and "ValueError: no number" in text
        assert "unscored-answers" in judged.summary.caveat_codes
    plain = run(tmp_path, rows, reward=picky, reward_range=(0.0, 1.0), max_completions=64)
    assert "unscored-answers" not in plain.summary.caveat_codes


def test_references_that_an_earlier_version_did_not_score_are_scored_when_the_run_is_resumed(tmp_path):
    rows = [{"prompt": name, "references": ["a b c d", "a b x y"]} for name in ("one", "two")]
    answers = {name: {"a b c z": 0.5, "q": 0.5} for name in ("one", "two")}
    found = run(tmp_path, rows, answers, "rouge_l", max_completions=8)
    expected = found.prompts["answer_reward"].to_pylist()
    file = found.folder / "prompts.parquet"
    write_table(pq.read_table(file).drop_columns(["answer_reward"]), file)
    assert flatspot.inspect(found.folder).prompts["answer_reward"].to_pylist() == [None, None]
    again = run(tmp_path, rows, answers, "rouge_l", max_completions=8)
    assert again.prompts["answer_reward"].to_pylist() == expected == [0.5, 0.5]


def test_a_run_of_an_earlier_version_without_answers_is_not_loaded_again(tmp_path):
    found = run(tmp_path, max_completions=8, fixed_completions=True)
    file = found.folder / "prompts.parquet"
    write_table(pq.read_table(file).drop_columns(["answer_reward"]), file)
    reward, rows = load_reward("exact_match"), [Prompt("a", "q", {"reference": "1"})]
    assert answers_are_scored(found.folder, rows, reward, None) and not answers_are_scored(found.folder, rows, reward, "reference")


@pytest.mark.parametrize("reward_range", [None, (-2.0, 3.0)])
def test_a_reachable_top_that_nobody_stated_is_said(tmp_path, reward_range):
    def points(prompts, completions, **_):
        return [3.0 * (c == "1") - 2.0 + 0.5 * (len(c) > 1) for c in completions]

    found = run(tmp_path, reward=points, top_reachable=True, reward_range=reward_range, max_completions=16)
    said = [text for text in found.summary.caveats if "--top-reachable has no effect" in text and "--reward-range" in text]
    assert bool(said) == ("top-without-range" in found.summary.caveat_codes) == (reward_range is None)
    assert np.isfinite(found.numbers("r_star")).all() == (reward_range is not None or found.summary.reward_model == "binary")


def picky(prompts, completions, **_):
    if "unheard of" in completions:
        raise ValueError("no number")
    return [0.5 * (c in ("right", "1")) for c in completions]

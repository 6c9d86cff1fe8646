"""`flatspot compare` on runs whose changes are known."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.request import Request
from flatspot.report.compare_text import compare_text
from flatspot.runs.summary import DrawProgress, Summary
from flatspot.verdicts.differing import differing, run_caveats, settings_caveats, settings_of


def run_of(folder, rewards, *, texts=None, ids=None, **settings):
    """A judged run folder of a log: rewards by prompt."""
    rows = [
        {
            "prompt": (texts or {}).get(name, f"What is {name}?"),
            "prompt_id": (ids or {}).get(name, name),
            "reward": r,
            "completion": f"c{k}",
        }
        for name, values in rewards.items()
        for k, r in enumerate(values)
    ]
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return flatspot.inspect(folder / "log.jsonl", out=folder / "run", **({"reward_range": (0, 1)} | settings))


def bits(hits, n=8):
    return [1.0] * hits + [0.0] * (n - hits)


BEFORE = {f"p{i}": bits(h) for i, h in enumerate([0, 0, 0, 0, 1, 2, 4, 8, 8, 3])} | {"gone": bits(4)}
AFTER = {f"p{i}": bits(h) for i, h in enumerate([8, 4, 0, 2, 3, 2, 6, 8, 7, 0])} | {"new": bits(2), "newer": bits(2)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    return run_of(folder / "a", BEFORE), run_of(folder / "b", AFTER)


def test_means_stds_and_groups_by_hand(runs):
    found = flatspot.compare(*runs).summary
    shared = sorted(set(BEFORE) & set(AFTER))
    assert (found["pairs"]["n"], found["pairs"]["by_id"], found["pairs"]["only_a"], found["pairs"]["only_b"]) == (10, 10, 1, 2)
    assert found["alone"] == {"a": ["gone"], "b": ["new", "newer"]}
    for key, of in (("mean", np.mean), ("std", lambda r: np.std(r, ddof=1)), ("mixed", lambda r: mixed_by_hand(r, 8))):
        before, after = (np.array([of(side[name]) for name in shared]) for side in (BEFORE, AFTER))
        assert found[key]["before"] == pytest.approx(before.mean()) and found[key]["after"] == pytest.approx(after.mean())
        assert found[key]["change"] == pytest.approx((after - before).mean()) and found[key]["n"] == 10
        resampled = np.random.default_rng(0).choice(after - before, (4000, 10)).mean(1)  # a paired bootstrap's limits lie within
        low, high = np.quantile(resampled, [0.025, 0.975])
        assert found[key]["lo"] <= low and high <= found[key]["hi"]
    was, now = ({row["prompt_id"]: row["verdict"] for row in run.verdicts.to_pylist()} for run in runs)
    for x, y in itertools.product(found["transitions"], repeat=2):
        assert found["transitions"][x][y] == sum((was[name], now[name]) == (x, y) for name in shared)
    assert found["changed_verdicts"] == sum(was[name] != now[name] for name in shared)
    assert found["most_changed"][0]["prompt_id"] == "p0" and found["most_changed"][0]["change"] == 1.0
    json.dumps(found.to_json(), allow_nan=False)


def mixed_by_hand(rewards, k):
    groups = list(itertools.combinations(rewards, k))
    return sum(len(set(group)) > 1 for group in groups) / len(groups)


def test_prompts_that_one_run_did_not_score_are_said_to_count_for_nothing(tmp_path):
    before = {f"p{i}": bits(i % 5) for i in range(40)}
    after = {name: bits(4, 4 if i else 8) if i < 3 else [None] * 8 if i < 39 else [1.0] + [None] * 7 for i, name in enumerate(before)}
    found = flatspot.compare(run_of(tmp_path / "a", before), run_of(tmp_path / "b", after))
    assert (found.summary["mean"]["n"], found.summary["std"]["n"], found.summary["mixed"]["n"]) == (4, 3, 3)
    said = " ".join(str(found).split())
    assert "mean reward is over 4 of the 40 prompts: the others have no scored completion in one of the runs" in said
    assert "std and mixed groups are over 3 of the 40 prompts: the others have fewer than two scored completions in one" in said
    assert found.summary["sizes"] == {"smallest": 4, "largest": 8} and found.summary["smaller_groups"] == 2
    larger = next(text for text in found.summary["caveats"] if "as large as they can be" in text)
    assert "On 2 of the 40 prompts" in larger and "--fixed-completions" not in larger  # which is no option for a log


def test_one_completion_each_has_no_groups_and_rewards_may_lie_outside(tmp_path, runs):
    found = flatspot.compare(runs[0], run_of(tmp_path / "b", {f"p{i}": [float(i % 2)] for i in range(10)}, reward_range=(0, 0.5)))
    assert found.summary["sizes"] == {"smallest": None, "largest": None} and found.summary["std"]["n"] == 0
    assert any("over 0 of the 10 prompts: the others have fewer than two" in text for text in found.summary["caveats"])
    assert any(text.startswith("B has rewards outside its range") for text in found.summary["caveats"])
    assert "mixed groups   " in str(found)


def test_limits_of_the_std_hold_the_largest_change_there_can_be(tmp_path):
    """Of two rewards the std is up to 0.707, not 0.5: ten prompts that changed by 0.566 on average must not have their limit there."""
    a = run_of(tmp_path / "a", {f"p{i}": [0.0, 0.0] for i in range(10)})
    b = run_of(tmp_path / "b", {f"p{i}": [1.0, 0.0] if i < 8 else [0.0, 0.0] for i in range(10)})
    found = flatspot.compare(a, b).summary["std"]
    changes = np.r_[np.full(8, math.sqrt(0.5)), 0.0, 0.0]
    assert found["change"] == pytest.approx(changes.mean())
    padded = np.r_[changes, math.sqrt(0.5), -math.sqrt(0.5)]
    half = stats.t.ppf(0.975, 11) * stats.sem(padded)
    assert (found["lo"], found["hi"]) == pytest.approx((padded.mean() - half, min(padded.mean() + half, math.sqrt(0.5))))
    assert found["hi"] > found["change"]


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        ({"drawn": {"completions": 12, "planned": 4000, "ended": False}}, "B was stopped at 12 of the 4,000 completions"),
        ({"caveat_codes": ["noisy-reward"]}, "In B equal completions of a prompt got different rewards"),
        ({"caveat_codes": ["outside-range"]}, "B has rewards outside its range"),
    ],
)
def test_what_a_run_says_of_itself_is_carried_over(summary, text):
    assert [caveat for caveat in run_caveats("B", Summary.from_json(summary)) if text in caveat]
    assert run_caveats("B", Summary(drawn=DrawProgress(8, 8, ended=True), caveat_codes=("few-prompts",))) == []


def test_the_other_way_round_the_changes_are_the_opposite(runs):
    found, back = flatspot.compare(*runs).summary, flatspot.compare(*reversed(runs)).summary
    for key in ("mean", "std", "mixed"):
        assert back[key]["change"] == pytest.approx(-found[key]["change"]) and back[key]["lo"] == pytest.approx(-found[key]["hi"])
    assert (found["rose"], found["fell"]) == (back["fell"], back["rose"])


def test_fewer_completions_are_no_smaller_std(tmp_path):
    """The same policy, 4 completions a prompt and 64: std over all of them would rise for that alone."""
    rng = np.random.default_rng(1)
    many = {f"p{i}": [float(x) for x in rng.random(64) < 0.08] for i in range(200)}
    few = {name: values[32:36] for name, values in many.items()}
    naive = [np.mean([np.std(values, ddof=1) for values in side.values()]) for side in (few, many)]
    assert naive[1] - naive[0] > 0.07
    found = flatspot.compare(run_of(tmp_path / "few", few).folder, run_of(tmp_path / "many", many).folder).summary
    assert found["std"]["lo"] < 0 < found["std"]["hi"] and abs(found["std"]["change"]) < 0.04
    assert found["mixed"]["lo"] < 0 < found["mixed"]["hi"]
    assert found["smaller_groups"] == 200 and any("fewer than 8 scored completions" in text for text in found["caveats"])


def test_ids_that_name_other_texts_are_no_pair(tmp_path):
    a = run_of(tmp_path / "a", BEFORE, texts={f"p{i}": f"text {i}" for i in range(10)})
    moved = {f"p{i}": f"text {(i + 1) % 10}" for i in range(10)}  # the same texts, numbered otherwise
    b = run_of(tmp_path / "b", AFTER, texts=moved)
    by_text = flatspot.compare(a, b)
    assert by_text.summary["pairs"] | {"only_a": 0, "only_b": 0} == {
        "n": 10, "by": "auto", "by_id": 0, "by_text": 10, "only_a": 0, "only_b": 0, "other_text": 10,
    }  # fmt: skip
    assert all(int(row["prompt_id_b"][1:]) == (int(row["prompt_id"][1:]) - 1) % 10 for row in by_text.prompts.to_pylist())
    assert any("10 ids are in both runs and name different texts" in text for text in by_text.summary["caveats"])
    by_id = flatspot.compare(a, b, pair_by="id").summary
    assert by_id["pairs"]["by_id"] == 10 and any("they are different prompts" in text for text in by_id["caveats"])


def test_nothing_shared_is_refused(tmp_path, runs):
    other = run_of(tmp_path / "other", {f"p{i}": bits(2) for i in range(3)}, texts={f"p{i}": f"unlike {i}" for i in range(3)})
    with pytest.raises(RunFolderError, match=r"share no prompt .*3 ids are in both .*--pair-by id"):
        flatspot.compare(runs[0].folder, other.folder)
    with pytest.raises(SettingsError, match="given twice"):
        flatspot.compare(runs[0], runs[0].folder)
    with pytest.raises(SettingsError, match="--pair-by must be one of"):
        flatspot.compare(*runs, pair_by="hash")
    with pytest.raises(RunFolderError, match="not been judged"):
        flatspot.compare(runs[0], tmp_path)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    rows = [{"prompt": f"q{i}", "reference": "a"} for i in range(3)]
    engine = flatspot.ScriptedEngine({row["prompt"]: {"a": 0.5, "b": 0.5} for row in rows})
    run = flatspot.diagnose(rows, engine, "exact_match", max_completions=2, out=tmp_path_factory.mktemp("settings") / "run")
    return settings_of(run.summary, json.loads((run.folder / "run.json").read_text())["identity"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": 1}, "Only the seed differs"),
        ({}, "sampled the same completions"),
        ({"reward": {"names": ["other"]}}, "different rewards"),
        ({"reward": None}, "What scored the rows of a log is not recorded"),
        ({"sampling": {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_new_tokens": 256}}, "differently (temperature 1.0 and 0.5)"),
        ({"reward range": [0.0, 2.0]}, "reward ranges differ ([0, 1] and [0, 2])"),
        ({"group size": 16}, "group size 8 and 16"),
        ({"engine": "hf"}, "engine scripted and hf"),
        ({"source": "watch"}, "from a policy that changed"),
    ],
)
def test_settings_that_make_it_mislead_are_said(settings, changes, text):
    other = settings | changes
    assert differing(settings, other) == sorted(changes, key=list(settings).index)
    assert any(text in caveat for caveat in settings_caveats(settings, other))


def test_a_part_of_the_sampling_that_only_one_run_records_is_named():
    given = dict.fromkeys(
        ("source", "model", "reward", "reward range", "seed", "engine", "dtype", "group size", "target error", "--worst-case")
    )
    a, b = given | {"sampling": {"top_p": 1.0}}, given | {"sampling": {"top_p": 1.0, "min_p": 0.1}}
    for one, other, text in ((a, b, "(min_p None and 0.1)"), (b, a, "(min_p 0.1 and None)")):
        assert any(text in caveat for caveat in settings_caveats(one, other))


def test_another_model_is_what_is_compared(settings):
    assert [name for name, value in settings.items() if value is None] == ["dtype"]  # which the scripted policy has not
    assert settings_caveats(settings, settings | {"model": {"policy": "another"}}) == []
    assert settings_caveats(settings, settings | {"model": {"policy": "another"}, "seed": 5}) == []
    watched = settings_of(Summary(source="watch", settings=Request(rewards=("f (in memory)",))), {"functions": ["f"]})
    assert settings_caveats(watched, watched) == []  # before and after of one training: nothing says that the rows are the same


def test_the_terminal_and_the_command(runs):
    text = str(flatspot.compare(*runs))
    assert max(map(len, text.splitlines())) <= 80 and text == compare_text(flatspot.compare(*runs).summary)
    assert "10 prompts, paired 10 by id; 1 in A alone, 2 in B alone" in text and "In B alone: new, newer" in text
    assert "mean reward                0.33     0.50   +0.17 [−0.20 to +0.50]" in text
    done = subprocess.run(
        [sys.executable, "-m", "flatspot.cli", "compare", str(runs[0].folder), str(runs[1].folder), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["pairs"]["n"] == 10 and math.isclose(json.loads(done.stdout)["mean"]["change"], 0.175)

"""`flatspot plan --labels` on runs whose failing habits are known."""

import dataclasses
import itertools
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import flatspot
from flatspot.cli.main import cli
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.schema import PLAN
from flatspot.planning import failing as failing_module
from flatspot.planning import labels as labels_module
from flatspot.planning.label_files import read_label_rows, write_label_rows, write_plan
from flatspot.planning.labels import LabelSettings, plan_labels, select_labels
from flatspot.planning.strategies import STRATEGIES, Failing
from flatspot.planning.summary import Answers
from flatspot.report.labels_text import labels_text
from flatspot.report.prompt_line import prompt_line

HABITS = ("I cannot help with that.", "{the same text}", "0000")
ANSWERS = {f"reverse {i:04d} {'abcdefghij'[i % 10]}": {HABITS[i % 3]: 1.0} for i in range(90)}
ANSWERS |= {f"copy {i}": {"right": 0.5, "wrong": 0.5} for i in range(15)} | {f"say {i}": {"right": 1.0} for i in range(5)}
ROWS = [{"prompt": text, "id": f"p{i}", "reference": "right", "level": i % 4} for i, text in enumerate(ANSWERS)]


def diagnosed(out, rows=ROWS, **settings):
    return flatspot.diagnose(rows, flatspot.ScriptedEngine(ANSWERS), "exact_match", out=out, **settings).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return diagnosed(tmp_path_factory.mktemp("labels") / "run")


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory):
    """The same prompts in another order."""
    return diagnosed(tmp_path_factory.mktemp("labels") / "run", [ROWS[i] for i in np.random.default_rng(1).permutation(len(ROWS))])


@pytest.fixture
def own(run, tmp_path):
    """A copy of the run, for what writes into it."""
    return shutil.copytree(run, tmp_path / "run")


def test_the_plan_is_a_row_per_prompt_as_declared(run):
    found = plan_labels(run, LabelSettings(labels=7))
    assert found.table.schema.names == [c.name for c in PLAN]
    rows = found.table.to_pylist()
    assert [row["prompt_id"] for row in rows] == [row["id"] for row in ROWS]
    expected = {"learnable": "train", "solved": "drop", "vanishing": "defer"}
    for row in rows:
        assert row["action"] == ("label" if row["order"] else expected[row["verdict"]])
        assert (row["gain"] is None) == (row["order"] is None)
        assert row["samples"] == (4 if row["verdict"] == "learnable" else None) or row["verdict"] == "learnable"
        assert (row["nearest"] is None) == (row["verdict"] != "vanishing")
    assert sorted(row["order"] for row in rows if row["order"]) == list(range(1, 8))
    assert {row["verdict"] for row in rows if row["order"]} == {"vanishing"}


def test_the_gain_is_the_ceiling_times_the_coverage(run):
    found = plan_labels(run, LabelSettings(labels=10))
    said, verdicts = json.loads((run / "report.json").read_text()), pq.read_table(run / "verdicts.parquet").to_pylist()
    p = np.array([row["p_vanishing"] for row in verdicts])
    room = np.array([row["r_star"] - row["mean"] for row in verdicts])
    for name in ("mean", "lo", "hi"):
        ceiling = said["fractions"]["vanishing"][name] * (p @ room) / p.sum()
        assert found.summary["ceiling"][name] == pytest.approx(ceiling)
        assert found.summary["gain"][name] == pytest.approx(ceiling * found.summary["coverage"])
    assert found.summary["ceiling"]["lo"] <= 90 / 110 <= found.summary["ceiling"]["hi"] + 0.02
    gains = [x.gain for x in found.labels]
    assert sum(gains) == pytest.approx(found.summary["gain"]["mean"])
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(gains))  # greedy
    assert found.summary["curve"]["10"] == pytest.approx(found.summary["coverage"])


@pytest.fixture
def scores(tmp_path):
    """The log of a reward model, whose range nobody states: a third of the prompts hardly vary."""
    rng = np.random.default_rng(0)
    stds = np.where(np.arange(60) % 3, 2.0, 0.001)
    log = tmp_path / "scores.jsonl"
    log.write_text(
        "".join(
            json.dumps({"prompt": f"q{i}", "completion": f"a{i}-{k}", "reward": rng.normal(-3 + i % 5, stds[i])}) + "\n"
            for i in range(60)
            for k in range(16)
        )
    )
    return log


def test_the_largest_reward_seen_is_no_ceiling(scores, tmp_path):
    run = flatspot.inspect(scores, out=tmp_path / "unknown")
    found = plan_labels(run, LabelSettings(labels=5))
    assert found.summary.vanishing == 20 and not run.summary.reward.range_known
    assert found.summary.ceiling is None and found.summary.gain is None and found.summary["ceiling"] is None
    assert {label.gain for label in found.labels} == set(found.table["gain"].to_pylist()) == {None}
    assert set(found.table["gain_so_far"].to_pylist()) == {None}
    assert sum(label.covers for label in found.labels) == pytest.approx(found.summary.coverage)
    text = shown(found)
    assert (
        "order covers prompt" in text and "no upper bound" in text and "--reward-range" in text and "at most" not in text.split("Gain")[1]
    )


def test_survivors_alone_do_not_show_what_the_set_may_gain(tmp_path):
    """Groups of 16 with a right answer or two: those without any were dropped before the log was written."""
    rng, log = np.random.default_rng(1), tmp_path / "log.jsonl"
    rows = []
    for i in range(400):
        rewards = (rng.random(16) < 0.02).astype(float)
        if 0 < rewards.sum() < 16:
            rows += [{"prompt": f"q{i}", "completion": f"{k}", "reward": r, "step": i // 40} for k, r in enumerate(rewards)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(log, out=tmp_path / "run", reward_range=(0, 1))
    assert "survivors-only" in run.summary.caveat_codes and run.summary.fractions.vanishing.mean is None
    found = plan_labels(run, LabelSettings(labels=5))
    assert (found.summary.ceiling, found.summary.gain, found.summary.ceiling_unknown) == (None, None, "survivors-only")
    assert "gain of 0" not in (text := labels_text(found.summary, {}, None, "")) and "at most 0" not in text
    assert found.summary.n == 0 or "does not show how many prompts vanish" in text


def test_the_top_of_a_stated_range_is_a_ceiling(scores, tmp_path):
    run = flatspot.inspect(scores, out=tmp_path / "known", reward_range=(-20.0, 20.0))
    found = plan_labels(run, LabelSettings(labels=5))
    p, mean = run.numbers("p_vanishing"), run.numbers("mean")
    assert found.summary.ceiling.mean == pytest.approx(run.summary.fractions.vanishing.mean * (p @ (20.0 - mean)) / p.sum())
    assert sum(label.gain for label in found.labels) == pytest.approx(found.summary.gain.mean)


def test_a_prompt_without_a_ceiling_counts_as_the_mean_of_the_others():
    failing = Failing(
        np.ones(4), np.zeros(4), np.array([1.0, 3.0, np.inf, np.inf]), np.full(4, 8), np.eye(4, dtype=np.float32),
        np.eye(4, dtype=np.float32), np.ones(4, bool),
    )  # fmt: skip
    assert failing.weight.tolist() == [1.0, 3.0, 2.0, 2.0]
    assert dataclasses.replace(failing, headroom=np.full(4, np.inf)).weight.tolist() == [1.0] * 4


def test_each_habit_has_a_label_before_any_has_two(run):
    first = select_labels(run, LabelSettings(labels=3))
    habits = {next(iter(ANSWERS[x.prompt.text])) for x in first}
    assert habits == set(HABITS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_the_prompts_changes_nothing(run, shuffled, strategy):
    settings = LabelSettings(labels=9, strategy=strategy)
    assert [x.prompt.id for x in select_labels(run, settings)] == [x.prompt.id for x in select_labels(shuffled, settings)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_seeds_draw(run, strategy):
    ids = [[x.prompt.id for x in select_labels(run, LabelSettings(labels=9, strategy=strategy, seed=seed))] for seed in (0, 0, 1)]
    assert ids[0] == ids[1]
    if strategy == "random":
        assert ids[0] != ids[2]


def test_how_many_are_asked_for(run):
    assert len(select_labels(run, LabelSettings(labels="5%"))) == 6  # of 110 prompts, rounded up
    assert len(select_labels(run, LabelSettings())) == plan_labels(run).summary["recommended"] <= math.ceil(0.05 * 110)
    every = plan_labels(run, LabelSettings(labels=400))
    assert every.summary["n"] == every.summary["vanishing"] == 90 and every.summary["coverage"] == pytest.approx(1.0, abs=1e-4)
    for wrong in (0, -3, "0%", "101%", "many", "nan%", 2.5, ""):
        with pytest.raises(SettingsError, match="--labels must be"):
            LabelSettings(labels=wrong)
    with pytest.raises(SettingsError, match="--strategy must be one of random, hardest, cover, facility-location"):
        LabelSettings(strategy="best")


def test_a_strategy_of_another_package_gets_ids_and_texts(run, monkeypatch):
    seen = []

    def theirs(failing, k):
        seen.append(failing)
        return np.argsort([name == "p17" for name in failing.ids], kind="stable")[::-1][:k]

    monkeypatch.setattr("flatspot.planning.labels.find_strategy", lambda name: theirs)
    found = plan_labels(run, LabelSettings(labels=2, strategy="theirs"))
    assert found.labels[0].prompt.id == "p17" and found.labels[0].reason.startswith("chosen by theirs; vanishing with")
    by_id = dict(zip(seen[0].ids, seen[0].texts, strict=True))
    assert all(by_id[label.prompt.id] == label.prompt.text for label in found.labels)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_large_set_is_sampled_and_still_gives_what_is_asked_for(run, monkeypatch, strategy):
    monkeypatch.setattr(failing_module, "POOL", 30)
    monkeypatch.setattr(labels_module, "_MOST", 12)
    found = plan_labels(run, LabelSettings(labels=40, strategy=strategy))
    ids = [x.prompt.id for x in found.labels]
    assert len(set(ids)) == 40 and found.summary["n"] == 40
    assert 30 <= found.summary["compared"] <= 42
    assert [x.order for x in found.labels] == list(range(1, 41))


def write(run, **settings):
    planned = plan_labels(run, LabelSettings(**settings))
    return write_plan(run, planned.labels, planned.table)


def test_the_labels_file_is_ready_to_fill_and_what_was_filled_stays(own):
    run = own
    assert write(run, labels=4) == 0
    rows = read_label_rows(run / "labels.jsonl")
    assert [set(row) for row in rows] == [{"id", "prompt", "answer", "reference", "level"}] * 4
    assert all(row["answer"] is None for row in rows)
    by_id = {row["id"]: row for row in ROWS}
    assert all(by_id[row["id"]]["prompt"] == row["prompt"] and by_id[row["id"]]["level"] == row["level"] for row in rows)
    rows[1]["answer"], rows[3]["answer"] = "written", "also"
    (run / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write(run, labels=2) == 2
    again = read_label_rows(run / "labels.jsonl")
    assert [(row["id"], row["answer"]) for row in again] == [(rows[0]["id"], None), (rows[1]["id"], "written"), (rows[3]["id"], "also")]
    (run / "labels.jsonl").write_text('{"id": "p1"}\n{"id": \n')
    with pytest.raises(RunFolderError, match=r"labels\.jsonl:2 is not a row of labels"):
        write(run, labels=2)
    assert (run / "labels.jsonl").read_text() == '{"id": "p1"}\n{"id": \n'


def test_what_a_person_or_an_editor_did_to_the_file_is_read(tmp_path):
    file = tmp_path / "labels.jsonl"
    asked = [{"id": "a", "prompt": "x\u2028y\x85z", "answer": None}, {"id": "b", "prompt": "w", "answer": None}]
    written = [asked[0] | {"answer": "first"}, asked[0] | {"answer": "second"}, {"id": "c", "prompt": "v", "answer": "of an older plan"}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in written)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a byte order mark, as editors on Windows write
    assert write_label_rows(file, asked) == 3
    assert [(row["id"], row["answer"]) for row in read_label_rows(file)] == [
        ("a", "first"), ("b", None), ("a", "second"), ("c", "of an older plan"),
    ]  # fmt: skip
    assert read_label_rows(file)[0]["prompt"] == asked[0]["prompt"]
    file.write_text('{"id": "a", "answer": ' + "[" * 100_000)
    with pytest.raises(RunFolderError, match=r"labels\.jsonl:1 is not a row of labels"):
        read_label_rows(file)


def test_what_stands_in_a_labels_file_is_written_back_and_a_bad_line_named(tmp_path):
    file = tmp_path / "labels.jsonl"
    row = {"id": "a", "answer": "x", "": 1, "(no name)": 2}
    file.write_text(json.dumps(row) + "\n")
    assert write_label_rows(file, []) == 1
    assert [json.loads(line) for line in file.read_text().splitlines()] == [row]
    for value, why in (("1" * 5_000, "Exceeds the limit"), ("[" * 100_000 + "]" * 100_000, "nested too deeply")):
        file.write_text(json.dumps(row) + "\n" + f'{{"id": "b", "answer": {value}}}\n')
        with pytest.raises(RunFolderError, match=rf"labels\.jsonl:2 is not a row of labels \(not JSON that can be read: .*{why}"):
            read_label_rows(file)


def test_a_prompt_with_an_answer_of_its_own_comes_with_it(tmp_path):
    run = diagnosed(tmp_path / "run", [row | {"answer": f"known {i}"} for i, row in enumerate(ROWS)])
    write(run, labels=3)
    assert all(row["answer"] == f"known {row['id'][1:]}" for row in read_label_rows(run / "labels.jsonl"))


def test_labels_hold_the_prompt_that_was_judged(tmp_path):
    """Item 40: the file has other columns `prompt` and `id` beside those that --prompt-col and --id-col name."""
    rows = [{"question": row["prompt"], "key": row["id"], "prompt": "an old text", "id": i, "level": 1} for i, row in enumerate(ROWS)]
    engine = flatspot.ScriptedEngine(ANSWERS)
    run = flatspot.diagnose(rows, engine, "regex[pattern=right]", prompt_col="question", id_col="key", out=tmp_path / "run").folder
    write(run, labels=3)
    by_id = {row["id"]: row for row in ROWS}
    for row in read_label_rows(run / "labels.jsonl"):
        assert row["prompt"] == by_id[row["id"]]["prompt"] and row["prompt_original"] == "an old text"
        assert list(row)[:3] == ["id", "prompt", "answer"] and row["answer"] is None


def test_chat_prompts(tmp_path):
    rows = [row | {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["prompt"]}]} for row in ROWS]
    run = diagnosed(tmp_path / "run", rows)
    assert len(select_labels(run, LabelSettings(labels=3))) == 3
    write(run, labels=3)
    assert read_label_rows(run / "labels.jsonl")[0]["prompt"][0] == {"role": "system", "content": "Be brief."}


def test_where_nothing_is_known_to_vanish_there_is_nothing_to_label(tmp_path):
    solved = diagnosed(tmp_path / "solved", ROWS[-5:])
    undecided = diagnosed(tmp_path / "undecided", ROWS[:3], max_completions=1)
    for run, action in ((solved, "drop"), (undecided, "defer")):
        found = plan_labels(run)
        assert found.labels == () and found.summary["n"] == 0 and found.summary["recommended"] == 0
        assert found.summary["actions"][action] == found.table.num_rows
        write_plan(run, found.labels, found.table)
        assert (run / "labels.jsonl").read_text() == ""
        assert "no prompt is settled as vanishing" in printed(run)


def test_unscored_prompts_are_told_apart(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        "".join(json.dumps({"prompt": f"q{i}", "reward": None if i < 3 else 0.0}) + "\n" for i in range(20) for _ in range(30))
    )
    run = flatspot.inspect(tmp_path / "log.jsonl", out=tmp_path / "run", reward_range=(0, 1)).folder
    found = plan_labels(run)
    assert found.summary["actions"]["fix"] == 3 and found.summary["actions"]["label"] >= 1
    assert {row["reason"] for row in found.table.to_pylist() if row["action"] == "fix"} == {"no completion has a reward: fix the reward"}


def test_folders_that_are_not_judged_or_not_whole(tmp_path, run):
    with pytest.raises(RunFolderError, match="not been judged"):
        plan_labels(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    verdicts = pq.read_table(broken / "verdicts.parquet")
    pq.write_table(verdicts.slice(1), broken / "verdicts.parquet")
    with pytest.raises(RunFolderError, match="1 of the 110 prompts have no verdict"):
        plan_labels(broken)


def shown(found, prompts=None):
    return " ".join(labels_text(found.summary, prompts or {}, ("plan.parquet", "labels.jsonl"), "flatspot warmup run").split())


def test_a_share_says_of_what_and_answers_that_are_there_are_named(run):
    text = shown(plan_labels(run, LabelSettings(labels="5%")))
    assert "5% of the 110 prompts of this run is 6." in text
    assert "Answers already there for 6 of 6, in the column 'reference'." in text and "add --answer-col reference to the command" in text
    assert "% of the" not in shown(plan_labels(run, LabelSettings(labels=4)))
    found = plan_labels(run)
    limited = dataclasses.replace(found, summary=dataclasses.replace(found.summary, limit=110, asked_share="5%", asked=6))
    assert "5% of the 110 prompts of this run (--limit 110, not the whole file) is 6." in shown(limited)
    whole = dataclasses.replace(found, summary=dataclasses.replace(found.summary, answers=Answers("answer", found.summary.n)))
    assert "in the column 'answer'." in shown(whole) and "Fill" not in shown(whole)
    assert "Answers" not in shown(dataclasses.replace(found, summary=dataclasses.replace(found.summary, answers=None)))


def test_chat_prompts_are_shown_by_what_was_asked():
    system, asked, said = (
        {"role": role, "content": text} for role, text in (("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "Hm."))
    )
    parts = [{"type": "image"}, {"type": "text", "text": "This?"}]
    assert prompt_line(json.dumps([system, asked, said]), True, 40) == "2 + 2?"
    assert prompt_line(json.dumps([{"role": "user", "content": parts}]), True, 40) == "[image] This?"
    assert prompt_line(json.dumps([system]), True, 5) == "Be b…"
    assert prompt_line("[{", True, 40) == "[{" and prompt_line("", False, 9, "id7") == "id7"


def command(run, *options):
    done = subprocess.run([sys.executable, "-m", "flatspot.cli", "plan", str(run), *options], capture_output=True, text=True, check=True)
    return done.stdout


def printed(run, *options):
    """What the command writes to standard output, in this process."""
    done = CliRunner().invoke(cli, ["plan", str(run), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_shows_the_labels_and_writes_them(own):
    run = own
    text = command(run, "--labels", "12", "--strategy", "hardest")
    assert "12 prompts of 90 vanishing, chosen by hardest" in text and str(run / "labels.jsonl") in text
    *lines, last = text.splitlines()
    assert max(map(len, lines)) <= max(80, len(str(run)) + 60)
    assert last.startswith(
        f"Then    flatspot warmup {run} --labels {run}/labels.jsonl --model MODEL "
    )  # where it lies now, not where it was made
    assert len(read_label_rows(run / "labels.jsonl")) == 12 and pq.read_table(run / "plan.parquet").num_rows == 110
    found = json.loads(printed(run, "--labels", "3", "--json"))
    assert found["labels"]["n"] == 3 and [row["order"] for row in found["labels"]["chosen"]] == [1, 2, 3]

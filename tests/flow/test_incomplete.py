"""A run that is not whole says so; verdicts that were made of more rows than are left stay as they are."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time

import pytest

import flatspot
from flatspot.cli.main import main
from flatspot.core.errors import RunFolderError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.report.run.next_steps import next_steps
from flatspot.report.run.terminal import render_terminal
from flatspot.rollouts.files import read_json, write_json
from flatspot.rollouts.locks import JUDGING_FILE, lock_folder

N, K = 12, 4
ROWS = [{"prompt": f"p{i}", "reference": "1"} for i in range(N)]
ANSWERS = {f"p{i}": {"1": 0.5, "0": 0.5} if i % 2 else {"0": 1.0} for i in range(N)}


class Small(ScriptedEngine):
    rows_per_call = 2 * K  # two prompts a part

    def sample(self, requests, sampling, on_tokens=None):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > getattr(self, "dies_after", 99):
            raise KeyboardInterrupt
        return super().sample(requests, sampling, on_tokens)


def draw(folder, dies_after=99, reward="exact_match", **settings):
    engine = Small(ANSWERS)
    engine.dies_after = dies_after
    given = {"max_completions": K, "fixed_completions": True, "seed": 3, "reward_range": (0, 2)} | settings
    return flatspot.diagnose(ROWS, engine, reward, out=folder, **given)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    run = tmp_path_factory.mktemp("killed") / "run"
    with pytest.raises(KeyboardInterrupt):
        draw(run, dies_after=2)
    return run


def test_a_killed_run_says_how_much_is_there(killed, tmp_path):
    found = flatspot.inspect(shutil.copytree(killed, tmp_path / "run"))
    summary, verdicts = found.summary, found.verdicts.to_pylist()
    assert summary["drawn"] == {"completions": 4 * K, "planned": N * K, "ended": False}
    assert summary["n_prompts"] == sum(summary["counts"].values()) == N
    assert summary["counts"]["unscored"] == 0
    assert [row["prompt_id"] for row in verdicts] == found.prompts["prompt_id"].to_pylist()
    missing = verdicts[4:]
    assert all((row["verdict"], row["n_samples"], row["mean"]) == ("undecided", 0, None) for row in missing)
    assert all("no completions yet" in row["why"] for row in missing)
    assert summary["verdict"] != "fix-reward"
    assert summary["reason"].startswith("The run was stopped at 16 of the 48 completions it planned so far, and 4 of its 12 prompts")
    assert "4 parts are missing" in summary["caveats"][0]
    assert summary["reward"]["range"] == [0, 2]  # what the command said, though it never came to judging
    (step,) = next_steps(summary)  # nothing else is offered while that is open
    assert step.command.endswith("--seed 3 --max-completions 4 --fixed-completions --reward-range 0 2")
    assert "stopped at 16 of the 48" in render_terminal(summary)


def test_nothing_said_of_the_set_rests_on_what_was_not_drawn(killed, tmp_path):
    found = flatspot.inspect(shutil.copytree(killed, tmp_path / "run"))
    given = {"max_completions": K, "fixed_completions": True, "seed": 3, "reward_range": (0, 2)}
    alone = flatspot.diagnose(ROWS[:4], ScriptedEngine(ANSWERS), "exact_match", out=tmp_path / "alone", **given)
    for key in ("verdict", "reward", "forecast", "predicted_error", "to_train"):
        assert found.summary[key] == alone.summary[key]
    for state in ("learnable", "vanishing", "solved"):
        assert found.summary["fractions"][state] == alone.summary["fractions"][state]
    assert found.verdicts.slice(0, 4).drop_columns("why").equals(alone.verdicts.drop_columns("why"))


def test_the_next_command_goes_on_and_the_end_is_as_if_never_killed(killed, whole, tmp_path):
    run = shutil.copytree(killed, tmp_path / "run")
    flatspot.inspect(run)
    found = draw(run)
    assert found.summary["drawn"] == {"completions": N * K, "planned": N * K, "ended": True}
    assert found.summary["counts"] == json.loads((whole / "report.json").read_text())["counts"]
    assert not any("not complete" in caveat for caveat in found.summary["caveats"])


def test_the_next_command_as_it_is_shown_goes_on(tmp_path, monkeypatch):
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.json"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    answers.write_text(json.dumps(ANSWERS))
    monkeypatch.setattr(ScriptedEngine, "rows_per_call", 2 * K)
    given = {
        "engine": "scripted",
        "max_completions": K,
        "fixed_completions": True,
        "seed": 3,
        "reward_range": (0, 2),
        "out": tmp_path / "run",
    }
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.rollouts.store.RunFolder.join_parts", interrupt)
        patch.setattr("flatspot.rollouts.collect.WINDOW", 2)  # after two parts
        flatspot.diagnose(prompts, answers, "exact_match", **given)
    stopped = flatspot.inspect(tmp_path / "run").summary
    assert stopped["drawn"]["completions"] == 4 * K
    monkeypatch.setattr("flatspot.cli.main.prepare_streams", lambda: None)
    monkeypatch.setattr("sys.excepthook", sys.excepthook)  # to be put back
    monkeypatch.setattr("sys.argv", shlex.split(next_steps(stopped)[0].command))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    found = flatspot.inspect(tmp_path / "run")
    assert found.summary["drawn"] == {"completions": N * K, "planned": N * K, "ended": True}
    whole = flatspot.diagnose(prompts, answers, "exact_match", **given | {"out": tmp_path / "whole"})
    assert found.verdicts.equals(whole.verdicts)


def ranks(completions, **_):
    groups = [completions[at : at + K] for at in range(0, len(completions), K)]
    return [sorted(group).index(text) / len(group) for group in groups for text in group]


def test_a_run_killed_after_its_last_part_ends_with_the_same_call_and_with_all_it_has_to_say(tmp_path, monkeypatch):
    answers = tmp_path / "answers.json"  # of an engine in memory nobody knows, before it is loaded, whether it drew these rows
    answers.write_text(json.dumps(ANSWERS))
    given = {"engine": "scripted", "max_completions": K, "fixed_completions": True, "group_size": K}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.rollouts.store.RunFolder.join_parts", interrupt)  # of a round that is all drawn
        flatspot.diagnose(ROWS, answers, ranks, out=tmp_path / "run", **given)
    assert read_json(tmp_path / "run" / "notes.json")["whole_groups"] == K
    stopped = flatspot.inspect(tmp_path / "run").summary
    assert stopped["drawn"] == {"completions": N * K, "planned": N * K, "ended": False}
    found, expected = (flatspot.diagnose(ROWS, answers, ranks, out=tmp_path / name, **given) for name in ("run", "other"))
    assert found.summary["drawn"]["ended"] is True
    assert found.summary["caveats"] == expected.summary["caveats"]
    assert sum("one group of 4 at a time" in caveat for caveat in found.summary["caveats"]) == 1
    assert found.prompts.equals(expected.prompts)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_run_killed_between_rounds_is_not_complete(run):
    notes = read_json(run / "notes.json")
    write_json(notes | {"rounds": 0}, run / "notes.json")
    assert flatspot.inspect(run).summary["drawn"]["ended"] is False
    (run / "notes.json").write_text(json.dumps({"caveats": [], "shown": {"out": "run"}}))
    assert flatspot.inspect(run).summary["drawn"]["ended"] is True  # of flatspot 0.1.0, which did not say


@pytest.mark.parametrize("lost", ["all", "one"])
def test_verdicts_outlive_the_rows_they_were_made_of(run, lost):
    before = {name: (run / name).read_bytes() for name in ("verdicts.parquet", "report.json", "report.html")}
    if lost == "all":
        shutil.rmtree(run / "rollouts")
    else:
        (run / "rollouts" / "part-000-000002.parquet").unlink()
    match = "holds no rows any more" if lost == "all" else r"was judged on 48 completions, of which 8 are gone"
    with pytest.raises(RunFolderError, match=rf"(?s){match}.*Run the same flatspot diagnose"):
        flatspot.inspect(run)
    if lost == "all":
        with pytest.raises(RunFolderError, match="seed: 3 there, 4 now"):
            draw(run, seed=4)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert draw(run).verdicts.equals(flatspot.inspect(run).verdicts)


def test_two_judgings_wait_for_each_other(run, monkeypatch):
    lock = lock_folder(run, JUDGING_FILE)
    done, said = [], []
    other = threading.Thread(target=lambda: done.append(flatspot.inspect(run, say=said.append).summary["n_prompts"]))
    other.start()
    deadline = time.monotonic() + 60
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not done
    lock.close()
    other.join(60)
    assert done == [N] and "waiting" in said[0]
    monkeypatch.setattr("flatspot.rollouts.locks.judging.__wrapped__.__kwdefaults__", {"wait_s": 0.0})
    with lock_folder(run, JUDGING_FILE), pytest.raises(RunFolderError, match="is being judged by another process"):
        flatspot.inspect(run)


def test_a_run_on_a_read_only_disk_is_judged_and_shown(run, capsys):
    if subprocess.run(["mount", "--bind", run, run], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", run], check=True)
        before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
        for found in (flatspot.inspect(run, group_size=4), draw(run)):
            assert (found.written, found.summary["n_prompts"]) == (False, N)
        from flatspot.cli.output import show

        show(found, as_json=False, fail_above=None)
        assert "Nothing was written" in capsys.readouterr().out
        assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before
        assert os.access(run, os.R_OK)
    finally:
        subprocess.run(["umount", run], check=True)

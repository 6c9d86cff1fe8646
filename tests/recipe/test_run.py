"""A whole recipe on the letters model: what it leaves, what it reuses, where it stops, and that a kill changes nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import SettingsError
from flatspot.core.schema import PATHS
from flatspot.recipe import run as run_module
from flatspot.recipe.read import read_recipe
from flatspot.recipe.run import run, steps_at_equal_generations

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn of each other

NAMES = ["before", "plan", "warmup", "warmed", "train", "after"]


def test_a_recipe_runs_to_its_report_and_again_from_what_is_there(write_recipe, tmp_path, monkeypatch):
    file = write_recipe()
    said = []
    found = run(read_recipe(file), say=said.append)
    assert [stage.name for stage in found.stages] == NAMES and not any(stage.reused for stage in found.stages)
    out = tmp_path / "out"
    assert {"report.html", "report.json", "paths.parquet"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "report.json").read_text())["source"] == "run"
    paths = pq.read_table(out / "paths.parquet")
    assert paths.schema.names == [c.name for c in PATHS] and paths.num_rows == 3 * 24
    check_numbers(found)
    again = run(read_recipe(file))
    assert all(stage.reused for stage in again.stages)
    assert without_times(again.summary.to_json()) == without_times(found.summary.to_json())
    longer = write_recipe(train=read_recipe(file).train | {"max_steps": 2})
    changed = run(read_recipe(longer))
    assert [stage.reused for stage in changed.stages] == [True] * 4 + [False] * 2
    assert changed.summary["cost"][4]["steps"] == 2 and (found.stages[4].folder / "stage.json").exists()


def check_numbers(found):
    """The summary against the files of the stages."""
    by_name = {stage.name: stage for stage in found.stages}
    summary = found.summary
    for name in ("before", "warmed", "after"):
        verdicts = pq.read_table(by_name[name].folder / "verdicts.parquet")
        means = verdicts["mean"].to_pylist()
        assert summary["policies"][name]["reward"]["mean"] == pytest.approx(sum(means) / len(means))
    before, after = (pq.read_table(by_name[name].folder / "verdicts.parquet")["verdict"].to_pylist() for name in ("before", "after"))
    for was, row in summary["moves"]["after"].items():
        for now, n in row.items():
            assert n == sum((a, b) == (was, now) for a, b in zip(before, after, strict=True))
    rows = pq.read_table(by_name["train"].folder / "rollouts")
    cost = {row["stage"]: row for row in summary["cost"]}
    assert cost["train"]["generations"] == rows.num_rows == 48 and cost["train"]["steps"] == 3
    assert cost["warmup"]["labels"] == 4 and cost["warmup"]["generations"] == sum(r["generations"] for r in summary["warmup"]["curve"])
    assert summary["rewards"]["train"][-1]["generations"] == 48 + cost["warmup"]["generations"]
    assert summary["gain"]["over_alone"] is None and summary["gain"]["over_before"]["lo"] <= summary["gain"]["over_before"]["mean"]


def without_times(summary):
    """What must be equal between two runs: all but times, folders and what was reused."""
    dropped = {"seconds", "elapsed", "created", "judged", "reused", "folder", "stages", "settings", "training_cost"}
    if isinstance(summary, dict):
        return {key: without_times(value) for key, value in summary.items() if key not in dropped}
    return [without_times(value) for value in summary] if isinstance(summary, list) else summary


def stop_after_the_labels(monkeypatch):
    """Labels that are written are all that a test wants to know of: the warm-up is not run."""

    class WarmingUp(Exception):
        pass

    def warm(bench, run, labels, rows, folder):
        raise WarmingUp([row["answer"] for row in rows])

    monkeypatch.setattr(run_module.work, "warm_up_in", warm)
    return WarmingUp


def test_it_waits_for_answers_and_goes_on(write_recipe, tmp_path, monkeypatch):
    going_on = stop_after_the_labels(monkeypatch)
    file = write_recipe(answer_col=None)
    listed = r"4 of the 4 labels in .*plan-\w+/labels\.jsonl have no answer yet:(\n  \S+){3}\n  … and 1 more\n.* the same command again"
    with pytest.raises(SettingsError, match=listed):
        run(read_recipe(file))
    [labels] = (tmp_path / "out").glob("plan-*/labels.jsonl")
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    rows[0]["answer"] = rows[0]["reference"]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SettingsError, match="3 of the 4 labels"):
        run(read_recipe(file))
    labels.write_text(json.dumps(rows[0]) + "\n")  # the others are left out
    with pytest.raises(going_on, match=r"\["):
        run(read_recipe(file))
    more = write_recipe(answer_col=None, plan={"labels": 6})
    with pytest.raises(SettingsError, match="5 of the 6 labels"):  # the answer that was written is taken over
        run(read_recipe(more))


def test_an_answer_is_not_taken_over_to_another_prompt_of_the_same_id(write_recipe, tmp_path, monkeypatch):
    stop_after_the_labels(monkeypatch)
    file = write_recipe(answer_col=None)
    with pytest.raises(SettingsError, match="4 of the 4 labels"):
        run(read_recipe(file))
    [labels] = (tmp_path / "out").glob("plan-*/labels.jsonl")
    rows = [json.loads(line) | {"answer": "[of the old prompt]"} for line in labels.read_text().split("\n") if line]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text().replace(":", ":z").replace('":z', '":'))  # the texts change, and their ids do not
    with pytest.raises(SettingsError, match="4 of the 4 labels"):
        run(read_recipe(file))


def test_labels_of_a_file_or_a_column(write_recipe, tmp_path, monkeypatch):
    going_on = stop_after_the_labels(monkeypatch)
    row = json.loads((write_recipe().parent / "prompts.jsonl").read_text().splitlines()[0])
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": row["prompt"], "answer": "[x]"}) + "\n")
    with pytest.raises(going_on, match=r"\['\[x\]'\]"):
        run(read_recipe(write_recipe(answer_col=None, labels=str(tmp_path / "mine.jsonl"))))
    with pytest.raises(SettingsError, match=r"answer_col: .*prompts\.jsonl has no column 'nothing'; its columns are command, reference"):
        run(read_recipe(write_recipe(answer_col="nothing")))


def test_a_reward_that_fails_ends_it_before_anything_is_trained(write_recipe, tmp_path, monkeypatch):
    stop_after_the_labels(monkeypatch)
    (tmp_path / "broken.py").write_text("def reward(completions, **columns):\n    raise ValueError('no such column')\n")
    with pytest.raises(SettingsError, match=r"Nothing was trained\. See .*before-\w+/report\.html"):
        run(read_recipe(write_recipe(reward=f"{tmp_path / 'broken.py'}:reward")))


def test_prompts_that_probably_vanish_but_are_not_settled_end_it_too(write_recipe, monkeypatch):
    stop_after_the_labels(monkeypatch)
    few = {"max_new_tokens": 13, "max_completions": 2, "engine": "hf"}
    with pytest.raises(SettingsError, match=r"no single prompt is settled as vanishing yet.*diagnose\.max_completions"):
        run(read_recipe(write_recipe(diagnose=few)))


def test_equal_generations():
    assert steps_at_equal_generations({"generations": 0}, {"steps": 20, "generations": 640}) == 20
    assert steps_at_equal_generations({"generations": 1}, {"steps": 20, "generations": 640}) == 21
    assert steps_at_equal_generations({"generations": 64}, {"steps": 20, "generations": 640}) == 22
    assert steps_at_equal_generations({"generations": 64}, {"steps": 0, "generations": 0}) == 0


# --- killed in each stage

CAUGHT = {
    "before": "rollouts/part-*",
    "plan": "",
    "warmup": "curve.json",
    "warmed": "rollouts/part-*",
    "train": "trainer/checkpoint-*/trainer_state.json",
    "after": "run.json",
    "train-alone": "rollouts/part-*",
    "after-alone": "",
}


def command(file):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "flatspot.cli", "run", str(file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )


def killed_in(file, out, stage, mark):
    """Run until the stage has left its mark, then kill -9; whether it was killed inside the stage."""
    running = command(file)
    while running.poll() is None:
        folders = [folder for folder in out.glob(f"{stage}-[0-9a-f]*") if folder.is_dir() and folder.name == f"{stage}-{folder.name[-8:]}"]
        if any(not mark or next(iter(folder.glob(mark)), None) for folder in folders):
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            return not any((folder / "stage.json").exists() for folder in folders)
        time.sleep(0.005)
    raise AssertionError(f"it ended before {stage}: {running.stderr.read()[-2000:]}")


def weights(out):
    """Every checkpoint of the stages, by stage, as a digest of its bytes."""
    return {
        f"{file.relative_to(out).parts[0].rsplit('-', 1)[0]}/{'/'.join(file.relative_to(out).parts[1:])}": hashlib.sha256(
            file.read_bytes()
        ).hexdigest()
        for file in sorted(Path(out).rglob("model.safetensors"))
        if "checkpoint-" not in str(file)
    }


@pytest.mark.slow
def test_a_recipe_killed_in_each_stage_comes_to_the_same(write_recipe, tmp_path):
    train = read_recipe(write_recipe()).train | {"max_steps": 6, "save_steps": 2}
    file = write_recipe(n=40, compare=True, train=train)
    inside = {stage: killed_in(file, tmp_path / "out", stage, mark) for stage, mark in CAUGHT.items()}
    assert sum(inside.values()) >= 7, inside  # choosing labels takes a blink, and may be over before the kill
    done = command(file)
    printed, errors = done.communicate(timeout=600)
    assert done.returncode == 0, errors[-2000:]
    killed, killed_weights = json.loads(printed), weights(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "killed")
    whole, _ = command(file).communicate(timeout=600)
    assert without_times(json.loads(whole)) == without_times(killed)
    assert weights(tmp_path / "out") == killed_weights and len(killed_weights) >= 3

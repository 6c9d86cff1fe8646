"""How a training's prompts went over its steps, against the rows of the log itself."""

import json

import numpy as np
import pytest

import flatspot
from flatspot.report.run.steps_text import steps_facts

K = 8


def write(log, steps):
    """A log of verl: for each step, prompt → chance of a reward of 1, or the rewards themselves."""
    rng = np.random.default_rng(11)
    log.mkdir()
    for step, groups in enumerate(steps, 1):
        rows = []
        for name, chance in groups.items():
            rewards = chance if isinstance(chance, list) else (rng.random(K) < chance).astype(float)
            rows += [{"input": name, "output": str(k), "gts": "", "score": float(r), "step": step} for k, r in enumerate(rewards)]
        (log / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return log


def trained(n_steps=24):
    """Of 40 prompts 10 are learnt from nothing, 10 solved on the way, 10 stay, and 10 are filtered after step 8, where all are solved."""
    steps = []
    for step in range(n_steps):
        share = step / (n_steps - 1)
        groups = {f"learnt {i}": 0.6 * (share > 0.5) for i in range(10)}
        groups |= {f"solved {i}": 0.4 if share < 0.5 else 1.0 for i in range(10)}
        groups |= {f"same {i}": 0.45 for i in range(10)}
        if step < 8:
            groups |= {f"filtered {i}": 0.5 if step < 7 else [1.0] * K for i in range(10)}
        steps.append(groups)
    return steps


def kinds_of(run, names):
    texts = dict(zip(run.prompts["prompt_id"].to_pylist(), run.prompts["prompt"].to_pylist(), strict=True))
    return sorted(texts[name].split()[0] for name in names)


def test_changes_and_stops_are_those_of_the_training(tmp_path):
    log = write(tmp_path / "log", trained())
    run = flatspot.inspect(log, reward_range=(0, 1), out=tmp_path / "run")
    steps = run.summary.steps
    assert [(w.first, w.last, w.n_prompts, w.completions) for w in steps.windows] == [
        (1 + 4 * i, 4 + 4 * i, n, 4 * K * n) for i, n in enumerate([40, 40, 30, 30, 30, 30])
    ]
    assert (steps.n_steps, steps.start, steps.end, steps.n_compared) == (24, (1, 8), (17, 24), 30)
    assert steps.n_changed == 20
    assert {(c.before, c.after): c.count for c in steps.changes} == {("vanishing", "learnable"): 10, ("learnable", "solved"): 10}
    for window, vanishing, solved in ((steps.windows[0], 0.25, 0.0), (steps.windows[-1], 0.0, 1 / 3)):
        assert window.vanishing.lo <= vanishing <= window.vanishing.hi and window.vanishing.mean == pytest.approx(vanishing, abs=0.05)
        assert window.solved.lo <= solved <= window.solved.hi and window.solved.mean == pytest.approx(solved, abs=0.05)
    stopped = steps.stopped
    assert (stopped.count, stopped.n_drawn, stopped.first_step, stopped.median_step) == (10, 40, 8, 8)
    assert (stopped.mean_std, stopped.equal_low, stopped.equal_high) == (0.0, 0, 10)
    rows = flatspot.runs.run.read_table(tmp_path / "run" / "steps.parquet").to_pylist()
    assert kinds_of(run, [row["prompt_id"] for row in rows if row["changed"]]) == ["learnt"] * 10 + ["solved"] * 10
    assert kinds_of(run, [row["prompt_id"] for row in rows if row["stopped"]]) == ["filtered"] * 10
    assert {(row["n_steps"], row["last_step"]) for row in rows} == {(24, 24), (8, 8)}
    facts = " ".join(steps_facts(steps))
    assert "20 of the 30 prompts drawn in steps 1–8 and 17–24 changed: 10 " in facts
    assert "10 of 40 prompts no longer drawn (since step 8), mean std when last drawn 0.00, 10 with equal, high rewards" in facts
    assert "no longer drawn" in (tmp_path / "run" / "report.html").read_text() and "no longer drawn" in str(run)


def test_a_training_in_which_nothing_changes_has_no_changes(tmp_path):
    chances = np.random.default_rng(2).beta(0.5, 0.7, 60)
    log = write(tmp_path / "log", [{f"prompt {i}": p for i, p in enumerate(chances)} for _ in range(12)])
    steps = flatspot.inspect(log, reward_range=(0, 1), out=tmp_path / "run").summary.steps
    assert (steps.n_compared, steps.n_changed, steps.changes, steps.stopped.count) == (60, 0, (), 0)
    assert "none of the 60 prompts" in " ".join(steps_facts(steps))


def test_of_survivors_only_what_is_no_longer_drawn_is_said(tmp_path):
    mixed = [1.0, 0.0] * (K // 2)
    log = write(tmp_path / "log", [{f"prompt {i}": mixed if step % 2 else [0.0] * 7 + [1.0] for i in range(30)} for step in range(12)])
    run = flatspot.inspect(log, reward_range=(0, 1), out=tmp_path / "run")
    steps = run.summary.steps
    assert run.summary.verdict is None
    assert (steps.n_compared, steps.n_changed, steps.changes) == (None, None, ())
    assert {(w.vanishing.mean, w.solved.hi, w.n_prompts) for w in steps.windows} == {(None, None, 30)}
    assert steps.stopped.count == 0


def test_what_has_one_step_or_is_drawn_here_has_no_steps(tmp_path):
    run = flatspot.inspect(write(tmp_path / "log", trained()[:1]), reward_range=(0, 1), out=tmp_path / "run")
    assert run.summary.steps is None and "steps" not in run.summary.to_json() and not (tmp_path / "run" / "steps.parquet").exists()
    engine = flatspot.ScriptedEngine({"a": {"1": 0.5, "2": 0.5}})
    assert flatspot.diagnose([{"prompt": "a", "reference": "1"}], engine, "exact_match", out=tmp_path / "own").summary.steps is None


def test_graded_rewards_without_a_stated_range_are_judged_by_one_scale(tmp_path):
    rng = np.random.default_rng(4)
    spread = np.where(np.arange(30) < 15, 0.001, 1.0)

    def group(i, step):
        wide = spread[i] if step < 6 or i >= 15 else 1.0
        return [float(x) for x in rng.normal(i, wide, K)]

    log = write(tmp_path / "log", [{f"p {i}": group(i, step) for i in range(30)} for step in range(12)])
    steps = flatspot.inspect(log, out=tmp_path / "run").summary.steps
    assert {(c.before, c.after): c.count for c in steps.changes} == {("vanishing", "learnable"): 15}

"""Whole runs on written-down policies and logs: what each command leaves behind, as plain data.

Everything that a run says in numbers is kept: the object of `--json`, the tables of its folder, what `plan`, `compare` and `export` make
of it. What differs between two machines is left out: versions, times, paths, hashes of folders.
"""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner

from flatspot.cli.main import cli

REWARDS = '''"""Rewards of the golden runs."""

import hashlib


def accuracy(completions, reference, **_):
    return [float(text.split()[0] == wanted) for text, wanted in zip(completions, reference)]


def style(completions, **_):
    return [0.5 * text.endswith("!") for text in completions]


def graded(completions, **_):
    return [len(text) / 40 for text in completions]


def sometimes(completions, **_):
    return [None if "?" in text else float(text.startswith("1")) for text in completions]
'''
LEFT_OUT = {"provenance", "out", "prompts_file", "seconds", "elapsed", "run", "path", "folder"}


def write_inputs(folder):
    """Thirty-six prompts from impossible to solved with the answers' probabilities; a wide, a long and a log over steps."""
    draw = np.random.default_rng(7)
    answers, rows = {}, []
    for i in range(36):
        p = float([0.0, 0.02, 0.1, 0.3, 0.6, 0.9, 0.99, 1.0, 0.5][i % 9])
        words = ["1 yes!", "1 well", "0 no", "0 perhaps not?", "0 " + "long " * (i % 5 + 1)]
        shares = [p * 0.5, p * 0.5, (1 - p) * 0.6, (1 - p) * 0.3, (1 - p) * 0.1]
        answers[f"question {i}"] = {word: share for word, share in zip(words, shares, strict=True) if share > 0}
        rows.append({"id": f"q{i:02}", "prompt": f"question {i}", "reference": "1", "level": i % 3})
    (folder / "answers.json").write_text(json.dumps(answers))
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rewards.py").write_text(REWARDS)
    success = draw.beta(0.4, 0.6, 40)
    wide = [{"prompt": f"task {i}", "rewards": [float(x) for x in draw.random(8) < success[i]]} for i in range(40)]
    (folder / "wide.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wide))
    long = [
        f"{step},task {i},{draw.choice(['a', 'b', 'c'])} {step} {k},{min(1, success[i] * (0.5 + step / 4) * draw.random()):.4f}"
        for step in range(3) for i in range(20) for k in range(4)
    ]  # fmt: skip
    (folder / "steps.csv").write_text("\n".join(["step,prompt,completion,reward", *long]) + "\n")


MODEL = ["--engine", "scripted", "--model", "answers.json"]
COMMANDS = {
    "binary": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:accuracy"],
    "worst_case": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:accuracy", "--worst-case", "--target-error", "0.1"],
    "capped": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:accuracy", "--max-generations", "200", "--round-size", "2"],
    "graded": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:graded", "--fixed-completions", "--max-completions", "16"],
    "graded_sequential": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:graded", "--max-completions", "24"],
    "two_rewards": [
        "diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:accuracy", "--reward", "rewards.py:style",
        "--reward-weight", "1", "--reward-weight", "0.2", "--group-size", "4", "--temperature", "0.8",
    ],
    "failing_reward": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:sometimes", "--seed", "3", "--max-completions", "32"],
    "wide_log": ["inspect", "wide.jsonl"],
    "log_over_steps": ["inspect", "steps.csv", "--reward-range", "0", "1"],
}  # fmt: skip
AFTER = {
    "rescored": ["rescore", "two_rewards", "--reward", "rewards.py:graded", "--out", "rescored", "--json"],
    "judged_again": ["inspect", "binary", "--group-size", "16", "--target-error", "0.1", "--json"],
    "plan_binary": ["plan", "capped", "--labels", "5", "--json"],
    "plan_graded": ["plan", "graded", "--labels", "25%", "--strategy", "cover", "--group-size", "4", "--batch", "8", "--json"],
    "compared": ["compare", "binary", "failing_reward", "--json"],
}


def run_command(words):
    """What a command prints on standard output; fails where the command does."""
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def plain(value):
    """The value as JSON has it, without what differs between machines; floats to ten digits, NaN as null."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if key not in LEFT_OUT}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value


def columns_of(path):
    """A table as {column: values}, maps as objects; its rows are in the file's order."""
    return {
        name: plain([dict(v) if isinstance(v, list) else v for v in values]) for name, values in pq.read_table(path).to_pydict().items()
    }


def folder_of(run):
    """The tables of a run folder: the rollouts by prompt and index, whatever parts they lie in."""
    rollouts = [
        plain({k: dict(v or []) if k == "rewards" else v for k, v in row.items()}) for row in pq.read_table(run / "rollouts").to_pylist()
    ]
    rollouts.sort(key=lambda row: (row["prompt_id"], row["step"] or 0, row["sample_idx"]))
    kept = [[row[name] for name in ("prompt_id", "sample_idx", "completion", "reward", "rewards", "step", "fixed")] for row in rollouts]
    return {"verdicts": columns_of(run / "verdicts.parquet"), "prompts": columns_of(run / "prompts.parquet"), "rollouts": kept}


def judged(words):
    """The object of `--json`."""
    return plain(json.loads(run_command(words)))


def run_all():
    """{name: what it left} of every scenario, run in the current folder."""
    write_inputs(Path())
    left = {}
    for name, words in COMMANDS.items():
        left[name] = {"summary": judged([*words, "--out", name, "--json"])} | folder_of(Path(name))
    for name, words in AFTER.items():
        left[name] = {"summary": judged(words)}
    left["rescored"] |= folder_of(Path("rescored"))
    left["plan_graded"]["plan"] = columns_of(Path("graded") / "plan.parquet")
    for name, words in {"exported": [], "exported_completions": ["--completions"]}.items():
        run_command(["export", "two_rewards", "--verdict", "learnable", *words, "--to", f"{name}.jsonl"])
        left[name] = [plain(json.loads(line)) for line in Path(f"{name}.jsonl").read_text().splitlines()]
    return left

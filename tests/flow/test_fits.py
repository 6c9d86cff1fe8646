"""How often a verb reads the rows of a run, and how often it fits the model of the whole set."""

import collections
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from flatspot.cli.main import cli
from flatspot.runs import run as run_module
from flatspot.stats.models import npmle
from flatspot.stats.models.binary import BinaryModel
from flatspot.stats.models.graded import GradedModel

REWARDS = """def accuracy(completions, reference, **_):
    return [float(text.split()[0] == wanted) for text, wanted in zip(completions, reference)]


def graded(completions, **_):
    return [len(text) / 12 for text in completions]
"""
MODEL = ["--engine", "scripted", "--model", "answers.json"]
FIXED = ["--fixed-completions", "--max-completions", "8"]


def run_command(*words):
    done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two judged runs of 36 prompts, one of binary and one of graded rewards, and a log."""
    before, place = Path.cwd(), tmp_path_factory.mktemp("fits")
    os.chdir(place)
    shares = [0.0, 0.02, 0.3, 0.6, 0.9, 1.0]
    texts = {f"q{i}": {"1 right": shares[i % 6], "0 wrong": (1 - shares[i % 6]) / 2, "0 no": (1 - shares[i % 6]) / 2} for i in range(36)}
    Path("answers.json").write_text(json.dumps({q: {a: p for a, p in row.items() if p > 0} for q, row in texts.items()}))
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": q, "reference": "1"}) + "\n" for q in texts))
    Path("rewards.py").write_text(REWARDS)
    Path("log.csv").write_text("prompt,reward\n" + "".join(f"q{i},{int(k < i % 9)}\n" for i in range(36) for k in range(8)))
    for name, reward in (("binary", "accuracy"), ("graded", "graded")):
        run_command("diagnose", "prompts.jsonl", *MODEL, "--reward", f"rewards.py:{reward}", *FIXED, "--out", name)
    yield place
    os.chdir(before)


@pytest.fixture
def counts(monkeypatch):
    """What is counted while a verb runs: {"reads": n, "models": {evidence: n}, "em": {counts: n}}.

    Not counted, as they are no fits of the set: EM with each prompt left out or with prompts reweighted (its limits), the profile
    likelihood of a forecast, and the NPMLE of tilted likelihoods (the worst-case error).
    """
    found = {"reads": 0, "models": collections.Counter(), "em": collections.Counter()}
    read, em = run_module.read_run, npmle._em

    def reading(*args, **kwargs):
        found["reads"] += 1
        return read(*args, **kwargs)

    def of_counts(table, size, pseudo=None, **kwargs):
        if pseudo is None and len(size) == 1:
            found["em"][table.tobytes() + size.tobytes()] += 1
        return em(table, size, pseudo, **kwargs)

    def counted(kind):
        fit = kind.fit.__func__

        def fitting(cls, evidence, *args, **kwargs):
            tally = evidence.tally
            found["models"][tally.prompt.tobytes() + tally.reward.tobytes() + tally.count.tobytes()] += 1
            return fit(cls, evidence, *args, **kwargs)

        monkeypatch.setattr(kind, "fit", classmethod(fitting))

    counted(BinaryModel)
    counted(GradedModel)
    monkeypatch.setattr(run_module, "read_run", reading)
    monkeypatch.setattr(npmle, "_em", of_counts)
    npmle._fit.cache_clear()
    return found


VERBS = {
    "diagnose a fixed number": ["diagnose", "prompts.jsonl", *MODEL, "--reward", "rewards.py:accuracy", *FIXED, "--out", "fixed"],
    "diagnose a fixed number, graded": [
        "diagnose",
        "prompts.jsonl",
        *MODEL,
        "--reward",
        "rewards.py:graded",
        *FIXED,
        "--out",
        "fixed_graded",
    ],
    "inspect a log": ["inspect", "log.csv", "--out", "log"],
    "inspect a run": ["inspect", "binary"],
    "inspect a run, worst case": ["inspect", "binary", "--worst-case"],
    "inspect a run, graded": ["inspect", "graded"],
    "plan": ["plan", "binary", "--labels", "3", "--group-size", "6"],
    "plan, graded": ["plan", "graded", "--labels", "3", "--group-size", "6"],
    "rescore": ["rescore", "binary", "--reward", "rewards.py:graded", "--out", "rescored"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_reads_the_rows_once_and_fits_one_model(verb, folder, counts):
    run_command(*VERBS[verb])
    assert counts["reads"] == 1
    assert sum(counts["models"].values()) == 1
    assert sum(counts["em"].values()) == (0 if "graded" in " ".join(VERBS[verb]) else 1)


@pytest.mark.parametrize("reward", ["accuracy", "graded"])
def test_triage_fits_each_evidence_once_and_the_judge_its_last(reward, folder, counts):
    """Every round has another evidence. The judge reads that of the last one from the folder: its EM is remembered, its model is new."""
    run_command("diagnose", "prompts.jsonl", *MODEL, "--reward", f"rewards.py:{reward}", "--max-completions", "24", "--out", f"by_{reward}")
    assert counts["reads"] == 1
    assert counts["models"]
    assert sorted(counts["models"].values())[:-1] == [1] * (len(counts["models"]) - 1)
    assert max(counts["models"].values()) <= 2
    assert set(counts["em"].values()) <= {1}

"""experiments/grue/foretell.py: what it says of verdicts and moves, against numbers written out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    """The module, whose name, and that of the `measures` it takes, are forgotten afterwards: other experiments use them too."""
    before, paths = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(ROOT / "experiments" / "grue"))
    try:
        import foretell

        yield foretell
    finally:
        sys.path[:] = paths
        for name in set(sys.modules) - before:
            if name in ("foretell", "measures"):
                del sys.modules[name]


def run(script, task, verdicts, changes, moved, gains):
    columns = {name: np.array(gains) for name in script.CANDIDATES}
    return {
        "task": task, "seed": 0, "rl": "ppo", "verdict": np.array(verdicts), "change": np.array(changes), "moved": np.array(moved),
        "moved_untrained": np.zeros(len(moved), int), "won": float(np.mean(changes)), "gain": np.array(gains), "scores": columns,
    }  # fmt: skip


def test_one_run_by_hand(script):
    told = script.told(
        run(script, "a", ["vanishing", "learnable", "learnable", "vanishing"], [0.0, 0.3, 0.1, -0.2], [0, 1, 1, -1], [0, 3, 1, 2])
    )
    assert told["verdicts"]["vanishing"] == {"inputs": 2, "moved_up": 0.0, "moved": 0.5}
    assert told["verdicts"]["learnable"] == {"inputs": 2, "moved_up": 1.0, "moved": 1.0}
    assert told["auc"]["gain"] == pytest.approx(0.75)  # of four pairs one is wrong
    assert (told["moved_up"], told["moved_untrained"]) == (0.5, 0.0)


def test_sets_are_ordered_by_the_gain_of_their_learnable_inputs(script):
    runs = [
        run(script, "a", ["learnable", "vanishing"], [0.2, 0.0], [1, 0], [0.4, 9.0]),
        run(script, "b", ["learnable", "learnable"], [0.3, 0.3], [1, 1], [0.4, float("nan")]),
        run(script, "c", ["vanishing", "vanishing"], [0.0, 0.0], [0, 0], [1.0, 1.0]),
    ]
    told = script.sets(runs)["ppo"]
    assert told["number"] == [0.2, 0.2, 0.0]
    assert told["rank_correlation"] == pytest.approx(np.sqrt(3) / 2)  # ranks 2.5, 2.5, 1 against 2, 3, 1
    assert np.isnan(script.sets(runs[:2])["ppo"]["rank_correlation"])
    assert script.pooled(runs)["ppo"]["inputs"] == 6


def test_it_reads_a_folder(tmp_path):
    """Means and stds as `grue` writes them, and a run folder of a scripted policy."""
    import flatspot
    from flatspot.core.records import Prompt
    from flatspot.rollouts.files import write_table

    pa = pytest.importorskip("pyarrow")
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"p": {"yes": 0.5, "no": 0.5}, "q": {"yes": 0.5, "no": 0.5}}))
    task = tmp_path / "out" / "totto"
    prompts = [Prompt(name, name, {"reference": "yes"}) for name in ("p", "q")]
    options = {"engine": "scripted", "fixed_completions": True, "max_completions": 10, "out": task / "pretrained"}
    flatspot.diagnose(prompts, str(answers), "exact_match", **options)

    def table(folder, means):
        folder.mkdir(parents=True, exist_ok=True)
        columns = {"input": ["q", "p"], "mean": means, "std": [0.1, 0.1], "scored": [10, 10]}
        write_table(pa.table(columns), folder / "inputs.parquet")

    table(task, [0.5, 0.5])
    table(task / "seed-0" / "again", [0.5, 0.5])
    table(task / "seed-0" / "rft-ppo", [0.5, 0.9])
    (task / "seed-0" / "rft-ppo" / "arm.json").write_text("{}")
    command = [
        sys.executable,
        str(ROOT / "experiments" / "grue" / "foretell.py"),
        str(tmp_path / "out"),
        "--out",
        str(tmp_path / "told.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False)
    assert done.returncode == 0, done.stderr
    [told] = json.loads((tmp_path / "told.json").read_text())["runs"]
    assert (told["task"], told["inputs"], told["moved_up"], told["won"]) == ("totto", 2, 0.5, pytest.approx(0.2))

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from flatspot.recipe.overcome import REMEDIES
from flatspot.runs.demo_summary import DemoSize

ROW = {"reward": 0.0, "learnable": 0.0, "vanishing": 1.0, "solved": 0.0, "labels": 0, "sft_steps": 0, "generations": 3840, "seconds": 14.0}


def demo(*words, cwd):
    command = Path(sys.executable).parent / "flatspot"
    return subprocess.run([command, "demo", *words], capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("trl", reason="demo --train trains by TRL")
    rows = [{"name": name, **ROW} for name in ("as it is", *REMEDIES)]
    rows += [
        {"name": "warm-up", **ROW, "labels": 20, "sft_steps": 15, "why": "enough"},
        {"name": "warm-up, then RL", **ROW, "reward": 0.97},
    ]
    (tmp_path / "flatspot-demo-train").mkdir()
    results = {"task": "capitals", "size": asdict(DemoSize()), "seed": 0, "rows": rows, "policy": "", "seconds": 100.0, "provenance": {}}
    (tmp_path / "flatspot-demo-train" / "results.json").write_text(json.dumps(results))
    return tmp_path


def test_results_that_are_there_are_shown_again(folder):
    shown = demo("--train", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "warm-up, then RL" in shown.stdout
    assert "0.97" in shown.stdout
    assert json.loads(demo("--train", "--json", cwd=folder).stdout)["rows"][-1]["reward"] == 0.97


@pytest.mark.parametrize(
    ("words", "says"), [(("--train", "--max-completions", "4"), "without --train"), (("--train", "--seed", "1"), "give another --out")]
)
def test_what_does_not_fit_is_refused(folder, words, says):
    refused = demo(*words, cwd=folder)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr

"""`flatspot run` from the command line: what is wrong is said before anything runs, with exit code 2."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from flatspot.cli.main import cli
from flatspot.recipe import run as recipe_run
from flatspot.runs.recipe_summary import RecipeSummary


def run(*words, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-m", "flatspot.cli", "run", *map(str, words)], capture_output=True, text=True, env=os.environ | environment
    )


def test_wrong_recipes_are_the_users_to_mend(tmp_path):
    pytest.importorskip("yaml")
    file = tmp_path / "recipe.yaml"
    file.write_text("prompts: p.jsonl\nmodel: m\nreward: exact_match\nout: out\ndiagnose: {max_completion: 3}\n")
    done = run(file)
    assert done.returncode == 2 and "did you mean diagnose.max_completions?" in done.stderr and "Traceback" not in done.stderr
    assert run(tmp_path / "none.yaml").returncode == 2
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("prompts: p.jsonl\nmodel: m\nreward: exact_match\nout: out\n")
    done = run(file, WORLD_SIZE="2")
    assert done.returncode == 2 and "flatspot run is one process" in done.stderr and "accelerate launch" in done.stderr


def test_without_yaml_the_extra_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: m\n")
    hidden = "import sys; sys.modules['yaml'] = None; sys.argv = ['flatspot', 'run', 'recipe.yaml']"
    code = f"{hidden}; from flatspot.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "pip install 'flatspot[train]'" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_json_is_the_summary_as_an_object(tmp_path, monkeypatch):
    pytest.importorskip("yaml")
    file = tmp_path / "recipe.yaml"
    file.write_text("prompts: p.jsonl\nmodel: m\nreward: exact_match\nout: out\n")
    monkeypatch.setattr(recipe_run, "run", lambda *_, **__: SimpleNamespace(summary=RecipeSummary(n_prompts=7), out=tmp_path))
    printed = json.loads(CliRunner().invoke(cli, ["run", str(file), "--json"], catch_exceptions=False).stdout)
    assert printed["n_prompts"] == 7 and printed["gain"] == {"over_before": None, "over_warmed": None, "over_alone": None}

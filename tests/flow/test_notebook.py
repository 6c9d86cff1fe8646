"""The bar of a notebook: there in a Jupyter kernel for calls that were given no `on_progress`, nowhere else."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import flatspot
from flatspot.engines.scripted import ScriptedEngine
from flatspot.flow import notebook

ANSWERS = {f"p{i}": {"4": 0.5, "5": 0.5} for i in range(6)}
ROWS = [{"prompt": text, "reference": "4"} for text in ANSWERS]


@pytest.fixture
def kernel(monkeypatch):
    """A kernel without widgets, in which tqdm draws a bar of text."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return shell


def diagnose(place, **settings):
    return flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), "exact_match", out=place, max_completions=8, **settings)


def test_a_cell_shows_how_far_the_run_is_and_ends_full(kernel, tmp_path, capsys):
    run = diagnose(tmp_path / "run")
    total = run.summary.generations.total
    shown = capsys.readouterr()
    last = shown.err.split("\r")[-1]
    assert "6/6 prompts" in last and f"{total}/{total} completions" in last and shown.out == ""
    flatspot.rescore(run, "exact_match", out=tmp_path / "again", group_size=4)
    assert f"{total} completions" in capsys.readouterr().err.split("\r")[-1]


def test_a_run_that_ends_in_an_error_leaves_the_bar_where_it_was(kernel, capsys):
    from flatspot.rollouts.progress import Progress

    with pytest.raises(ValueError, match="dead"), notebook.bar_in_notebook(None) as draw:
        draw(Progress(3, 10, 1, 5, 40, 2.0, 3))
        raise ValueError("dead")
    assert "1/5 prompts  3/10 completions" in capsys.readouterr().err.split("\r")[-1]


@pytest.mark.parametrize("where", ["a script", "a terminal of IPython", "with another listener"])
def test_it_is_nowhere_else(kernel, tmp_path, capsys, monkeypatch, where):
    settings = {}
    if where == "a script":
        monkeypatch.delitem(sys.modules, "IPython")
    elif where == "a terminal of IPython":
        kernel.config = {"TerminalIPythonApp": {}}
    else:
        settings = {"on_progress": lambda progress: None}
    diagnose(tmp_path / "run", **settings)
    assert capsys.readouterr().err == ""

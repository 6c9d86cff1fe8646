"""What strangers wrote cannot drive the terminal, wherever it is printed."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flatspot.cli import main as cli_main
from flatspot.cli.main import main
from flatspot.cli.output import show
from flatspot.cli.printing import readable
from flatspot.report import blocks
from flatspot.report.run.terminal import render_terminal
from flatspot.runs.summary import Summary

EVIL = "x\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["flatspot", *map(str, words)])
    monkeypatch.setattr(cli_main, "prepare_streams", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", f"{EVIL}.csv"],
        ["inspect", "log.csv", "--prompt-col", EVIL],
        ["inspect", "cells.csv", "--out", "run"],
        ["export", EVIL, "--to", "x.csv"],
        ["export", "log.csv", "--to", f"x.{EVIL}"],
        ["inspect", "log.csv", f"--{EVIL}"],
        ["inspect", "log.csv", "--fail-above", EVIL],
        [EVIL],
    ],
    ids=range(8),
)
def test_names_cells_and_errors(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(f"prompt,{EVIL}\na,1\n")
    (tmp_path / "cells.csv").write_text("prompt,reward\n" + f"a,{EVIL.replace(chr(13), '')}\n" * 4)
    code, printed = run(monkeypatch, capsys, *words)
    assert code == (0 if "cells.csv" in words else 2)
    assert not RAW.search(printed)
    assert "Traceback" not in printed


def test_our_own_faults_too(monkeypatch, capsys):
    monkeypatch.setattr(cli_main.cli, "main", lambda **_: 1 / 0 if EVIL else None)
    monkeypatch.setattr(sys, "argv", ["flatspot"])
    monkeypatch.setattr(cli_main, "prepare_streams", lambda: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ZeroDivisionError):
        main()
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    printed = capsys.readouterr().err
    assert "ValueError" in printed and not RAW.search(printed)


@pytest.mark.parametrize("verdict", ["proceed", "warm-up", "fix-reward", "another"])
def test_the_reports_own_colors_stay(verdict):
    counts = {state.name: 9 for state in blocks.VERDICTS}
    painted = render_terminal(Summary.from_json({"verdict": verdict, "counts": counts, "caveats": ["x"]}), color=True)
    assert painted.count("\x1b") > 20
    assert readable(painted, color=True) == painted
    assert "\x1b" not in readable(painted)


@pytest.mark.parametrize("code", ["8", "30", "1;30", "38;5;0", "39", "97", "7", "5", "40", "2J", "31;40", ""])
def test_no_other_color_does(code):
    assert readable(f"\x1b[{code}mhidden", color=True) == f"␛[{code}mhidden"


@pytest.mark.parametrize("written", [True, False])
def test_a_folders_name_has_no_colors(written, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show(SimpleNamespace(summary=Summary(verdict="proceed"), folder=Path("a\x1b[31mb"), written=written), as_json=False, fail_above=None)
    printed = capsys.readouterr().out
    assert "a␛[31mb" in printed and "\x1b[1;32mPROCEED" in printed

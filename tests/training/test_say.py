"""Messages during a training: prefixed, and each on its own line between progress bars."""

import logging
import subprocess
import sys

import pytest

from flatspot.training.say import say

CODE = """
import sys
from flatspot.training.say import say
import tqdm
with tqdm.tqdm(total=10, file=sys.stderr, mininterval=0) as bar:
    for step in range(10):
        bar.update()
        if step == 4:
            say("step 5, all-low: out of reach.\\nRead a few completions.")
"""


def test_each_line_stands_alone_beside_a_progress_bar():
    pytest.importorskip("tqdm")
    process = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    lines = process.stderr.split("\n")  # a bar goes back to the start of its line, and ends none
    assert [line for line in lines if "flatspot" in line] == [
        "flatspot: step 5, all-low: out of reach.",
        "flatspot: Read a few completions.",
    ]
    assert process.stdout == "" and "10/10" in lines[-2]


def test_where_logging_is_set_up_it_goes_there_and_only_there(capsys, caplog):
    with caplog.at_level(logging.WARNING, "flatspot"):
        say("an alarm")
    assert [record.getMessage() for record in caplog.records] == ["flatspot: an alarm"]
    assert capsys.readouterr().err == ""


def test_control_characters_have_no_effect_on_the_terminal(caplog):
    with caplog.at_level(logging.WARNING, "flatspot"):
        say("reward \x1b[2J\rfailed\u202e\x85next")
    assert [record.getMessage() for record in caplog.records] == ["flatspot: reward ␛[2J␍failed⟦U+202E⟧⟦U+0085⟧next"]


def test_on_a_terminal_the_bar_is_cleared_and_redrawn(capsys, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with tqdm.tqdm(total=2, file=sys.stderr, mininterval=0, ncols=40) as bar:
        bar.update()
        say("an alarm")
    parts = capsys.readouterr().err.split("\r")
    alarm = next(part for part in parts if "alarm" in part)
    assert alarm.startswith("flatspot: an alarm\n")

"""Which files of a folder are the log, and that nothing is passed over without a word."""

import os

import pytest

from flatspot.core.errors import ImportFormatError
from flatspot.importers.search import files_below, find_logs


def put(folder, *names, text="prompt,reward\na,1\n"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [folder / name for name in names]


def found(folder):
    caveats = []
    return [str(path.relative_to(folder)) for path in find_logs([folder], caveats)], caveats


def test_hidden_files_and_folders_are_passed_over_and_named(tmp_path):
    put(tmp_path, "a.csv", ".ipynb_checkpoints/a-checkpoint.csv", ".hidden.csv", "deep/.git/x.csv", "deep/b.csv")
    names, caveats = found(tmp_path)
    assert names == ["a.csv", "deep/b.csv"]
    assert len(caveats) == 1
    for name in (".ipynb_checkpoints", ".hidden.csv", ".git"):
        assert name in caveats[0]


def test_copies_of_sync_tools_are_passed_over_and_named(tmp_path):
    copies = [
        "a (Max's conflicted copy 2026-11-01).csv",
        "a (conflicted copy 2026-11-01 101010).csv",
        "a.sync-conflict-20261101-101010-ABCDEFG.csv",
    ]
    put(tmp_path, "a.csv", "a (1).csv", *copies)
    names, caveats = found(tmp_path)
    assert names == ["a.csv"]
    assert "copies of files beside them" in caveats[0]


def test_a_numbered_file_is_a_copy_only_with_the_same_content(tmp_path):
    put(tmp_path, "run (1).csv", "a.csv")
    put(tmp_path, "a (2).csv", text="prompt,reward\na,0\n")
    names, caveats = found(tmp_path)
    assert names == ["a (2).csv", "a.csv", "run (1).csv"]
    assert "a (2).csv" in caveats[0] and "read too" in caveats[0]


def test_side_files_of_trainers_are_passed_over_and_named(tmp_path):
    put(tmp_path, "step_1.jsonl", "metrics.jsonl", "config.json", "configs/resolved/eval.json", "x_metadata.jsonl", "run.json")
    names, caveats = found(tmp_path)
    assert names == ["step_1.jsonl"]
    assert "config.json" in caveats[0] and "and 2 more" in caveats[0]


def test_a_file_with_the_name_of_a_side_file_is_read_where_it_is_the_only_one_or_named(tmp_path):
    put(tmp_path, "metrics.csv")
    assert found(tmp_path) == (["metrics.csv"], [])
    put(tmp_path, "log.csv")
    assert find_logs([tmp_path / "metrics.csv"]) == [tmp_path / "metrics.csv"]


def test_mixed_formats_are_listed_with_their_files(tmp_path):
    put(tmp_path, "a.csv", "b.csv", "c.csv", "d.csv", "e.jsonl")
    with pytest.raises(ImportFormatError, match=r"2 formats") as raised:
        find_logs([tmp_path])
    assert f".csv: {tmp_path / 'a.csv'}, {tmp_path / 'b.csv'}, {tmp_path / 'c.csv'} and 1 more" in str(raised.value)
    assert f".jsonl: {tmp_path / 'e.jsonl'}" in str(raised.value)


def test_a_file_named_twice_is_read_once(tmp_path):
    path, other = put(tmp_path, "a.csv", "b.csv")
    (tmp_path / "again.csv").symlink_to(path)
    caveats = []
    assert find_logs([tmp_path, path, other], caveats) == [path, other]
    assert "read once" in caveats[0]


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    put(tmp_path, "a.csv", "closed/b.csv")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    names, caveats = found(tmp_path)
    assert names == ["a.csv"]
    assert caveats == [f"{tmp_path / 'closed'}: cannot be read (Permission denied), and left out."]


def test_links_are_followed_once_and_dead_ones_named(tmp_path):
    put(tmp_path, "logs/deep/a.csv")
    put(tmp_path, "elsewhere/b.csv")
    (tmp_path / "logs" / "deep" / "up").symlink_to(tmp_path / "logs")
    (tmp_path / "logs" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "logs" / "gone.csv").symlink_to(tmp_path / "nothing.csv")
    names, caveats = found(tmp_path / "logs")
    assert names == ["deep/a.csv", "other/b.csv"]
    assert "gone.csv" in caveats[0]


def test_a_run_json_of_another_tool_is_no_run_of_ours(tmp_path):
    put(tmp_path, "run.json", text='{"project": "x"}')
    put(tmp_path, "a.csv", "deep/b.csv")
    put(tmp_path, "deep/run.json", text="[]")
    put(tmp_path, "ours/run.json", text='{"identity": {}}')
    put(tmp_path, "ours/c.csv")
    assert found(tmp_path)[0] == ["a.csv", "deep/b.csv"]


def test_characters_of_patterns_in_names_are_characters(tmp_path):
    put(tmp_path, "log[1].csv", "log1.csv", "run*/x?y.csv", "reward=1/a.csv")
    assert found(tmp_path)[0] == ["log1.csv", "log[1].csv", "reward=1/a.csv", "run*/x?y.csv"]
    assert find_logs([tmp_path / "log[1].csv"]) == [tmp_path / "log[1].csv"]


def test_a_run_and_hidden_files_are_not_of_the_files_below_a_folder(tmp_path):
    """What a plugin's format reads: its own run folder in it, from the call before, would make every call a new run."""
    put(tmp_path, "logs/a.csv", "logs/deeper/b.csv", "logs/.cache/c.csv", "logs/run/prompts.parquet")
    (tmp_path / "logs" / "run" / "run.json").write_text("{}")
    assert files_below([tmp_path / "logs"]) == [tmp_path / "logs" / "a.csv", tmp_path / "logs" / "deeper" / "b.csv"]

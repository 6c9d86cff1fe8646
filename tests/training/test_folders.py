"""Folders that commands fill: other files are never replaced, two writers at once are refused, and the command's own files are replaced."""

import json
import subprocess
import sys

import pytest
from watch_calls import call

from flatspot.core.errors import RunFolderError
from flatspot.training.folders import MARKER, own_folder
from flatspot.training.warmup.checkpoints import WARMUP, WARMUP_NAMES, Checkpoints, is_older_warmup, move_folder, write_folder

NAMES = ("policy", "curve.json")


def everything(folder):
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in folder.rglob("*")}


def names(folder):
    return sorted(part.name for part in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_files_from_another_source_are_refused_by_name_and_stay(tmp_path, name):
    (tmp_path / "policy").mkdir() if name == "policy" else (tmp_path / name).write_text("[]")
    before = everything(tmp_path)
    with (
        pytest.raises(RunFolderError, match=rf"contains {name}, which flatspot warmup did not write and would replace"),
        own_folder(tmp_path, "flatspot warmup", NAMES),
    ):
        pass
    assert everything(tmp_path) == before  # no lock, no mark


def test_the_command_s_own_folder_is_reused_and_may_contain_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        with own_folder(tmp_path, "flatspot warmup", NAMES), own_folder(tmp_path, "flatspot warmup", NAMES):
            (tmp_path / "policy").mkdir(exist_ok=True)
    assert json.loads((tmp_path / MARKER).read_text())["made_by"] == "flatspot warmup"
    with pytest.raises(RunFolderError, match="was written by flatspot warmup"), own_folder(tmp_path, "flatspot demo", ("judged",)):
        pass
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(RunFolderError, match="is damaged"), own_folder(tmp_path, "flatspot warmup", NAMES):
        pass


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path):
    code = (
        "import sys; from pathlib import Path; from flatspot.core.errors import RunFolderError\n"
        "from flatspot.training.folders import own_folder\n"
        "try:\n    with own_folder(Path(sys.argv[1]), 'flatspot warmup', ('policy',)): print('in')\n"
        "except RunFolderError as error: print(error)"
    )

    def other():
        return subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=True).stdout

    with own_folder(tmp_path / "out", "flatspot warmup", NAMES):
        assert "is being written by another process" in other()
    assert other() == "in\n"


def test_a_folder_that_cannot_be_made_or_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="Give another --out"), own_folder(place, "flatspot warmup", NAMES):
            pass


def test_other_processes_of_a_training_lock_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with own_folder(tmp_path / "out", "flatspot warmup", NAMES):
        pass
    assert not (tmp_path / "out").exists()


def test_a_warm_up_of_the_version_without_marks_is_recognized(tmp_path):
    assert not is_older_warmup(tmp_path)
    (tmp_path / "curve.json").write_text(json.dumps([{"step": 0, "labels": 4, "saved": True, "elapsed": 0.1}]))
    (tmp_path / "policy").mkdir()
    with own_folder(tmp_path, WARMUP, WARMUP_NAMES, is_older_warmup):
        pass
    (tmp_path / MARKER).unlink()
    (tmp_path / "curve.json").write_text(json.dumps([{"step": 0, "loss": 1.0}]))  # some other trainer's
    with pytest.raises(RunFolderError, match=r"contains policy, curve\.json"), own_folder(tmp_path, WARMUP, WARMUP_NAMES, is_older_warmup):
        pass


def test_checkpoints_clear_only_their_own(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for name in ("step-000002", "step-000004", "step-best", "mine", ".step-000006.flatspot-part"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    for name in ("policy", "policy.old", "policy.part"):  # names that users give to copies
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(name)
    checkpoints.clear(after=2)
    assert names(tmp_path / "checkpoints") == ["mine", "step-000002", "step-best"]
    write_folder(tmp_path / "policy", lambda folder: (folder / "model").write_text("new"))
    (tmp_path / "fresh").mkdir()
    move_folder(tmp_path / "fresh", tmp_path / "policy")
    assert {name: (tmp_path / name / "model").read_text() for name in ("policy.old", "policy.part")} == {
        "policy.old": "policy.old", "policy.part": "policy.part",
    }  # fmt: skip
    checkpoints.promote(2)
    assert names(tmp_path / "checkpoints") == ["mine", "step-best"]


def test_train_does_not_write_over_another_model(tmp_path):
    pytest.importorskip("trl")
    from flatspot.training.rl.train import _check_folders

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    _check_folders(tmp_path / "run", tmp_path / "mine")
    for name in ("config.json", "model-00001-of-00002.safetensors"):
        (tmp_path / "mine" / name).write_text("")
        with pytest.raises(RunFolderError, match=f"contains a model or its checkpoints .{name}"):
            _check_folders(tmp_path / "run", tmp_path / "mine")
        (tmp_path / "mine" / name).unlink()


def test_stages_of_recipes_clear_what_they_wrote(tmp_path):
    from flatspot.recipe.work import _OF_A_WARMUP, _clear

    for name in ("policy", "checkpoints", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").mkdir()
    (tmp_path / "trainer").symlink_to(tmp_path / "link")
    (tmp_path / "curve.json").write_text("[]")
    _clear(tmp_path, _OF_A_WARMUP)
    assert names(tmp_path) == ["link", "mine"]


def test_watching_checkpoints_does_not_replace_another_curve(tmp_path):
    pytest.importorskip("transformers")
    from flatspot.training.warmup.watch_checkpoints import _KIND, _NAMES, _is_older

    (tmp_path / "curve.json").write_text("[1, 2]")
    with pytest.raises(RunFolderError, match=r"contains curve.json"), own_folder(tmp_path, _KIND, _NAMES, _is_older):
        pass
    assert (tmp_path / "curve.json").read_text() == "[1, 2]"


def test_the_halves_of_a_training_do_not_replace_a_run_of_that_name(tmp_path):
    import flatspot
    from flatspot.training.watch.before_after import split_run

    watched = flatspot.watch(lambda completions, **_: [0.0, 1.0, 0.0, 1.0], out=tmp_path / "run")
    for step in range(4):
        call(watched, step)
    for _ in range(2):
        before, _after = split_run(tmp_path / "run")
    (before / MARKER).unlink()
    split_run(tmp_path / "run")  # as a version without marks left it
    (before / MARKER).unlink()
    (before / "notes.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"before contains run.json, prompts.parquet, notes.json, which flatspot train did not write"):
        split_run(tmp_path / "run")
    assert (before / "notes.json").read_text() == "{}"

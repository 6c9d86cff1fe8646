"""Stages: done once per inputs, done again when something is missing, and never half-done."""

import json

import pytest

from flatspot.core.errors import RunFolderError
from flatspot.recipe.stages import contents, do_stage, only_one, read_stage
from flatspot.runs.recipe_summary import WarmupOutcome


def work_of(log, result=None, fail=False):
    def work(folder):
        log.append(folder)
        (folder / "made").write_text("x")
        if fail:
            raise RuntimeError("killed")
        return result or {"n": 1}

    return work


def test_a_stage_is_done_once_per_inputs(tmp_path):
    log = []
    first = do_stage(tmp_path, "a", {"x": 1}, work_of(log), needs=("made",))
    again = do_stage(tmp_path, "a", {"x": 1}, work_of(log), needs=("made",))
    other = do_stage(tmp_path, "a", {"x": 2}, work_of(log), needs=("made",))
    back = do_stage(tmp_path, "a", {"x": 1}, work_of(log), needs=("made",))
    assert [s.reused for s in (first, again, other, back)] == [False, True, False, True]
    assert first.folder == again.folder == back.folder != other.folder and log == [first.folder, other.folder]
    assert again.result == {"n": 1} and again.seconds == first.seconds
    assert do_stage(tmp_path, "b", {"x": 1}, work_of(log)).folder not in (first.folder, other.folder)


def test_a_killed_stage_is_done_again_and_so_is_one_that_lost_something(tmp_path):
    log = []
    with pytest.raises(RuntimeError):
        do_stage(tmp_path, "a", {}, work_of(log, fail=True))
    assert read_stage(log[0]) is None
    done = do_stage(tmp_path, "a", {}, work_of(log), needs=("made",))
    assert not done.reused and len(log) == 2
    (done.folder / "made").unlink()
    assert not do_stage(tmp_path, "a", {}, work_of(log), needs=("made",)).reused


@pytest.mark.parametrize("text", ["{", "[]", '{"result": 1, "seconds": 1}', '{"result": {}}'])
def test_a_damaged_record_is_named(tmp_path, text):
    done = do_stage(tmp_path, "a", {}, work_of([]))
    (done.folder / "stage.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"stage\.json is damaged"):
        do_stage(tmp_path, "a", {}, work_of([]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"chosen_step": None}, "it has no 'chosen_step'"), ({"generations": "many"}, "generations is 'many'"), ({}, None)],
)
def test_a_result_without_what_later_stages_read_is_named(tmp_path, changes, says):
    result = {"chosen_step": 8, "steps": 10, "labels": 10, "learnt": 9, "generations": 180, "why": "w", "cause": "plateau"}
    result |= {"recovered": True, "curve": [], "notes": []}
    changed = {name: value for name, value in (result | changes).items() if value is not None}
    do_stage(tmp_path, "a", {}, work_of([], changed))
    if says is None:
        assert do_stage(tmp_path, "a", {}, work_of([]), kinds=(WarmupOutcome,)).reused
        return
    with pytest.raises(RunFolderError) as error:
        do_stage(tmp_path, "a", {}, work_of([]), kinds=(WarmupOutcome,))
    assert f"stage.json is damaged ({says})" in str(error.value)


def test_what_is_no_number_is_kept_as_null(tmp_path):
    done = do_stage(tmp_path, "a", {"x": float("nan")}, work_of([], {"loss": float("nan")}))
    assert done.result == {"loss": None}
    assert json.loads((done.folder / "stage.json").read_text())["inputs"] == {"x": None}


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    with only_one(tmp_path), pytest.raises(RunFolderError, match="written by another process"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_a_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write into"), only_one(tmp_path / "file" / "out"):
        pass


def test_contents_are_bytes_and_names_not_times(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.bin").write_bytes(b"weights")
    assert contents(one) == contents(two) != contents(one / "deep")
    (two / "deep" / "a.bin").write_bytes(b"weightz")
    assert contents(one) != contents(two)
    (two / "deep" / "a.bin").write_bytes(b"weights")
    assert contents(one) == contents(two)
    (two / "deep" / "a.bin").rename(two / "deep" / "b.bin")
    assert contents(one) != contents(two)
    assert contents("hub/name") == "hub/name"

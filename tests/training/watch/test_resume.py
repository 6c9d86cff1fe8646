"""Resuming a killed RL run: from the right checkpoint, without duplicate or lost rows."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from watch_calls import call, rows_of

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.training.watch.before_after import split_run
from flatspot.training.watch.resume import checkpoint_to_resume, last_checkpoint, set_aside


def checkpoint(folder, name, text):
    (folder / name).mkdir(parents=True)
    if text is not None:
        (folder / name / "trainer_state.json").write_text(text)


def test_the_last_checkpoint_is_the_last_complete_one(tmp_path):
    assert last_checkpoint(tmp_path / "nowhere") is None
    checkpoint(tmp_path, "checkpoint-9", json.dumps({"global_step": 9}))
    checkpoint(tmp_path, "checkpoint-10", json.dumps({"global_step": 10}))
    checkpoint(tmp_path, "checkpoint-11", None)  # killed while it was written
    checkpoint(tmp_path, "checkpoint-12", '{"global_step": 1')
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoint-10", 10)
    assert checkpoint_to_resume("true", tmp_path) == tmp_path / "checkpoint-10"
    assert checkpoint_to_resume(str(tmp_path / "checkpoint-9"), tmp_path) == tmp_path / "checkpoint-9"
    assert checkpoint_to_resume(None, tmp_path) is checkpoint_to_resume("false", tmp_path) is None
    with pytest.raises(SettingsError, match=r"expected a checkpoint.*The last one in .* is .*checkpoint-10"):
        checkpoint_to_resume(tmp_path / "checkpoint-11", tmp_path)
    with pytest.raises(SettingsError, match="holds no checkpoint"):
        checkpoint_to_resume("true", tmp_path / "nowhere")


def test_rows_that_are_sampled_again_are_set_aside(tmp_path):
    (tmp_path / "rollouts").mkdir()
    for number, steps in enumerate(([0, 0, 1], [1, 2, 2], [3, 4])):
        pq.write_table(
            pa.table({"step": pa.array(steps, pa.int64()), "row": steps}), tmp_path / "rollouts" / f"part-000-{number:06d}.parquet"
        )
    assert set_aside(tmp_path, 2) == 4
    remaining = [pq.read_table(part)["step"].to_pylist() for part in sorted((tmp_path / "rollouts").iterdir())]
    assert remaining == [[0, 0, 1], [1]]
    aside = [pq.read_table(part)["step"].to_pylist() for part in sorted((tmp_path / "set-aside").iterdir())]
    assert aside == [[2, 2], [3, 4]]
    assert set_aside(tmp_path, 2) == 0
    assert set_aside(tmp_path, 1) == 2
    assert sorted(path.name for path in (tmp_path / "set-aside").iterdir()) == [
        "part-000-000000-000.parquet", "part-000-000001-000.parquet", "part-000-000001-001.parquet", "part-000-000002-000.parquet",
    ]  # fmt: skip
    (tmp_path / "rollouts" / "part-000-000009.parquet").write_bytes(b"cut")
    with pytest.raises(RunFolderError, match="cannot be read"):
        set_aside(tmp_path, 2)


def test_an_evaluation_at_the_checkpoint_was_made_before_it(tmp_path):
    (tmp_path / "rollouts").mkdir()
    rows = {"step": [1, 2, 2, 3, None], "split": ["train", "eval", "train", "eval", None]}
    pq.write_table(pa.table(rows), tmp_path / "rollouts" / "part-000-000000.parquet")
    assert set_aside(tmp_path, 2) == 2
    assert pq.read_table(tmp_path / "rollouts")["step"].to_pylist() == [1, 2, None]
    assert set_aside(tmp_path, 0) == 2  # a training that starts anew


def half(completions, **columns):
    return [0.0, 1.0] * (len(completions) // 2)


def begin(watched, step):
    """Call the callback as transformers does when a training begins at a step."""
    pytest.importorskip("transformers")
    callback = flatspot.FlatspotCallback(watched)
    state = SimpleNamespace(global_step=step, max_steps=4, is_world_process_zero=True)
    callback.on_train_begin(SimpleNamespace(num_generations=2), state, SimpleNamespace())
    return callback


@pytest.mark.parametrize(("at", "left"), [(2, [0, 1]), (0, [])])
def test_a_resumed_training_counts_each_row_once(tmp_path, caplog, at, left):
    """4 updates, resumed from update 2 or started over: 4 updates in the end, not 6 or 8."""
    watched = flatspot.watch(half, out=tmp_path / "run")
    begin(watched, 0)
    for step in range(4):
        call(watched, step)
    (tmp_path / "run" / "watch.json").write_text(json.dumps({"alarms": [{"cause": "all-low", "step": s, "says": ""} for s in (1, 3)]}))
    again = flatspot.watch(half, out=tmp_path / "run")
    callback = begin(again, at)
    assert sorted({row["step"] for row in rows_of(tmp_path / "run")} if left else set()) == left
    assert [alarm["step"] for alarm in callback.history] == ([1] if at else [])
    for step in range(at, 4):
        call(again, step)
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 16 and sorted({row["step"] for row in rows}) == [0, 1, 2, 3]
    assert sorted(row["sample_idx"] for row in rows if row["prompt"] == "a") == list(range(8))
    assert f"{4 * (4 - at)} completions of update {at} and later" in caplog.text
    aside = pq.read_table(tmp_path / "run" / "set-aside")
    assert len(aside) == 4 * (4 - at)
    summary = flatspot.inspect(tmp_path / "run").summary
    assert summary["generations"]["total"] == 16
    assert any("not counted" in text for text in summary["caveats"])


def test_an_evaluation_before_the_training_is_not_set_aside(tmp_path):
    watched = flatspot.watch(half, out=tmp_path / "run")
    call(watched, 0)
    begin(watched, 0)
    call(watched, 0)
    assert len(rows_of(tmp_path / "run")) == 8


def test_a_part_that_cannot_be_read_ends_the_training_before_it_begins(tmp_path):
    watched = flatspot.watch(half, out=tmp_path / "run")
    call(watched, 0)
    part = next((tmp_path / "run" / "rollouts").iterdir())
    again = flatspot.watch(half, out=tmp_path / "run")
    part.write_bytes(b"cut")
    with pytest.raises(RunFolderError, match="cannot be read"):
        begin(again, 0)


def test_a_training_resumed_in_the_same_process_counts_each_row_once(tmp_path):
    """`trainer.train(resume_from_checkpoint=…)` after a first `trainer.train()`, on the same watched functions."""
    watched = flatspot.watch(half, out=tmp_path / "run")
    call(watched, 0, last=False)  # an evaluation before the training, which is not repeated
    begin(watched, 0)
    for step in range(4):
        call(watched, step, last=False)  # some rows are not written when the second training begins
    begin(watched, 2)
    for step in (2, 3):
        call(watched, step, last=step == 3)
    rows = rows_of(tmp_path / "run")
    assert sorted(row["step"] for row in rows) == [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4
    assert sorted(row["sample_idx"] for row in rows if row["prompt"] == "a") == list(range(10))
    assert pq.read_table(tmp_path / "run" / "set-aside")["step"].to_pylist() == [2] * 4 + [3] * 4
    recorder = watched[0].flatspot_recorder
    assert len(recorder.live.window().informative) == 4  # of updates 2 and 3, once


def test_rows_that_cannot_be_written_end_the_training_before_they_are_sampled_again(tmp_path, monkeypatch):
    watched = flatspot.watch(half, out=tmp_path / "run")
    begin(watched, 0)
    call(watched, 0, last=False)
    monkeypatch.setattr("flatspot.training.watch.recorder.write_table", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(RunFolderError, match="cannot be written"):
        begin(watched, 0)


def test_earlier_caveats_stay_and_each_is_there_once(tmp_path):
    [watched] = flatspot.watch(half, out=tmp_path / "run")
    watched.flatspot_recorder.caveat("A reward model is not watched.")
    for _ in range(2):
        flatspot.watch(half, out=tmp_path / "run")
        caveats = json.loads((tmp_path / "run" / "notes.json").read_text())["caveats"]
        assert [text[:14] for text in caveats] == ["These rows wer", "A reward model"]


def ever_flatter(completions, trainer_state, **columns):
    return half(completions) if trainer_state.global_step < 2 else [0.0] * len(completions)


def end(callback, step):
    state = SimpleNamespace(global_step=step, max_steps=step, is_world_process_zero=True)
    callback.on_train_end(None, state, SimpleNamespace())


@pytest.mark.parametrize("saved", [True, False])
def test_the_first_window_is_that_of_the_training_not_of_its_continuation(tmp_path, caplog, saved):
    watched = flatspot.watch(ever_flatter, out=tmp_path / "run")
    callback = begin(watched, 0)
    for step in range(2):
        call(watched, step)
    if saved:  # a checkpoint; the training is killed after it
        callback.on_save(None, None, None)
    again = flatspot.watch(ever_flatter, out=tmp_path / "run")
    callback = begin(again, 2)
    call(again, 2)
    end(callback, 3)
    mixed = json.loads((tmp_path / "run" / "watch.json").read_text())["mixed_groups"]
    assert mixed == {"first": {"share": 1.0, "groups": 4} if saved else None, "last": {"share": 0.0, "groups": 2}}
    start = "100% of the first 4" if saved else "not known of the first"
    assert f"mixed groups: {start}, 0% of the last 2" in caplog.text


def test_the_halves_of_a_training_keep_its_caveats(tmp_path):
    """Except the one about the whole training, which is replaced by one with their own updates."""
    [watched] = flatspot.watch(half, out=tmp_path / "run")
    watched.flatspot_recorder.caveat("A reward model is not watched.")
    for step in range(4):
        call([watched], step)
    for folder in split_run(tmp_path / "run"):
        first, *rest = json.loads((folder / "notes.json").read_text())["caveats"]
        assert first.startswith("Completions drawn for updates") and rest == ["A reward model is not watched."]

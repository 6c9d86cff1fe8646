"""`watch` records the calls of reward functions, without a trainer."""

import asyncio
import functools
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from watch_calls import call, rows_of

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.records import prompt_id
from flatspot.training.watch import recorder as recording
from flatspot.training.watch.wrap import recorder_of


def right(completions, **columns):
    return [1.0, 0.0, None, 0.0]


def short(completions, **columns):
    return [0.5, 0.5, None, float("nan")]


def test_values_pass_through_and_rows_are_recorded(tmp_path):
    watched = flatspot.watch([right, short], out=tmp_path / "run")
    assert [f.__name__ for f in watched] == ["right", "short"]
    (first, second), logged = call(watched, step=3, answer=["x", "x", "y", "y"])
    assert first == [1.0, 0.0, None, 0.0]
    assert second[:3] == [0.5, 0.5, None]
    assert math.isnan(second[3])
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows] == [1.5, 0.5, None, 0.0]
    assert [row["error"] for row in rows] == [None, None, "right, short: returned None", None]
    assert dict(rows[3]["rewards"]) == {"right": 0.0, "short": None}
    assert {row["step"] for row in rows} == {3}
    assert [row["prompt_id"] for row in rows] == [prompt_id("a")] * 2 + [prompt_id("b")] * 2
    assert [row["sample_idx"] for row in rows] == [0, 1, 0, 1]
    assert logged["flatspot/informative"] == 0.5
    assert logged["flatspot/failed"] == 0.25
    assert pq.read_table(tmp_path / "run" / "prompts.parquet")["columns"].to_pylist() == ['{"answer": "x"}', '{"answer": "y"}']


def test_the_run_folder_is_judged_by_inspect(tmp_path):
    watched = flatspot.watch([lambda completions, **_: [float(len(text) % 2) for text in completions]], out=tmp_path / "run")
    for step in range(20):
        call(watched, step, completions=["x", "xx", "yy", "yyyy"])
    summary = flatspot.inspect(tmp_path / "run").summary
    assert (summary["source"], summary["n_prompts"], summary["generations"]["total"]) == ("watch", 2, 80)
    assert summary["counts"]["learnable"] == 1
    assert any("while the policy was trained" in caveat for caveat in summary["caveats"])


def test_every_batch_logs_the_same_names(tmp_path):
    watched = flatspot.watch([right, short], out=tmp_path / "run")
    names = [set(call(watched, step)[1]) for step in range(2)]
    names.append(set(call(list(flatspot.watch([right, lambda **_: [None] * 4], out=tmp_path / "other")))[1]))
    assert names[0] == names[1]
    assert {n.replace("<lambda>", "short") for n in names[2]} == names[0]


def test_asynchronous_functions_stay_asynchronous_and_partials_keep_their_name(tmp_path):
    async def judge(completions, **columns):
        await asyncio.sleep(0)
        return [1.0, 0.0, 1.0, 0.0]

    later, part = flatspot.watch([judge, functools.partial(right, unused=1)], out=tmp_path / "run")
    assert asyncio.iscoroutinefunction(later)
    assert part.__name__ == "right"
    state = SimpleNamespace(global_step=0, max_steps=1)
    arguments = {"prompts": ["a", "a", "b", "b"], "completions": ["1", "2", "3", "4"], "trainer_state": state}
    part(**arguments)
    # on a thread of its own: a browser test in the same process leaves its event loop running on this one
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(lambda: asyncio.run(later(**arguments))).result() == [1.0, 0.0, 1.0, 0.0]
    assert [row["reward"] for row in rows_of(tmp_path / "run")] == [2.0, 0.0, 1.0, 0.0]


def test_a_function_that_raises_still_raises_and_its_rows_have_the_error(tmp_path):
    def fails(completions, **columns):
        raise KeyError("gold")

    watched = flatspot.watch([right, fails], out=tmp_path / "run")
    with pytest.raises(KeyError, match="gold"):
        call(watched)
    rows = rows_of(tmp_path / "run")
    assert {row["error"] for row in rows if row["reward"] is None} == {"fails: KeyError: 'gold'"}


def test_a_full_disk_is_reported_once_and_ends_nothing(tmp_path, monkeypatch, caplog):
    watched = flatspot.watch([right], out=tmp_path / "run")
    real = recording.write_table
    monkeypatch.setattr(recording, "write_table", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with caplog.at_level(logging.WARNING, "flatspot"):
        assert call(watched, 0)[0] == [[1.0, 0.0, None, 0.0]]
        call(watched, 1)
    assert caplog.text.count("cannot record this run") == 1
    monkeypatch.setattr(recording, "write_table", real)
    call(watched, 2)
    assert len(rows_of(tmp_path / "run")) == 12  # waiting rows are written once it is possible


def test_chat_prompts_are_stored_as_messages(tmp_path):
    chat = [{"role": "user", "content": "2+2?"}]
    watched = flatspot.watch([lambda **_: [1.0, 0.0]], out=tmp_path / "run")
    call(watched, prompts=[chat, chat], completions=[[{"role": "assistant", "content": "4"}], [{"role": "assistant", "content": "5"}]])
    assert [row["completion"] for row in rows_of(tmp_path / "run")] == ["4", "5"]
    assert rows_of(tmp_path / "run")[0]["prompt_id"] == prompt_id(chat)
    assert pq.read_table(tmp_path / "run" / "prompts.parquet")["is_chat"].to_pylist() == [True]


def test_a_resumed_training_adds_to_its_folder(tmp_path):
    call(flatspot.watch([right], out=tmp_path / "run"), 0)
    call(flatspot.watch([right], out=tmp_path / "run"), 1)
    rows = rows_of(tmp_path / "run")
    assert sorted(row["sample_idx"] for row in rows if row["prompt_id"] == prompt_id("a")) == [0, 1, 2, 3]
    with pytest.raises(RunFolderError, match="other settings"):
        flatspot.watch([short], out=tmp_path / "run")


def test_anything_but_functions_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="reward model is called by the trainer"):
        flatspot.watch(["some/reward-model"], out=tmp_path / "run")
    with pytest.raises(SettingsError, match="expects functions, got 'some/reward-model'"):
        flatspot.watch("some/reward-model", out=tmp_path / "run")
    with pytest.raises(SettingsError, match="at least one"):
        flatspot.watch([], out=tmp_path / "run")
    with pytest.raises(SettingsError, match="is not watched"):
        recorder_of([right])


def test_groups_that_straddle_processes_are_merged(tmp_path, monkeypatch):
    """Two ranks as two threads: each scores half of the one group of four, and both must log the std of the whole group."""
    import flatspot.training.watch.recorder as module
    import flatspot.training.watch.wrap as watching

    barrier, shared, me = threading.Barrier(2), {}, threading.local()

    def gather(value):
        shared[me.rank] = value
        barrier.wait(10)
        values = [shared[0], shared[1]]
        barrier.wait(10)
        return values

    monkeypatch.setattr(module, "gather", gather)
    monkeypatch.setattr(watching, "rank", lambda: me.rank)
    monkeypatch.setattr(watching, "_open", {})  # the second thread must not take the first one's folder
    logged, watched = {}, {}
    for rank, value in ((0, 0.0), (1, 1.0)):
        me.rank = rank
        watching._open.clear()
        watched[rank] = flatspot.watch([lambda value=value, **_: [value, value]], out=tmp_path / "run")

    def work(rank):
        me.rank = rank
        logged[rank] = call(watched[rank], prompts=["a", "a"], completions=[f"{rank}x", f"{rank}y"])[1]

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    [functions[0].flatspot_recorder.release() for functions in watched.values()]
    assert logged[0] == pytest.approx(logged[1], nan_ok=True)
    assert logged[0]["flatspot/informative"] == 1.0
    assert logged[0]["flatspot/reward_std/mean"] == pytest.approx(math.sqrt(1 / 3))
    assert sorted(file.name for file in (tmp_path / "run" / "rollouts").iterdir()) == ["part-000-000000.parquet", "part-001-000000.parquet"]
    assert sorted((row["sample_idx"], row["reward"]) for row in rows_of(tmp_path / "run")) == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)]

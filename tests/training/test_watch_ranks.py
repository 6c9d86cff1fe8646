"""`watch` in two processes, here as threads: if one fails, the other neither waits forever nor records a different batch."""

import threading

import pyarrow.parquet as pq
import pytest
from watch_calls import call, rows_of

import flatspot
import flatspot.training.watch.recorder as recording
import flatspot.training.watch.resume as going_on
import flatspot.training.watch.wrap as watching
from flatspot.core.errors import RunFolderError
from flatspot.training.watch.resume import resume_rows

WAITS_S = 5


class Ranks:
    """Two processes of a training: what each does is a function of its rank, run at the same time."""

    def __init__(self, monkeypatch):
        self.barrier, self.shared, self.me = threading.Barrier(2), {}, threading.local()
        monkeypatch.setattr(recording, "gather", self.gather)
        monkeypatch.setattr(watching, "rank", lambda: self.me.rank)
        monkeypatch.setattr(watching, "_open", {})

    def gather(self, value):
        self.shared[self.me.rank] = value
        self.barrier.wait(WAITS_S)
        values = [self.shared[0], self.shared[1]]
        self.barrier.wait(WAITS_S)
        return values

    def watch(self, make, out):
        watched = []
        for rank in (0, 1):
            self.me.rank = rank
            watching._open.clear()
            watched.append(flatspot.watch(make(rank), out=out))
        return watched

    def at_once(self, work):
        results = [None, None]

        def act(rank):
            self.me.rank = rank
            try:
                results[rank] = work(rank)
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=act, args=(rank,)) for rank in (0, 1)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return results


@pytest.fixture
def ranks(monkeypatch):
    return Ranks(monkeypatch)


def right(completions, **columns):
    return [0.0, 1.0]


def sometimes(fails):
    def scored(completions, **columns):
        if completions[0] in fails:
            raise KeyError("gold")
        return [0.0, 1.0]

    return scored


def call_batch(watched, rank, step):
    return call(watched[rank], step, prompts=["a", "a"], completions=[f"{rank} {step}", f"{rank} {step} b"])[1]


@pytest.mark.parametrize("first", [True, False])
def test_a_function_that_raises_in_one_process(ranks, tmp_path, first):
    """It raises only there; the other process has its numbers, and later batches are right in both."""
    names = [sometimes({"1 0"}), right]
    watched = ranks.watch(lambda rank: names if first else names[::-1], tmp_path / "run")
    results = ranks.at_once(lambda rank: call_batch(watched, rank, 0))
    assert isinstance(results[1], KeyError) and results[0]["flatspot/failed"] == (0.5 if first else 0.0)
    for step in (1, 2):
        results = ranks.at_once(lambda rank, step=step: call_batch(watched, rank, step))
        assert results[0] == pytest.approx(results[1], nan_ok=True) and results[0]["flatspot/informative"] == 1.0
    [functions[0].flatspot_recorder.release() for functions in watched]
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 12 and sum("KeyError" in (row["error"] or "") for row in rows) == (2 if first else 0)
    assert sorted(row["sample_idx"] for row in rows) == list(range(12))


def test_a_folder_is_created_by_the_first_process_after_a_check(ranks, tmp_path):
    ranks.me.rank = 1
    [late] = flatspot.watch(right, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    late.flatspot_recorder.release()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    ranks.me.rank = 0
    with pytest.raises(RunFolderError, match=r"holds thesis\.tex"):
        flatspot.watch(right, out=tmp_path / "run")


def test_a_second_training_sets_aside_the_rows_of_all_processes(ranks, tmp_path, monkeypatch):
    """In the same two processes, from update 1: rows that are not written yet are sampled again too."""
    monkeypatch.setattr(going_on, "gather", ranks.gather)
    watched = ranks.watch(lambda rank: [right], tmp_path / "run")
    recorders = [functions[0].flatspot_recorder for functions in watched]

    def train(rank, first):
        resume_rows(recorders[rank], first)
        for step in range(first, 3):
            call(watched[rank], step, last=False, prompts=["a", "a"], completions=[f"{rank} {step}", f"{rank} {step} b"])

    for first in (0, 1):
        assert ranks.at_once(lambda rank, first=first: train(rank, first)) == [None, None]
    [recorder.release() for recorder in recorders]
    rows = rows_of(tmp_path / "run")
    assert sorted(row["step"] for row in rows) == [0] * 4 + [1] * 4 + [2] * 4
    assert sorted(row["sample_idx"] for row in rows) == list(range(12))


def test_an_internal_error_in_one_process(ranks, tmp_path, monkeypatch, caplog):
    real, bad = recording.read_rows, "1 1"

    def read_rows(now, ends):
        if now["completions"][0] == bad:
            raise MemoryError("no room")
        return real(now, ends)

    monkeypatch.setattr(recording, "read_rows", read_rows)
    watched = ranks.watch(lambda rank: [right], tmp_path / "run")
    results = [ranks.at_once(lambda rank, step=step: call_batch(watched, rank, step)) for step in range(3)]
    assert results[1] == [{}, {}]  # that batch is in no process's numbers
    assert all(one == pytest.approx(other, nan_ok=True) and one for one, other in (results[0], results[2]))
    assert "MemoryError: no room" in caplog.text
    [functions[0].flatspot_recorder.release() for functions in watched]
    assert len(rows_of(tmp_path / "run")) == 8


def test_no_row_is_written_before_its_prompt(ranks, tmp_path, monkeypatch):
    """Each process writes when it can afford to; the first one, which writes the prompts, may be killed just after the second wrote."""
    watched = ranks.watch(lambda rank: [right], tmp_path / "run")
    recorders = [functions[0].flatspot_recorder for functions in watched]
    real = recording.Recorder.flush
    can_write = {0: False, 1: True}

    def flush(self, *, force=False):
        if can_write[self.rank]:
            self._written = 0.0  # as affordable as the first part
            real(self, force=force)

    monkeypatch.setattr(recording.Recorder, "flush", flush)

    def batch(step):
        texts = ["a", "a"] if step < 6 else ["b", "b"]
        ranks.at_once(lambda rank: call(watched[rank], step, last=False, prompts=texts, completions=[f"{rank} {step}", "b"]))

    [batch(step) for step in range(6)]
    assert not list((tmp_path / "run" / "rollouts").glob("part-001*"))  # prompt a is not stored yet
    can_write[0] = True
    batch(6)
    can_write[0] = False
    batch(7)
    assert {row["prompt_id"] for row in rows_of(tmp_path / "run")} <= set(
        pq.read_table(tmp_path / "run" / "prompts.parquet")["prompt_id"].to_pylist()
    )
    assert {row["step"] for row in rows_of(tmp_path / "run") if row["completion"].startswith("1")} == set(range(8))
    can_write[0] = True
    [recorder.release() for recorder in recorders]
    assert len(rows_of(tmp_path / "run")) == 32


def test_processes_out_of_step_stop_recording_with_a_message(ranks, tmp_path, caplog):
    watched = ranks.watch(lambda rank: [right], tmp_path / "run")
    watched[1][0].flatspot_recorder._n_gathers = 1  # as if it had missed a batch of the other process
    results = [ranks.at_once(lambda rank, step=step: call_batch(watched, rank, step)) for step in range(2)]
    assert results == [[{}, {}], [{}, {}]]
    assert "do not call the reward functions equally often" in caplog.text

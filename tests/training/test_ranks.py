"""Several processes that fail together, here threads; and who of them speaks."""

import threading

import pytest

import flatspot.training.ranks as ranks
from flatspot.core.errors import OtherProcessError, PromptFileError


@pytest.fixture
def at_once(monkeypatch):
    """Run `work(rank)` as three processes; a process that waits for one that does not come raises BrokenBarrierError."""
    barrier, shared, me = threading.Barrier(3), {}, threading.local()

    def gather(value):
        shared[me.rank] = value
        barrier.wait(2)
        values = [shared[rank] for rank in range(3)]
        barrier.wait(2)
        return values

    monkeypatch.setattr(ranks, "gather", gather)
    monkeypatch.setenv("WORLD_SIZE", "3")

    def run(work):
        ended = [None] * 3

        def act(rank):
            me.rank = rank
            try:
                work(rank)
            except Exception as error:
                ended[rank] = error

        threads = [threading.Thread(target=act, args=(rank,)) for rank in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return ended

    return run


def test_all_processes_fail_with_the_message_of_the_one_that_did(at_once):
    def work(rank):
        with ranks.together():
            if rank == 1:
                raise PromptFileError("no such file: prompts.jsonl")

    ended = at_once(work)
    assert [type(error) for error in ended] == [OtherProcessError, PromptFileError, OtherProcessError]
    assert str(ended[0]) == str(ended[2]) == "process 1 of 3, counted from 0: no such file: prompts.jsonl"


def test_several_that_fail_keep_their_own_errors(at_once):
    def work(rank):
        with ranks.together():
            if rank:
                raise KeyError(rank)

    ended = at_once(work)
    assert "process 1 of 3" in str(ended[0]) and [str(error) for error in ended[1:]] == ["1", "2"]
    assert at_once(lambda rank: work(0)) == [None] * 3


def test_an_error_amid_an_exchange_is_not_shared(at_once):
    """The others wait inside the block, not at its end: the process must end at once, for the launcher to see."""

    def work(rank):
        with ranks.together(OSError):
            if rank == 1:
                raise MemoryError("no room")

    ended = at_once(work)
    assert isinstance(ended[1], MemoryError)
    assert all(isinstance(error, threading.BrokenBarrierError) for error in (ended[0], ended[2]))


@pytest.mark.parametrize(("rank", "error", "said"), [
    ("", PromptFileError("no file"), "error: no file"),
    ("0", PromptFileError("no file"), "error: no file"),
    ("0", OtherProcessError("process 1 of 2: no file"), "error: process 1 of 2: no file"),
    ("1", PromptFileError("no file"), "in process 1, counted from 0: error: no file"),
    ("1", OtherProcessError("process 0 of 2: no file"), ""),
])  # fmt: skip
def test_the_first_process_speaks_and_the_others_leave_it_the_time(monkeypatch, capsys, rank, error, said):
    import flatspot.cli.main as main

    waited = []

    def fail(**_):
        raise error

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(main.time, "sleep", waited.append)
    monkeypatch.setattr(main.cli, "main", fail)
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2 and capsys.readouterr().err.strip() == said
    assert bool(waited) == (rank == "1")

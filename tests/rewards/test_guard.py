"""A user's function that hangs, crashes, prints or cannot be imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt, Score
from flatspot.rewards import load_reward
from flatspot.rewards.guard import GIVE_UP_AFTER
from flatspot.rewards.process import Worker

USER_FILE = """
import os, subprocess, sys, time

def length(completions):
    return [len(c) for c in completions]

def hangs(completions):
    if "hang" in completions:
        time.sleep(600)
    return [1.0] * len(completions)

def dies(completions):
    if "die" in completions:
        os._exit(3)
    if "segfault" in completions:
        import ctypes
        ctypes.string_at(0)
    if "memory" in completions:
        raise MemoryError("no room")
    if "exit" in completions:
        sys.exit(1)
    return [1.0] * len(completions)

def prints(completions):
    print("x" * 300_000)
    os.write(1, b"raw bytes on descriptor 1")
    sys.stderr.write("and on standard error")
    assert sys.stdin.read() == ""
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    return [1.0] * len(completions)

def slow(completions):
    time.sleep(0.15 * len(completions))
    return [1.0] * len(completions)

def wrong_length(completions):
    return [1.0]

async def later(completions, **kwargs):
    return [0.5] * len(completions)

def pid(completions):
    return [os.getpid()] * len(completions)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "user_rewards.py"
    path.write_text(USER_FILE)
    return path


def score(spec: object, *texts: str, timeout_s: float = 10.0) -> list[Score]:
    with load_reward(spec, timeout_s=timeout_s) as reward:  # type: ignore[arg-type]
        return reward.score([Prompt(str(i), "q") for i in range(len(texts))], [Completion(text, 1, False) for text in texts])


def test_values_come_back_in_order(file: Path) -> None:
    assert [s.reward for s in score(f"{file}:length", "", "a", "bb")] == [0.0, 1.0, 2.0]


def test_a_hang_is_the_error_of_its_row_alone(file: Path) -> None:
    with load_reward(f"{file}:hangs", timeout_s=0.4) as reward:
        prompts = [Prompt(text, "q") for text in "abc"]
        reward.score(prompts[:1], [Completion("a", 1, False)])  # the first call may take longer
        scores = reward.score(prompts, [Completion(text, 1, False) for text in ("a", "hang", "b")])
    assert [s.reward for s in scores] == [1.0, None, 1.0]
    assert scores[1].error == "hangs: TimeoutError: no answer within 0.4 s (--reward-timeout)"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("die", "the reward's process exited with status 3"),
        ("segfault", "the reward's process was killed by SIGSEGV"),
        ("memory", "MemoryError: no room"),
        ("exit", "SystemExit: 1"),
    ],
)
def test_a_crash_is_the_error_of_its_row_alone(file: Path, text: str, cause: str) -> None:
    scores = score(f"{file}:dies", "a", text, "b")
    assert [s.reward for s in scores] == [1.0, None, 1.0]
    assert scores[1].error == f"dies: {cause}"


def test_ten_thousand_hanging_rows_do_not_take_ten_thousand_timeouts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Worker] = []
    monkeypatch.setattr("flatspot.rewards.guard.Worker", lambda: started.append(Worker()) or started[-1])
    with load_reward(f"{file}:hangs", timeout_s=0.2) as reward:
        rows = [Prompt(str(i), "q") for i in range(10_000)]
        reward.score(rows[:1], [Completion("a", 1, False)])  # the first call may take longer
        scores = reward.score(rows, [Completion("hang", 1, False)] * 10_000)
        assert len(started) <= 7  # 10,000, 100 and 10 rows were lost, and three of one row
        assert sum("TimeoutError: no answer" in (s.error or "") and "not tried" not in (s.error or "") for s in scores) == GIVE_UP_AFTER
        last = "the last one with TimeoutError: no answer within 0.2"
        assert str(scores[-1].error).startswith(f"hangs: not tried: 3 rows in a row got no answer, {last}")
        assert "10,000 completions are unscored because the reward hangs gave no answer in time: raise --reward-timeout" in reward.notes[0]
        reward.start_counting()
        assert reward.notes == []
        # the next call tries one row, and goes on as soon as there is an answer
        assert [s.reward for s in reward.score(rows[:2], [Completion("a", 1, False)] * 2)] == [1.0, 1.0]


RECORDED = """
import os, time
HERE = os.path.dirname(os.path.abspath(__file__))
{at_import}

def f(completions):
    with open(os.path.join(HERE, "calls"), "a") as file:
        file.write(f"{{len(completions)}} ")
    {at_call}
    return [float(len(text)) for text in completions]
"""


def recorded(tmp_path: Path, at_call: str, at_import: str = "") -> str:
    (tmp_path / "f.py").write_text(RECORDED.format(at_call=at_call, at_import=at_import))
    return f"{tmp_path / 'f.py'}:f"


def calls(tmp_path: Path) -> list[int]:
    return [int(word) for word in (tmp_path / "calls").read_text().split()]


def batch(n: int) -> tuple[list[Prompt], list[Completion]]:
    return [Prompt(str(i), "q") for i in range(n)], [Completion("x" * (i % 3), 1, False) for i in range(n)]


STALL = """
    if len(completions) > 1 and not os.path.exists(os.path.join(HERE, "stalled")):
        open(os.path.join(HERE, "stalled"), "w").close()
        time.sleep(60)
"""


def test_one_slow_batch_does_not_slow_the_others_and_a_slow_import_is_no_rows_time(tmp_path: Path) -> None:
    spec = recorded(tmp_path, STALL, at_import="time.sleep(0.7)")
    with load_reward(spec, timeout_s=0.5) as reward:
        scores = reward.components[0].scores
        assert [value.number for value in scores.score(*batch(1))] == [0.0]
        for _ in range(3):
            assert [value.number for value in scores.score(*batch(20))] == [float(i % 3) for i in range(20)]
        assert calls(tmp_path) == [1, 20, *[1] * 20, 16, 20, 20]  # 16 of the rows once more, together: they have the same values
        assert "took longer than 0.5 s for 20 completions" in reward.notes[0] and len(reward.notes) == 1


def test_a_model_that_is_loaded_at_the_first_call_has_time_for_it(tmp_path: Path) -> None:
    spec = recorded(tmp_path, "if not globals().get('model'):\n        time.sleep(0.8); globals()['model'] = 1")
    with load_reward(spec, timeout_s=0.3) as reward:
        assert [value.number for value in reward.components[0].scores.score(*batch(3))] == [0.0, 1.0, 2.0]
    assert calls(tmp_path) == [3]


def test_a_call_of_many_slow_rows_has_the_time_that_its_rows_take(tmp_path: Path) -> None:
    with load_reward(recorded(tmp_path, "time.sleep(0.02 * len(completions))"), timeout_s=0.5) as reward:
        for n in (1, 2, 60):
            assert None not in [value.number for value in reward.components[0].scores.score(*batch(n))]
    assert calls(tmp_path) == [1, 2, 60]


def test_a_row_that_hangs_among_many_costs_few_calls(tmp_path: Path) -> None:
    spec = recorded(tmp_path, "time.sleep(60 if 'hang' in completions else 0)")
    prompts, completions = batch(400)
    completions[333] = Completion("hang", 1, False)
    with load_reward(spec, timeout_s=0.3) as reward:
        values = reward.components[0].scores.score(*batch(1)) and reward.components[0].scores.score(prompts, completions)
    assert [i for i, value in enumerate(values) if value.number is None] == [333]
    assert sum(n for n in calls(tmp_path)) < 400 + 400 + 20 + 20 and len(calls(tmp_path)) < 50


def test_printing_does_not_reach_our_pipes(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert [s.reward for s in score(f"{file}:prints", "a", "b")] == [1.0, 1.0]
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "raw bytes" in shown.err and "from a child" in shown.err and "x" * 1000 in shown.err


def test_wrong_length_and_async(file: Path) -> None:
    assert {s.error for s in score(f"{file}:wrong_length", "a", "b")} == {"wrong_length: returned 1 values for 2 completions"}
    assert [s.reward for s in score(f"{file}:later", "a", "b")] == [0.5, 0.5]


def test_lambdas_closures_and_functions_of_unimportable_modules_travel() -> None:
    bonus = 0.25
    assert score(lambda completions: [bonus] * len(completions), "a")[0].reward == 0.25

    def closure(completions: list[str], **kwargs: object) -> list[float]:
        return [bonus + os.getpid() * 0 for _ in completions]

    assert score(closure, "a")[0].reward == 0.25
    assert score(_module_level, "abc")[0].reward == 3.0


def _module_level(completions: list[str]) -> list[float]:
    return [float(_helper(completion)) for completion in completions]


def _helper(text: str) -> int:
    return len(text)


def test_what_cannot_be_pickled_says_what_to_do() -> None:
    lock = threading.Lock()
    with pytest.raises(RewardLoadError, match=r"cannot be sent to its own process.*isolate=False"):
        load_reward(lambda completions: [1.0 if lock else 0.0])


def test_a_worker_killed_between_calls_is_no_rows_fault(file: Path) -> None:
    with load_reward(f"{file}:pid") as reward:
        row, text = [Prompt("a", "q")], [Completion("a", 1, False)]
        first = reward.score(row, text)[0].reward
        assert first is not None
        os.kill(int(first), signal.SIGKILL)
        time.sleep(0.1)
        second = reward.score(row, text)[0]
        assert second.error is None and second.reward != first


def test_several_threads_may_score_at_once(file: Path) -> None:
    results: dict[int, list[float | None]] = {}
    with load_reward(f"{file}:length") as reward:

        def work(n: int) -> None:
            results[n] = [s.reward for s in reward.score([Prompt("a", "q")] * n, [Completion("x" * n, 1, False)] * n)]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: [float(n)] * n for n in range(1, 9)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package_at_all\n", "{file}:1: ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("x = 1\ndef f(:\n", "{file}:2: SyntaxError"),
        ("\n\nvalue = 1 / 0\n", "{file}:3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(2)\n", "{file}:2: SystemExit: 2"),
        ("def g(completions):\n    return []\n", "'f' is not there. Functions there: g"),
        ("f = 3\n", "'f' is not callable"),
        ("import os\nos._exit(1)\n", "exited with status 1"),
    ],
)
def test_a_file_that_cannot_be_imported_names_the_line(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(RewardLoadError) as raised:
        load_reward(f"{path}:f")
    assert message.format(file=path) in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_a_file_imports_its_neighbors_and_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "neighbor.py").write_text("BONUS = 2\n")
    (tmp_path / "json.py").write_text(
        "import neighbor, re\ndef f(completions):\n    return [neighbor.BONUS + bool(re.match('a', c)) for c in completions]\n"
    )
    assert score(f"{tmp_path / 'json.py'}:f", "a")[0].reward == 3.0


def run_script(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(source))
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )


def test_a_script_without_a_main_guard_neither_recurses_nor_crashes(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        from flatspot.core.records import Completion, Prompt
        from flatspot.rewards import load_reward

        def helper(text):
            return len(text)

        def mine(completions, **kwargs):
            return [helper(c) for c in completions]

        print("once")
        reward = load_reward(mine)
        print(reward.score([Prompt("a", "q")], [Completion("abc", 1, False)])[0].reward)
        # no close(): the worker has to go with the interpreter
        """,
    )
    assert done.stdout == "once\n3.0\n" and done.stderr == "" and done.returncode == 0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc which processes live")
@pytest.mark.parametrize("busy", ["", "import time; time.sleep(600)", "import re; re.match('(a+)+$', 'a' * 60 + 'b')"])
def test_the_worker_ends_when_its_parent_is_killed(tmp_path: Path, busy: str) -> None:
    source = f"""
        import os, sys, threading, time
        from flatspot.core.records import Completion, Prompt
        from flatspot.rewards import load_reward

        def mine(completions, **kwargs):
            if completions == ["busy"]:
                {busy or "pass"}
            return [os.getpid()]

        reward = load_reward(mine, timeout_s=600)
        pid = int(reward.score([Prompt("a", "q")], [Completion("a", 1, False)])[0].reward)
        threading.Thread(target=reward.score, args=([Prompt("a", "q")], [Completion("busy", 1, False)]), daemon=True).start()
        time.sleep(0.3)
        print(pid, flush=True)
        time.sleep(600)
        """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(source))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(worker)


def test_close_reaps_the_worker_and_is_repeatable(file: Path) -> None:
    reward = load_reward(f"{file}:pid")
    pid = int(reward.score([Prompt("a", "q")], [Completion("a", 1, False)])[0].reward or 0)
    reward.close()
    reward.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_crashing_prompt_costs_its_own_rows_alone(file: Path) -> None:
    """Sixteen rows of a prompt that kills the worker: three are tried, and the other prompts are scored."""
    prompts = [Prompt("bad", "q")] * 16 + [Prompt("good", "q")] * 4
    completions = [Completion("die", 1, False)] * 16 + [Completion("fine", 1, False)] * 4
    with load_reward(f"{file}:dies") as reward:
        scores = reward.score(prompts, completions)
    assert [s.reward for s in scores[16:]] == [1.0] * 4
    assert sum("not tried" in (s.error or "") for s in scores[:16]) == 16 - GIVE_UP_AFTER

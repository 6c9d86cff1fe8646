"""The ray engine: rows equal to those of its workers' engine alone, whatever the number of workers and however many of them die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray")
import ray

import flatspot
from flatspot.core.errors import EngineError, SettingsError
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.request import resume_options
from flatspot.core.settings import Settings
from flatspot.engines import load_engine
from flatspot.engines.ray_actors import RayOptions, whole_cpus
from flatspot.engines.ray_pool import RayEngine, tasks_of
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import load_reward
from flatspot.rollouts.identity import run_key
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.tables import read_table

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # Ray's own
ANSWERS = {f"q{i}": {"yes": i / 12, "no": 1 - i / 12} for i in range(1, 12)}
REQUESTS = [PromptRequest(prompt, tuple(range(100 * i, 100 * i + 37))) for i, prompt in enumerate(ANSWERS)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two CPUs, which are two workers; they find the tests' modules."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    yield
    ray.shutdown()


class Slow:
    """A scripted engine of few rows a call, each of which takes a moment; it says in which process it draws."""

    name, rows_per_call = "slow", 20

    def __init__(self, folder, **_):
        self.engine, self.folder = ScriptedEngine(ANSWERS), folder

    def sample(self, requests, sampling, on_tokens=None):
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.05)
        return self.engine.sample(requests, sampling)

    def describe(self):
        return {"engine": "slow"}


def processes(folder):
    return {file.name.split("-")[0] for file in folder.iterdir()}


def pool(folder, workers=2):
    return RayEngine(Slow, RayOptions(workers=workers), folder=folder)


@pytest.fixture(scope="module")
def alone():
    return ScriptedEngine(ANSWERS).sample(REQUESTS, Sampling())


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_those_of_the_engine_alone(tmp_path, alone, workers):
    engine = pool(tmp_path, workers)
    until = time.monotonic() + 60
    while len(processes(tmp_path)) < workers and time.monotonic() < until:  # a worker takes seconds to start
        assert engine.sample(REQUESTS, Sampling()) == alone
    assert len(processes(tmp_path)) == workers
    assert isinstance(engine, Engine) and engine.sample([], Sampling()) == []
    assert json.loads(json.dumps(engine.describe())) == {"engine": "ray", "workers_engine": {"engine": "slow"}, "task_rows": 20}


@pytest.mark.parametrize("most", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_workers_that_are_killed_are_replaced_and_no_row_is_lost_or_there_twice(tmp_path, alone, most):
    engine, killed = pool(tmp_path), set()
    drawing = threading.Event()

    def kill():
        """Whoever began a third task, or a fourth, …: in the middle of it, or a moment later."""
        drawing.set()
        while len(killed) < most:
            began = Counter(int(file.name.split("-")[0]) for file in tmp_path.iterdir())
            for pid in [pid for pid, n in began.items() if n >= 3 + len(killed) % 3 and pid not in killed]:
                time.sleep(0.05 * len(killed) / most)
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    drawing.wait()
    drawn = [engine.sample(REQUESTS, Sampling()) for _ in range(3)]
    while thread.is_alive():
        drawn.append(engine.sample(REQUESTS, Sampling()))
    assert len(killed) >= most and all(rows == alone for rows in drawn)


class Waits(Slow):
    """The row of the first seed is not done before one of the second part begins."""

    def sample(self, requests, sampling, on_tokens=None):
        seeds = [seed for request in requests for seed in request.seeds]
        if 10_000 in seeds:
            (self.folder / "second").touch()
        until = time.monotonic() + 60
        while 0 in seeds and not (self.folder / "second").exists():
            assert time.monotonic() < until, "the second part waits for the first one"
            time.sleep(0.01)
        return self.engine.sample(requests, sampling, on_tokens)


def test_the_next_part_is_drawn_while_the_slowest_row_of_one_is_not_done(tmp_path):
    engine = RayEngine(Waits, RayOptions(workers=2), folder=tmp_path)
    parts = [[PromptRequest("q3", tuple(range(10_000 * i, 10_000 * i + 40)))] for i in range(5)]
    tokens, read = [], []

    def told():
        for part in parts:
            read.append(part)
            yield part

    several = engine.sample_parts(told(), Sampling(), tokens.append)
    first = next(several)
    assert 2 <= len(read) <= 4  # the next ones are begun, though not all that there are
    drawn = [first, *several]
    assert drawn == [ScriptedEngine(ANSWERS).sample(part, Sampling()) for part in parts]
    assert sum(tokens) >= 200  # a word each
    assert list(engine.sample_parts([], Sampling())) == []


def test_a_call_that_is_given_up_leaves_workers_for_the_next_one(tmp_path, alone):
    engine = pool(tmp_path)
    several = engine.sample_parts([REQUESTS] * 20, Sampling())
    next(several)
    several.close()
    assert engine.sample(REQUESTS, Sampling()) == alone
    assert threading.active_count() < 20 and not engine._actors._starting.keys() & set(engine._actors._idle)


class Long(Slow):
    """One call of three seconds that tells of its tokens as they come."""

    def sample(self, requests, sampling, on_tokens=None):
        for _ in range(30):
            time.sleep(0.1)
            on_tokens(1)
        return self.engine.sample(requests, sampling)


def test_tokens_are_told_before_the_task_that_draws_them_is_done(tmp_path):
    engine, told = RayEngine(Long, RayOptions(workers=1), folder=tmp_path), []
    drawn = engine.sample([PromptRequest("q3", tuple(range(25)))], Sampling(), told.append)  # two tasks of 30 tokens, as they say
    assert len(told) >= 6 and 60 >= sum(told) >= sum(one.n_tokens for one in drawn[0]) == 25


class Dies(Slow):
    def sample(self, requests, sampling, on_tokens=None):
        os.kill(os.getpid(), signal.SIGKILL)


class Refuses(Slow):
    def sample(self, requests, sampling, on_tokens=None):
        raise EngineError("the prompt is chat messages")


class Fails(Slow):
    def __init__(self, folder, **_):
        raise RuntimeError("CUDA out of memory")


class Differs(Slow):
    def describe(self):
        return {"engine": "slow", "dtype": str(os.getpid())}


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Dies, "4 workers of Ray died while they drew the same rows.*--memory-gib"),
        (Refuses, "^the prompt is chat messages$"),
        (Fails, "a worker of Ray failed: .*CUDA out of memory"),
        (Differs, "do not sample alike: their engines differ in dtype"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_a_users_error(tmp_path, load, says):
    until = time.monotonic() + 60
    with pytest.raises(EngineError, match=says):
        engine = RayEngine(load, RayOptions(workers=2), folder=tmp_path)
        while time.monotonic() < until:  # a second worker takes seconds to start
            engine.sample(REQUESTS, Sampling())


def test_a_run_on_workers_is_the_run_without_them_and_resumes(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]

    def run(out, **settings):
        made = flatspot.diagnose(rows, str(tmp_path / "answers.json"), "exact_match", out=tmp_path / out, max_completions=24, **settings)
        names = ["prompt_id", "sample_idx", "completion", "reward"]
        return made, sorted(map(str, made.rollouts.select(names).to_pylist()))

    plain, expected = run("plain", engine="scripted")
    pooled, drawn = run("pooled", engine="ray", worker_engine="scripted")
    assert drawn == expected and pooled.summary.verdict == plain.summary.verdict
    assert run("pooled", engine="ray", worker_engine="scripted", workers=1)[1] == expected  # how many there are is no part of a run


DRIVER = """
import sys
import flatspot, ray
from pathlib import Path
from flatspot.engines.ray_actors import RayOptions
from flatspot.engines.ray_pool import RayEngine
from slow_engine import ANSWERS, Slow

folder, address, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
RayEngine.rows_per_call = 40
(folder / "began").mkdir(exist_ok=True)
engine = RayEngine(Slow, RayOptions(workers=workers, address=address), folder=folder / "began")
rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
made = flatspot.diagnose(rows, engine, "exact_match", out=folder / "run", max_completions=48, fixed_completions=True)
print(made.summary.generations.total)
"""
SLOW = """
import os, time
from flatspot.engines.scripted import ScriptedEngine

ANSWERS = {f"q{i}": {"yes": i / 24, "no": 1 - i / 24} for i in range(1, 24)}


class Slow:
    name, rows_per_call = "slow", 10

    def __init__(self, folder):
        self.engine, self.folder = ScriptedEngine(ANSWERS), folder

    def sample(self, requests, sampling, on_tokens=None):
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.3)
        return self.engine.sample(requests, sampling, on_tokens)

    def describe(self):
        return {"engine": "slow"}
"""


@pytest.fixture
def driven(tmp_path):
    """Starts a process that draws a run on a cluster; and what its rows are to be."""
    (tmp_path / "slow_engine.py").write_text(SLOW)
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    def start(address, workers=2):
        command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), address, str(workers)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def several(tmp_path, monkeypatch):
    """A cluster of nodes of one CPU each, as of several machines; the process that draws has none."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    made = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def rows_of(folder):
    """The files of rows by name, and what is in them but for the name of the policy, which is that of the engine."""
    return {part.file.name: read_table(part.file).drop_columns("policy").to_pydict() for part in part_files(folder)}


def expected_rows(folder):
    answers = {f"q{i}": {"yes": i / 24, "no": 1 - i / 24} for i in range(1, 24)}
    engine = ScriptedEngine(answers)
    engine.rows_per_call = 40
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in answers]
    made = flatspot.diagnose(rows, engine, "exact_match", out=folder / "expected", max_completions=48, fixed_completions=True)
    return rows_of(made.folder)


def wait_for(condition, process, timeout_s=120):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until and process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.02)


def test_a_driver_that_is_killed_resumes_to_the_same_files_with_nodes_that_come_and_go(tmp_path, driven, several):
    node = several.add_node(num_cpus=1)
    began, run = tmp_path / "began", tmp_path / "run"
    for tasks in (1, 6):  # killed while the first part is drawn, and later, in the middle of several
        before = len(list(began.iterdir())) if began.exists() else 0
        driver = driven(several.address)
        wait_for(lambda: began.exists() and len(list(began.iterdir())) >= before + tasks, driver)  # noqa: B023 - called here
        driver.kill()
        driver.communicate()
    n_before, seen = len(part_files(run)), processes(began)
    driver = driven(several.address, workers=3)
    wait_for(lambda: len(part_files(run)) >= n_before + 2, driver)
    other = several.add_node(num_cpus=1)
    wait_for(lambda: len(processes(began) - seen) >= 2, driver)  # a worker on each
    several.remove_node(node, allow_graceful=False)
    n_then = len(part_files(run))
    wait_for(lambda: len(part_files(run)) >= n_then + 2 or driver.poll() == 0, driver) if driver.poll() is None else None
    out, error = driver.communicate(timeout=180)
    assert driver.returncode == 0, error
    assert out.split()[-1] == str(23 * 48) and other is not None  # Ray says before it, on standard output, that a node is gone
    assert rows_of(run) == expected_rows(tmp_path)


def test_the_command_draws_on_the_cluster_of_its_address(tmp_path, several):
    for _ in range(2):
        several.add_node(num_cpus=1)
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": q, "reference": "yes"}) + "\n" for q in ANSWERS))
    command = [sys.executable, "-m", "flatspot.cli", "diagnose", "prompts.jsonl", "--model", "answers.json", "--reward", "exact_match"]
    command += ["--engine", "ray", "--worker-engine", "scripted", "--json", "--out", "run", "--max-completions", "24", "--ray-address"]
    done = subprocess.run([*command, several.address], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["engine"]["engine"] == "ray"
    rows = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]
    plain = flatspot.diagnose(rows, ScriptedEngine(ANSWERS), "exact_match", out=tmp_path / "plain", max_completions=24)
    names = ["prompt_id", "sample_idx", "completion", "reward"]
    assert flatspot.open(tmp_path / "run").rollouts.select(names).equals(plain.rollouts.select(names))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_no_cluster_is_is_refused_at_once(tmp_path, address, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    started = time.monotonic()
    with pytest.raises(EngineError, match=f"no Ray cluster at {address}: .*--ray-address"):
        RayEngine(Slow, RayOptions(address=address), folder=tmp_path)
    assert time.monotonic() - started < 10


REWARD = """
import os, time
from pathlib import Path

def slow(completions, folder, **_):
    time.sleep(0.004 * len(completions))
    Path(folder[0], f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return [None if c == "never" else float(c == "yes") for c in completions]
"""


def test_a_slow_reward_is_scored_on_the_workers_with_the_same_rows(tmp_path):
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "began").mkdir()

    def run(out, policy):
        (tmp_path / f"by-{out}").mkdir()
        rows = [{"prompt": prompt, "folder": str(tmp_path / f"by-{out}")} for prompt in ANSWERS]
        settings = {"max_completions": 48, "fixed_completions": True, "reward_range": (0.0, 1.0)}
        made = flatspot.diagnose(rows, policy, f"{tmp_path / 'reward.py'}:slow", out=tmp_path / out, **settings)
        names = ["prompt_id", "sample_idx", "completion", "reward", "error"]
        return made, sorted(map(str, made.rollouts.select(names).to_pylist()))

    plain, expected = run("plain", ScriptedEngine(ANSWERS))
    pooled, drawn = run("pooled", pool(tmp_path / "began"))
    assert [row.replace("pooled", "plain") for row in drawn] == expected
    assert len(processes(tmp_path / "by-plain")) == 1 and len(processes(tmp_path / "by-pooled")) == 3  # its guard, and one a worker
    assert pooled.summary.verdict == plain.summary.verdict and list(pooled.summary.caveats) == list(plain.summary.caveats)


def test_scoring_that_dies_with_its_worker_is_done_again(tmp_path):
    engine, calls = pool(tmp_path), [(i, str(tmp_path)) for i in range(40)]
    assert engine.spread(_sometimes_dies, calls) == [2 * i for i in range(40)]
    assert len([file for file in tmp_path.iterdir() if file.name.startswith("died")]) == 3
    with pytest.raises(EngineError, match="4 workers of Ray died while they scored the same rows"):
        engine.spread(_dies, [(1,)])
    with pytest.raises(EngineError, match="cannot be sent it"):
        engine.spread(_sometimes_dies, [(threading.Lock(), "")])


def _sometimes_dies():
    def double(i, folder):
        file = Path(folder, f"died-{i}")
        if i in (3, 11, 30) and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * i

    return double


def _dies():
    return lambda _: os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_no_node_can_hold_is_refused_and_does_not_wait(tmp_path):
    with pytest.raises(EngineError, match=r"no node of the cluster has a CPU and the 2 GPUs.*--tensor-parallel"):
        RayEngine(Slow, RayOptions(), gpus=2, folder=tmp_path)


def test_a_worker_takes_no_more_cpus_than_a_node_has():
    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    dead, of_cpus = {"Alive": False, "Resources": {"CPU": 64.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}

    class Cluster:
        def nodes(self):
            return [node, dead, of_cpus]

    assert whole_cpus(Cluster(), 1, 0) == 2  # two nodes of six CPUs in all, one worker
    assert whole_cpus(Cluster(), 1, 1) == 4
    assert whole_cpus(Cluster(), 3, 0) == 2 and whole_cpus(Cluster(), 8, 0) == 1


def test_what_workers_sample_with_is_part_of_a_run_and_named_by_the_command_that_resumes_it(tmp_path):
    settings = Settings(engine="ray", worker_engine="scripted", workers=3)
    with load_reward("exact_match") as reward:
        keys = [run_key([], "m", reward, one) for one in (settings, replace(settings, workers=1), replace(settings, worker_engine="hf"))]
    assert keys[0] == keys[1] != keys[2]
    words = " ".join(resume_options(settings))
    assert "--engine ray --worker-engine scripted --workers 3" in words


def test_tasks_hold_every_row_once():
    tasks = tasks_of(REQUESTS, 20)
    assert [sum(at.stop - at.start for _, at in task) for task in tasks[:-1]] == [20] * (len(tasks) - 1)
    rows = [(i, n) for task in tasks for i, at in task for n in range(at.start, at.stop)]
    assert rows == [(i, n) for i, request in enumerate(REQUESTS) for n in range(len(request.seeds))]


def test_settings_of_workers_are_for_ray(tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    assert Settings(engine="ray", worker_engine="vllm", tensor_parallel=2).workers == 2
    for settings, says in (
        ({"workers": 4}, "are for --engine ray"),
        ({"engine": "ray", "worker_engine": "openai"}, "servers need no workers"),
        ({"engine": "ray", "tensor_parallel": 2}, "--tensor-parallel is for --engine vllm"),
    ):
        with pytest.raises(SettingsError, match=says):
            Settings(**settings)
    with pytest.raises(EngineError, match=r"from its files.*--engine hf"):
        load_engine("ray", (object(), object()))

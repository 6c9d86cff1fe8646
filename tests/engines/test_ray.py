"""The ray engine: rows equal to those of its workers' engine alone, whatever the number of workers and however many of them die."""

from __future__ import annotations

import json
import os
import signal
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
from flatspot.engines.ray_pool import RayEngine, RayOptions, tasks_of
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import load_reward
from flatspot.rollouts.identity import run_key

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


def test_workers_that_are_killed_are_replaced_and_no_row_is_lost_or_there_twice(tmp_path, alone):
    engine, killed = pool(tmp_path), set()

    def kill():
        """Whoever began a third task, four times."""
        while len(killed) < 4:
            began = Counter(int(file.name.split("-")[0]) for file in tmp_path.iterdir())
            for pid in [pid for pid, n in began.items() if n >= 3 and pid not in killed]:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    drawn = [engine.sample(REQUESTS, Sampling()) for _ in range(3)]
    while thread.is_alive():
        drawn.append(engine.sample(REQUESTS, Sampling()))
    assert len(killed) >= 4 and all(rows == alone for rows in drawn)


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


def test_a_worker_that_no_node_can_hold_is_refused_and_does_not_wait(tmp_path):
    with pytest.raises(EngineError, match=r"no node of the cluster has a CPU and the 2 GPUs.*--tensor-parallel"):
        RayEngine(Slow, RayOptions(), gpus=2, folder=tmp_path)


def test_a_worker_takes_no_more_cpus_than_a_node_has(tmp_path, monkeypatch):
    engine, asked = pool(tmp_path, 1), []
    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    dead, of_cpus = {"Alive": False, "Resources": {"CPU": 64.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}
    monkeypatch.setattr(engine._ray, "nodes", lambda: [node, dead, of_cpus])

    class Remote:
        def options(self, **options):
            asked.append(options)
            return self

        def remote(self):
            return self

    monkeypatch.setattr(engine._ray, "remote", lambda _: Remote())
    engine._new_worker()  # two nodes of six CPUs in all, one worker
    engine._gpus = 1
    engine._new_worker()
    assert [one["num_cpus"] for one in asked] == [2, 4] and asked[1]["num_gpus"] == 1


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

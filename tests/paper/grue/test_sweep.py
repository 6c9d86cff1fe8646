"""Sweeps: the points that a file names, what each changes, the table, and a run that is stopped and goes on."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot_paper.grue.sweep import Point, plan_of, read_sweep, rows_of, settings_of, sweep_of, table_text


def point(arm, **changes):
    return Point(arm, tuple(changes.items()))


def test_a_grid_is_the_product_of_its_lists():
    sweep = sweep_of({
        "task": "totto",
        "seeds": [0, 3],
        "reference": {"arm": "sft+rft"},
        "grids": [{"arm": "rft", "learning_rate": [1e-3, 1e-2], "temperature": [1, 2]}, {"arm": "rft", "temperature": 1}, {"arm": "sft"}],
    })  # fmt: skip
    grid = [point("rft", learning_rate=rate, temperature=warmth) for rate in (1e-3, 1e-2) for warmth in (1, 2)]
    assert list(sweep.points) == [*grid, point("rft", temperature=1), point("sft")]
    assert sweep.jobs() == [(one, seed) for one in (point("sft+rft"), *sweep.points) for seed in (0, 3)]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"task": "totto"}, "expected the keys task and grids"),
        ({"task": "toto", "grids": [{"arm": "rft"}]}, "Did you mean totto"),
        ({"task": "totto", "grids": [{"arm": "rl"}]}, "a grid names an arm, rft, sft, sft\\+rft"),
        ({"task": "totto", "grids": [{"arm": "rft", "rate": 1}]}, "no setting 'rate'; its settings are learning_rate"),
        ({"task": "totto", "grids": [{"arm": "rft", "labels": 0.5}]}, "the arm rft has no SFT of a given length, so no labels"),
        ({"task": "totto", "grids": [{"arm": "sft", "labels": [0.5, 1.5]}]}, "labels is a share above 0, at most 1, got 1.5"),
        ({"task": "totto", "grids": [{"arm": "rft", "learning_rate": "3e-4"}]}, "in YAML 3e-4 is text"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "seed": 0}, "there is no key 'seed'"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "seeds": []}, "seeds is a list of whole numbers"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "inputs": 0}, "inputs is a whole number"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "reference": {"arm": "sft", "labels": [0.5, 1]}}, "the reference is one point"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "algorithm": "nlpo"}, "algorithm ppo or grpo"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "inputs": True}, "inputs is a whole number, 1 or more, got True"),
        ({"task": "totto", "grids": [{"arm": "rft"}], "model": ["a"]}, "model is the name or folder of a policy, got \\['a'\\]"),
        ({"task": "totto", "grids": [{"arm": "rft", "temperature": []}]}, "temperature is an empty list"),
        ({"task": "totto", "grids": [{"arm": "rft", "rl_steps": 2.5}]}, "rl_steps is a whole number, 1 or more, got 2.5"),
        ({"task": "totto", "grids": [{"arm": "rft", "rl_steps": float("inf")}]}, "rl_steps is a whole number"),
        ({"task": "totto", "grids": [{"arm": "rft", "learning_rate": float("inf")}]}, "learning_rate is a number above 0, got inf"),
    ],
)
def test_a_wrong_file_is_told_by_its_key(keys, told, tmp_path):
    yaml = pytest.importorskip("yaml")
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(keys))
    with pytest.raises(SettingsError, match=told) as caught:
        read_sweep(file)
    assert str(file) in str(caught.value)


def test_what_a_point_changes():
    sweep = sweep_of({"task": "commongen", "inputs": 40, "sft_steps": 50, "grids": [{"arm": "rft"}]})
    plan = plan_of(sweep)
    usual = settings_of(point("rft"), sweep, plan, 5)
    changed = point("rft", learning_rate=0.1, temperature=2.0, entropy_coef=0.5, rl_steps=7)
    own, how, labels = settings_of(changed, sweep, plan, 5)
    assert (usual[0], usual[2], labels) == (plan, None, None)
    assert (how.rl.learning_rate, how.rl.sampling.temperature, how.rl.entropy_coef, how.rl.steps, how.rl.seed) == (0.1, 2.0, 0.5, 7, 5)
    assert how.sft == usual[1].sft and own.sampling.temperature == 2.0  # SFT has its own rate
    _, how, labels = settings_of(point("sft+rft", labels=0.05, sft_steps=0.4), sweep, plan, 5)
    assert how.sft["max_steps"] == 20 and how.rl == usual[1].rl
    assert labels == sorted(np.random.RandomState(5).permutation(40)[:2].tolist())
    assert settings_of(point("sft", labels=0.01), sweep, plan, 5)[2] == [np.random.RandomState(5).permutation(40)[0]]  # one at least
    paper = sweep_of({"task": "commongen", "scale": "paper", "grids": [{"arm": "sft", "sft_steps": 0.4}]})
    with pytest.raises(SettingsError, match="give their number"):
        settings_of(paper.points[0], paper, plan_of(paper), 0)


def test_the_table_divides_by_the_reference_of_the_same_seed():
    sweep = sweep_of({"task": "totto", "seeds": [0, 1], "reference": {"arm": "sft"}, "grids": [{"arm": "rft"}, {"arm": "sft+rft"}]})

    def made(value):
        estimate = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return {"numbers": {"mean": estimate, "percentiles": {"p10": estimate}}, "seconds": 1.0}

    numbers = {(point("sft"), 0): made(0.5), (point("sft"), 1): made(0.8), (point("rft"), 0): made(0.2), (point("rft"), 1): made(0.4)}
    rows = rows_of(sweep, numbers)
    assert [(row["point"], row["seed"], row["ratio"]) for row in rows] == [
        ("sft", 0, 1.0), ("sft", 1, 1.0), ("rft", 0, pytest.approx(0.4)), ("rft", 1, pytest.approx(0.5)),
    ]  # fmt: skip
    text = table_text(rows)
    assert "45% (40%–50%, 2 seeds)" in text and "0.300 (0.200–0.400, 2 seeds)" in text and "sft+rft" not in text
    assert "0.200 (0.100–0.300)" in table_text(rows[2:3])


@pytest.mark.parametrize("name", ["table2", "figure4"])
def test_the_sweeps_of_the_paper_can_be_read(name, request):
    pytest.importorskip("yaml")
    sweep = read_sweep(request.config.rootpath / "experiments" / "grue" / f"{name}.yaml")
    plan = plan_of(sweep)
    for one, seed in sweep.jobs():
        settings_of(one, sweep, plan, seed)
    assert sweep.reference is not None and len(sweep.points) > 8


def test_points_that_differ_have_folders_that_differ_and_a_seed_is_made_once():
    rates = [0.12345678, 0.12345679]
    sweep = sweep_of({"task": "totto", "seeds": [3, 3, 0], "grids": [{"arm": "rft", "learning_rate": rates}]})
    assert [one.name for one in sweep.points] == [f"rft,learning_rate={rate}" for rate in rates]
    assert sweep.seeds == (3, 0)


ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6}
NUMBERS = {"mean": ESTIMATE, "percentiles": {"p10": ESTIMATE}}
KEYS = {"task": "totto", "model": "m", "inputs": 4, "sft_steps": 2, "grids": [{"arm": "sft+rft", "labels": 0.5}]}


@pytest.fixture
def trained(monkeypatch):
    """The arms that were trained; training and measuring are left out, and `fails` says at which a measurement is cut off."""
    from flatspot_paper.grue import arms, sweep_run

    made, fails = [], set()

    def train(arm, folder):
        folder.mkdir(parents=True, exist_ok=True)
        made.append(arm)
        return [0.25]

    def measure(plan, *_):
        if made[-1] in fails:
            raise KeyboardInterrupt
        return NUMBERS

    monkeypatch.setattr(arms, "train_on_labels", lambda *given: train("sft", given[3]))
    monkeypatch.setattr(arms, "warm_up", lambda *given: train("warmup", given[3]))
    monkeypatch.setattr(arms, "_rl", lambda arm, *given: train(arm, given[3]))
    monkeypatch.setattr(arms, "measure", measure)
    monkeypatch.setattr(sweep_run, "measure", lambda plan, prompts, run, *_: made.append(run.name))
    monkeypatch.setattr(sweep_run, "load_pool", lambda *_: None)
    monkeypatch.setattr(sweep_run, "prompts_of", lambda *_: [])
    monkeypatch.setattr(sweep_run, "tokenizer_cut", lambda _: None)
    monkeypatch.setattr(arms, "_policy_of", lambda folder: nullcontext(str(folder)))
    return SimpleNamespace(made=made, fails=fails)


def swept(out, **changes):
    from flatspot_paper.grue.sweep_run import run_sweep

    sweep = sweep_of(KEYS | changes)
    return run_sweep(sweep, plan_of(sweep), out)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sft_steps": 3}, "another after"),
        ({"rl_steps": 7}, "another rl"),
        ({"model": "n"}, "another .*model"),
        ({"algorithm": "grpo"}, "another rl"),
    ],
)
def test_points_of_other_settings_are_refused_before_anything_is_made(changes, told, trained, tmp_path):
    first = swept(tmp_path)
    assert trained.made == ["sft", "sft+rft-ppo"] and swept(tmp_path)["rows"] == first["rows"] and len(trained.made) == 2
    more = [{"arm": "rft"}, *KEYS["grids"]]
    with pytest.raises(RunFolderError, match=f"sft\\+rft,labels=0.5.seed-0.rl holds this arm with {told}"):
        swept(tmp_path, grids=more, **changes)
    assert len(trained.made) == 2 and len(swept(tmp_path, grids=more)["rows"]) == 2


def test_a_warm_up_is_planned_from_the_pretrained_policy_before_rl(trained, tmp_path):
    results = swept(tmp_path, grids=[{"arm": "warmup+rft"}])
    assert trained.made == ["pretrained", "warmup", "warmup+rft-ppo"]
    assert [row["arm"] for row in results["rows"]] == ["warmup+rft"]
    with pytest.raises(SettingsError, match="has no SFT of a given length, so no labels"):
        sweep_of(KEYS | {"grids": [{"arm": "warmup+rft", "labels": 0.5}]})


def test_an_arm_of_an_older_version_does_not_name_its_sft_and_is_taken(trained, tmp_path):
    first = swept(tmp_path)
    [file] = tmp_path.rglob("rl/arm.json")
    result = json.loads(file.read_text())
    del result["settings"]["after"]
    file.write_text(json.dumps(result))
    assert swept(tmp_path)["rows"] == first["rows"] and len(trained.made) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"settings": {}}', '{"arm": "sft"', "\u0000"])
@pytest.mark.parametrize("name", ["arm.json", "trained.json"])
def test_a_damaged_result_is_named(name, text, trained, tmp_path):
    swept(tmp_path)
    [folder] = tmp_path.rglob("rl")
    (folder / "arm.json").unlink(missing_ok=name == "arm.json")
    (folder / name).write_text(text)
    with pytest.raises(RunFolderError, match=f"{name} is damaged .*Remove it"):
        swept(tmp_path)


def test_what_was_trained_with_other_settings_is_not_measured_as_these(trained, tmp_path):
    trained.fails.add("sft+rft-ppo")
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, rl_steps=3)
    trained.fails.clear()
    with pytest.raises(RunFolderError, match="holds this arm trained with another rl"):
        swept(tmp_path, rl_steps=4)
    assert len(swept(tmp_path, rl_steps=3)["rows"]) == 1 and trained.made == ["sft", "sft+rft-ppo"]


def test_a_dry_run_writes_nothing(trained, tmp_path):
    from flatspot_paper.cli.sweep import sweep_command

    yaml = pytest.importorskip("yaml")
    swept(tmp_path / "out")
    (tmp_path / "out" / "sweep.json").unlink()
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(KEYS))
    words = [str(file), "--out", str(tmp_path / "out"), "--dry-run"]
    shown = CliRunner().invoke(sweep_command, words, catch_exceptions=False).stdout
    assert "1 in all, 0 to make" in shown and not (tmp_path / "out" / "sweep.json").exists()


def test_a_worker_that_dies_fails_its_own_point(trained, tmp_path, monkeypatch):
    from flatspot.engines import ray_actors
    from flatspot_paper.grue import sweep_run

    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        pass

    class Died(RayError):
        pass

    def get(future):
        point, *_ = call = calls[future]
        if point.arm == "rft":
            raise Died("The node was low on memory")
        return sweep_run.make(*call)

    def remote(*call):
        calls.append(call)
        return len(calls) - 1

    calls, task = [], SimpleNamespace(remote=remote)
    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    ray = SimpleNamespace(
        remote=lambda **_: lambda _: task, wait=lambda waiting, **_: (waiting[:1], waiting[1:]), get=get, exceptions=exceptions
    )
    monkeypatch.setattr(ray_actors, "started", lambda _: ray)
    said, keys = [], sweep_of(KEYS | {"grids": [{"arm": "rft"}, *KEYS["grids"]]})
    with pytest.raises(EngineError, match="low on memory"):
        sweep_run.run_sweep(keys, plan_of(keys), tmp_path, workers=2, say=said.append)
    assert "rft, seed 0 failed: its worker of Ray died" in said[0]
    assert [row["point"] for row in json.loads((tmp_path / "sweep.json").read_text())["rows"]] == ["sft+rft,labels=0.5"]


@pytest.fixture
def workers(request):
    """So many; a cluster of this machine ends with the test."""
    yield request.param
    if request.param > 1:
        import ray

        ray.shutdown()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # peft and TRL use it
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.filterwarnings("ignore"))], indirect=True)  # Ray's own warnings
def test_a_sweep_makes_what_is_missing(workers, data, tmp_path):
    for package in ("torch", "transformers", "trl", "peft", "rouge_score", "yaml", *(["ray"] if workers > 1 else [])):
        pytest.importorskip(package)
    from tests.paper.grue.conftest import write_rows
    from tests.paper.grue.test_run import saved

    from flatspot_paper.cli.sweep import sweep_command

    rows = [{"question": "w1", "passage": f"w{i}", "answers": ["w2 w3"]} for i in range(8)]
    write_rows(data / "narrativeqa/train.jsonl.gz", rows)
    model, file, out = saved("gpt2", tmp_path / "model"), tmp_path / "tiny.yaml", tmp_path / "out"
    lines = ["task: narrativeqa", "scale: paper", f"model: {model}", "inputs: 3", "completions: 3", "rl_steps: 1", "sft_steps: 2"]
    head, grids = [*lines, "reference: {arm: sft, labels: 1}", "grids:"], ["  - {arm: sft, labels: [0.4, 1]}"]
    words = [str(file), "--out", str(out), "--workers", str(workers)]
    file.write_text("\n".join([*head, *grids]))
    shown = CliRunner().invoke(sweep_command, [*words, "--dry-run"], catch_exceptions=False).stdout
    assert "2 in all, 2 to make" in shown and not out.exists()
    first = json.loads(CliRunner().invoke(sweep_command, [*words, "--json"], catch_exceptions=False).stdout)
    assert [(row["point"], row["ratio"]) for row in first["rows"]][:1] == [("sft,labels=1", 1.0)]
    assert [row["changes"] for row in first["rows"]] == [{"labels": 1}, {"labels": 0.4}]
    labels = json.loads((out / "points/sft,labels=0.4/seed-0/sft/arm.json").read_text())["settings"]["labels"]
    assert labels == [int(np.random.RandomState(0).permutation(3)[0])]
    stamps = {one: one.stat().st_mtime_ns for one in out.rglob("arm.json")}
    file.write_text("\n".join([*head, *grids, "  - {arm: sft, sft_steps: 0.5}"]))
    assert "3 in all, 1 to make" in CliRunner().invoke(sweep_command, [*words, "--dry-run"], catch_exceptions=False).stdout
    text = CliRunner().invoke(sweep_command, words, catch_exceptions=False).stdout
    assert "sft,sft_steps=0.5" in text and {one: one.stat().st_mtime_ns for one in stamps} == stamps
    assert json.loads((out / "sweep.json").read_text())["rows"][:2] == first["rows"]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # peft and TRL use it
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize(("name", "points"), [("table2", 4), ("figure4", 1)])
def test_the_sweeps_of_the_paper_run_on_a_tiny_model(name, points, data, tmp_path, request):
    """The last point of each grid, and the reference, at small scale: RL's steps and rates, SFT's labels and steps.

    Not of the warm-up's: three completions of four inputs call none vanishing.
    """
    for package in ("torch", "transformers", "trl", "peft", "rouge_score", "yaml"):
        pytest.importorskip(package)
    import yaml
    from tests.paper.grue.conftest import write_rows
    from tests.paper.grue.test_engine import tiny

    from flatspot_paper.grue.sweep_run import run_sweep

    rows = [{"question": "w1", "passage": f"w{i}", "answers": ["w2 w3"]} for i in range(8)]
    write_rows(data / "narrativeqa/train.jsonl.gz", rows)
    model, tokenizer = tiny("gpt2")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    keys = yaml.safe_load((request.config.rootpath / "experiments" / "grue" / f"{name}.yaml").read_text("utf-8"))
    grids = [grid for grid in keys["grids"] if grid["arm"] != "warmup+rft"]
    last = [{key: value[-1] if isinstance(value, list) else value for key, value in grid.items()} for grid in grids]
    keys |= {"grids": last, "seeds": [0], "model": str(tmp_path / "model"), "inputs": 4, "completions": 3, "rl_steps": 1, "sft_steps": 2}
    sweep = sweep_of(keys)
    results = run_sweep(sweep, plan_of(sweep, data, engine="hf"), tmp_path / "out", data=data)
    names = [row["point"] for row in results["rows"]]
    assert names == list(dict.fromkeys([sweep.reference.name, *(one.name for one in sweep.points)]))
    assert len(sweep.points) == points and results["rows"][0]["ratio"] == 1.0
    for row in results["rows"]:
        assert 0 <= row["reward"]["low"] <= row["reward"]["value"] <= row["reward"]["high"] <= 1
        place = tmp_path / "out" / "points" / row["point"] / "seed-0" / "rl" / "arm.json"
        rl = json.loads(place.read_text())["settings"]["rl"]
        warmth = rl["sampling"]["temperature"]
        told = {"learning_rate": rl["learning_rate"], "temperature": warmth, "entropy_coef": rl["entropy_coef"]}
        assert {key: value for key, value in row["changes"].items() if key in told}.items() <= told.items()

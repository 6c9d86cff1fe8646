import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ANSWERS = {"easy": {"1": 1.0}, "half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}}
SCRIPTED = ["--engine", "scripted", "--model", "answers.json", "--reward", "exact_match"]
DIAGNOSE = ["diagnose", "prompts.jsonl"]
CONTRACT = {
    "schema_version", "verdict", "reason", "n_prompts", "counts", "fractions", "reward", "generations", "predicted_error", "forecast",
    "caveats", "sampling", "provenance",
}  # fmt: skip


def flatspot(*words, cwd=None):
    command = Path(sys.executable).parent / "flatspot"
    return subprocess.run([command, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120)


def with_inputs(path):
    (path / "answers.json").write_text(json.dumps(ANSWERS))
    (path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p, "reference": "1"}) + "\n" for p in ANSWERS))
    return path


@pytest.fixture
def folder(tmp_path):
    return with_inputs(tmp_path)


@pytest.fixture(scope="module")
def with_run(tmp_path_factory):
    """A folder that holds the run `run`, to be read."""
    path = with_inputs(tmp_path_factory.mktemp("judged"))
    assert diagnose(path, "--out", "run").returncode == 0
    return path


def diagnose(folder, *words):
    return flatspot(*DIAGNOSE, *SCRIPTED, *words, cwd=folder)


def test_json_is_one_object_whatever_is_printed_meanwhile_and_shows_no_progress(folder, monkeypatch):
    from click.testing import CliRunner

    from flatspot.cli.main import cli
    from flatspot.engines.scripted import ScriptedEngine

    sample = ScriptedEngine.sample

    def noisy(self, *arguments):
        print("(raylet) a node is gone")
        return sample(self, *arguments)

    monkeypatch.setattr(ScriptedEngine, "sample", noisy)
    monkeypatch.setattr("flatspot.cli.progress._LINE_EVERY_S", 0.0)
    monkeypatch.setattr("flatspot.rollouts.progress._EVERY_S", 0.0)
    monkeypatch.chdir(folder)
    for words in (["--json"], []):
        done = CliRunner().invoke(cli, [*DIAGNOSE, *SCRIPTED, "--out", f"run{len(words)}", *words])
        assert "a node is gone" not in done.stdout and "a node is gone" in done.stderr
        assert ("completions" in done.stderr) == (not words)
        if words:
            json.loads(done.stdout)


def test_json_is_one_object_with_the_contracts_keys(folder):
    done = diagnose(folder, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= CONTRACT
    assert found["verdict"] in ("proceed", "warm-up", "fix-reward", "fix-data")
    assert found["counts"] == {"learnable": 1, "vanishing": 1, "solved": 1, "undecided": 0, "unscored": 0}
    assert set(found["fractions"]) == set(found["counts"])
    assert all(set(f) == {"mean", "lo", "hi"} and f["lo"] < f["hi"] for f in found["fractions"].values())
    assert set(found["forecast"]) == {"4", "8", "16", "32"}
    assert set(found["reward"]["std"]) >= {"p10", "p50", "mean", "share_below_0.05"}
    assert found["sampling"] == {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 256}


def test_the_terminal_report_names_verdict_and_html(folder):
    done = diagnose(folder, "--out", "run")
    assert "vanishing" in done.stdout
    assert str(Path("run") / "report.html") in done.stdout
    assert (folder / "run" / "report.html").read_text().startswith("<!")


def test_exit_code_3_above_the_limit(folder):
    assert diagnose(folder, "--fail-above", "0.2").returncode == 3
    assert diagnose(folder, "--fail-above", "0.9").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diagnose", "absent.jsonl", *SCRIPTED], "absent.jsonl"),
        ([*DIAGNOSE, "--engine", "scripted", "--model", "absent.json", "--reward", "exact_match"], "absent.json"),
        ([*DIAGNOSE, "--engine", "scripted", "--model", "answers.json", "--reward", "exact_macth"], "exact_match"),
        ([*DIAGNOSE, "--engine", "scripted", "--model", "answers.json", "--reward", "mine.py:f"], "mine.py"),
        ([*DIAGNOSE, *SCRIPTED, "--temperature", "0"], "temperature"),
        ([*DIAGNOSE, *SCRIPTED, "--group-size", "1"], "group-size"),
        ([*DIAGNOSE, "--engine", "sglang", "--model", "m", "--reward", "exact_match"], "not one of auto, hf, openvino, vllm, openai, ray"),
        ([*DIAGNOSE, *SCRIPTED, "--fail-above", "nan"], "fail-above"),
        (["inspect", "absent.parquet"], "absent.parquet"),
        (["inspect", "prompts.jsonl"], "--reward-col"),
        (["export", "."  , "--to", "x.jsonl"], "not a run folder"),
        (["diagnoze"], "diagnoze"),
        (["diagnose"], "PROMPTS"),
    ],
)  # fmt: skip
def test_the_users_mistakes_exit_with_2_and_no_traceback(folder, words, message):
    done = flatspot(*words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_our_failures_exit_with_1_and_keep_their_traceback(folder):
    script = """
import sys
import flatspot.cli.main, flatspot.flow.diagnose
def boom(*_, **__):
    raise RuntimeError("ours")
flatspot.flow.diagnose.diagnose = boom
sys.argv = ["flatspot", "diagnose", "p", "--model", "m", "--reward", "r"]
flatspot.cli.main.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "RuntimeError: ours" in done.stderr


def test_ctrl_c_while_duckdb_reads_is_no_failure_of_ours():
    script = """
import sys
import flatspot.cli.main, flatspot.flow.inspect
def stopped(*_, **__):
    raise RuntimeError("Query interrupted")  # what duckdb raises then
flatspot.flow.inspect.inspect = stopped
sys.argv = ["flatspot", "inspect", "log.csv"]
flatspot.cli.main.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert "Stopped" in done.stderr and "Traceback" not in done.stderr


def test_inspect_reads_a_log(folder):
    (folder / "log.csv").write_text("prompt_id,reward\n" + "a,0\n" * 64 + "b,1\nb,0\n" * 32)
    done = flatspot("inspect", "log.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"learnable": 1, "vanishing": 1, "solved": 0, "undecided": 0, "unscored": 0}


def test_the_generic_format_refuses_a_run_folder(folder):
    (folder / "ours").mkdir()
    (folder / "ours" / "run.json").write_text('{"identity": {}}')
    done = flatspot("inspect", "ours", "--format", "generic", cwd=folder)
    assert done.returncode == 2
    assert "leave --format out" in done.stderr


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_export_writes_the_prompts_of_a_verdict(with_run, ending):
    done = flatspot("export", "run", "--verdict", "vanishing", "--to", f"out.{ending}", cwd=with_run)
    assert done.returncode == 0, done.stderr
    from flatspot.tasks import load_prompts

    prompts = load_prompts(with_run / f"out.{ending}")
    assert [p.text for p in prompts] == ["never"]
    assert prompts[0].references == ("1",)
    assert prompts[0].columns["flatspot_verdict"] == "vanishing"


def test_a_latin_1_terminal_gets_escapes(with_run):
    command = Path(sys.executable).parent / "flatspot"
    for words in (["plan", "run"], ["diagnose", "--help"], ["export", "run", "--to", "….jsonl"]):
        environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
        done = subprocess.run([command, *words], capture_output=True, cwd=with_run, env=environment, timeout=120)
        assert b"Traceback" not in done.stderr and done.returncode == 0, done.stderr
        assert "\\u" in (done.stdout + done.stderr).decode("ascii", "replace"), words


@pytest.mark.parametrize("damage", ["no label\n", None])
def test_a_plan_that_cannot_be_written_is_printed(with_run, tmp_path, damage):
    copy = shutil.copytree(with_run / "run", tmp_path / "run")
    file = copy / "labels.jsonl"
    file.unlink(missing_ok=True)
    file.mkdir() if damage is None else file.write_text(damage)
    done = flatspot("plan", copy)
    assert done.returncode == 2 and "Forecast from 3 prompts" in done.stdout and "Labels" in done.stdout
    assert "Fill" not in done.stdout and "labels.jsonl" in done.stderr and "Traceback" not in done.stderr
    done = flatspot("plan", copy, "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["n_prompts"] == 3


def test_every_verb_has_a_help_page(folder):
    assert flatspot("--version").stdout.startswith("flatspot 0.")
    top = flatspot("--help").stdout
    for verb in ("demo", "diagnose", "inspect", "export"):
        assert verb in top
        assert flatspot(verb, "--help").returncode == 0


def test_notes_of_an_engine_are_logged_for_a_notebook_and_printed_once_by_a_verb(tmp_path):
    """An engine that has something to say, through `flatspot.diagnose` with nothing set up, and through the command line."""
    script = """
import sys
import flatspot
from flatspot.engines import registry
from flatspot.engines.scripted import ScriptedEngine

def noted(model):
    engine = ScriptedEngine({"a": {"1": 1.0}})
    engine.notes = ["it runs on one leg"]
    return engine

registry._scripted = noted
if sys.argv[1] == "python":
    flatspot.diagnose([{"prompt": "a", "reference": "1"}], "answers.json", "exact_match", engine="scripted", max_samples=2, out="p")
else:
    from flatspot.cli.main import main
    open("prompts.jsonl", "w").write('{"prompt": "a", "reference": "1"}')
    sys.argv = "flatspot diagnose prompts.jsonl --engine scripted --model answers.json --reward exact_match --out c".split()
    main()
"""
    for way in ("python", "cli"):
        done = subprocess.run([sys.executable, "-c", script, way], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and done.stderr.count("it runs on one leg") == 1, (way, done.stderr)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("demo", "--seed", 1), "--seed is for the demo with --train"),
        ((*DIAGNOSE, *SCRIPTED, "--gradient-completions", 8), "--gradient-completions is for --gradients"),
        (("warmup", "run", "--labels", "l.jsonl", "--out", "w", "--no-stop", "--patience", 3), "--patience is for probes"),
        (("inspect", "run", "--reward-weight", 2), "--reward-list, --steps, --last and --split do not apply"),
        (("inspect", "run", "--reward-list", "tokens"), "--reward-list, --steps, --last and --split do not apply"),
    ],
)
def test_options_that_nothing_would_read_are_refused(with_run, words, says):
    done = flatspot(*words, cwd=with_run)
    assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr

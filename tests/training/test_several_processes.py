"""Trainings on two processes, launched by accelerate: one voice, all rows, and no process that waits for one that failed."""

import collections
import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from two_processes import CPU, PROBES, TRAIN, alive, launch, prepare, rows_by_part, train, trained, warmup, whole

from flatspot.tasks.letters import letters_model

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]
DIES_IN_STEP_12 = """
import os, signal

def scores(completions, trainer_state, **columns):
    if os.environ["RANK"] == "{rank}" and trainer_state.global_step == 12:
        os.kill(os.getppid(), signal.SIGKILL)
    return [float(len(text)) for text in completions]
"""
# what one machine of several may lack, the second process does
IN_ANOTHER_FOLDER = """
import os

if os.environ["RANK"] == "1":
    os.chdir("elsewhere")
from flatspot.cli.main import main

main()
"""
ABORTS_AT_EXIT = """
import atexit, os

if os.environ["RANK"] == "1":
    atexit.register(os.abort)
from flatspot.cli.main import main

main()
"""
OWN_SCRIPT = """
import os, sys
import flatspot
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

def scores(completions, trainer_state, **columns):
    if os.environ["RANK"] == "1" and trainer_state.global_step == 2:
        raise KeyError("gold")
    return [float(len(text)) for text in completions]

watched = flatspot.watch(scores, out=sys.argv[2])
settings = GRPOConfig(output_dir=sys.argv[2] + "-trainer", use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=4,
                      per_device_train_batch_size=8, num_generations=4, max_completion_length=13, save_strategy="no", disable_tqdm=True)
data = Dataset.from_list([{"prompt": f"copy:{text}="} for text in ("ab", "cd", "ef", "gh")])
GRPOTrainer(model=sys.argv[1], reward_funcs=watched, args=settings, train_dataset=data,
            callbacks=[flatspot.FlatspotCallback(watched)]).train()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("several"))
    (folder / "elsewhere").mkdir()
    (folder / "one_folder.py").write_text(IN_ANOTHER_FOLDER)
    (folder / "aborts.py").write_text(ABORTS_AT_EXIT)
    (folder / "own.py").write_text(OWN_SCRIPT)
    return folder


SAVES = ("--save_strategy", "steps", "--save_steps", "2")


@pytest.fixture(scope="module")
def ddp(place):
    return train(place, "ddp", *SAVES)


def test_a_training_has_one_voice_and_the_rows_of_both(place, ddp):
    code, out, err, _ = ddp
    assert code == 0, err[-3000:]
    assert (out.count("mean reward std"), err.count("flatspot: summary")) == (1, 1)
    assert {name.split("-")[1] for name in rows_by_part(place / "ddp")} == {"000", "001"}
    assert collections.Counter(row["step"] for row in whole(place / "ddp")) == {0: 16, 1: 16, 2: 16}


def test_a_folder_that_only_the_first_process_looks_at_ends_both(place, ddp):
    code, _, err, seconds = train(place, "ddp", *SAVES)
    assert code == 1 and err.count("error:") == 1 and "ddp already contains the completions of a training" in err
    assert seconds < 120 and "Traceback" not in err and not alive(place)


def test_a_training_resumes_in_both(place, ddp):
    code, _, err, _ = train(place, "ddp", *SAVES, "--max_steps", "4", "--resume_from_checkpoint", "ddp/trainer/checkpoint-2")
    assert code == 0, err[-3000:]
    assert collections.Counter(row["step"] for row in whole(place / "ddp")) == {0: 16, 1: 16, 2: 16, 3: 16}
    assert err.count("were moved to ddp/set-aside") == 1


def test_a_warm_up_is_printed_once(place):
    code, out, err, _ = warmup(place, "probed", *PROBES, "--json")
    assert code == 0, err[-3000:]
    said = json.loads(out)  # one object
    assert [row["step"] for row in said["curve"]] == [0, 2, 4] and err.count("   going-on") == 2
    assert (place / "probed" / "policy" / "config.json").is_file()


def test_plain_finetuning_is_printed_once(place):
    code, out, err, _ = warmup(place, "plain", "--no-stop", "--json")
    assert code == 0, err[-3000:]
    assert json.loads(out)["policy"] == "plain/policy" and trained(place / "plain" / "policy")


def test_a_file_that_one_process_cannot_read_ends_both(place):
    code, _, err, seconds = train(place, place / "never", script=("one_folder.py",))
    assert code == 1 and seconds < 120
    assert err.count("error:") == 1 and "process 1 of 2, counted from 0: no such file: prompts.jsonl" in err, err[-3000:]
    assert not (place / "never").exists() and not alive(place)


def test_a_process_that_is_aborted_at_its_end_takes_no_report_with_it(place):
    """DeepSpeed does so now and then; the launcher then ends the first process, wherever it is."""
    code, out, err, _ = train(place, "aborts", script=("aborts.py",))
    assert code == 1, err[-3000:]  # the launcher's
    assert out.count("mean reward std") == 1 and "Policy   aborts/trainer" in out
    assert (place / "aborts" / "after" / "report.html").is_file()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_leaves_a_whole_run_folder(place, rank):
    (place / f"dies{rank}.py").write_text(DIES_IN_STEP_12.format(rank=rank))
    words = ("--reward", f"dies{rank}.py:scores", "--max_steps", "400", "--reward_weights", "1", "1")
    code, _, err, seconds = train(place, f"killed{rank}", *words)
    assert code == 1 and seconds < 120, err[-3000:]
    assert not alive(place)  # neither the other process nor the workers of the reward
    rows = whole(place / f"killed{rank}")
    assert 0 in {row["step"] for row in rows} and {row["step"] for row in rows} <= set(range(12))


def test_a_reward_of_ones_own_script_that_raises_in_one_process(place):
    code, _, err, seconds = launch(place, letters_model(), "raises", script=("own.py",))
    assert code == 1 and seconds < 120 and err.count("KeyError: 'gold'") == 1, err[-3000:]
    rows = whole(place / "raises")
    failed = [row for row in rows if row["error"]]
    assert collections.Counter(row["step"] for row in rows) == {0: 16, 1: 16, 2: 16}
    assert len(failed) == 8 and all(row["step"] == 2 and "KeyError: 'gold'" in row["error"] for row in failed)
    assert not alive(place)


@pytest.mark.parametrize("version", ["1", "2"])
def test_fsdp_on_cpus_is_refused_and_not_taken_for_ddp(place, version):
    code, _, err, _ = train(place, "never", how=("--use_fsdp", "--fsdp_version", version))
    assert code == 1 and err.count("error:") == 1 and f"on CPUs FSDP{version} " in err and "--multi_gpu" in err, err[-3000:]
    assert "Traceback" not in err and not (place / "never").exists()


def test_processes_that_would_not_find_one_another_are_refused(place):
    words = tuple(word for word in CPU if word != "--use_cpu")
    words = ("train", "prompts.jsonl", "--model", letters_model(), "--out", "never", *TRAIN, *words, "--max_steps", "3")
    code, _, err, _ = launch(place, *words)
    assert code == 1 and err.count("error:") == 1 and "started 2 processes, and the trainer sees 1" in err, err[-3000:]
    assert not (place / "never").exists()

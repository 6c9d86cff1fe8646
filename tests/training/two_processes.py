"""Commands of flatspot on two processes of this machine, launched by accelerate, with the letters model."""

import collections
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from flatspot.rollouts.parts import part_files
from flatspot.tasks.letters import letters_model, letters_prompts

DDP = ("--multi_gpu",)
TRAIN = ("--reward", "exact_match", "--num_generations", "4", "--max_completion_length", "13", "--logging_steps", "1")
CPU = ("--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false", "--per_device_train_batch_size", "8", "--disable_tqdm", "true")
WARMUP = ("run", "--labels", "labels.jsonl", "--learning_rate", "1e-3", "--max_steps", "4")
PROBES = ("--every", "2", "--probe-prompts", "8", "--probe-completions", "4")


def prepare(folder):
    """Prompts, labels and a judged run."""
    import flatspot

    rows = [{"prompt": prompt.text, "reference": prompt.references[0]} for prompt in letters_prompts("brackets", 24)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "labels.jsonl").write_text("".join(json.dumps({**row, "answer": row["reference"]}) + "\n" for row in rows[:12]))
    model, prompts = str(letters_model()), folder / "prompts.jsonl"
    flatspot.diagnose(prompts, model, "exact_match", out=folder / "run", engine="hf", max_new_tokens=13, max_completions=4)
    return folder


def launch(place, *words, script=("-m", "flatspot.cli"), how=DDP):
    """(exit code, standard output, standard error without the launcher's own lines, seconds)"""
    two = ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    asked = [sys.executable, "-m", "accelerate.commands.launch", *two, *how, *script, *map(str, words)]
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    begun = time.monotonic()
    done = subprocess.run(asked, cwd=place, capture_output=True, text=True, timeout=240, env=env)
    return done.returncode, done.stdout, done.stderr.partition("torch/distributed/elastic")[0], time.monotonic() - begun


def train(place, out, *words, **given):
    words = ("train", "prompts.jsonl", "--model", letters_model(), "--out", out, *TRAIN, *CPU, "--max_steps", "3", *words)
    return launch(place, *words, **given)


def warmup(place, out, *words, **given):
    return launch(place, "warmup", *WARMUP, "--out", out, *CPU, *words, **given)


def rows_by_part(run):
    return {file.file.name: pq.read_table(file.file).to_pylist() for file in part_files(run)}


def whole(run):
    """The rows of a run folder whose every part can be read, none of them twice; and the folder can be judged."""
    import flatspot

    rows = [row for part in rows_by_part(run).values() for row in part]
    assert max(collections.Counter((row["prompt_id"], row["sample_idx"]) for row in rows).values()) == 1
    assert flatspot.inspect(run).summary.to_json()["generations"]["total"] == len(rows)
    return rows


def alive(place):
    """Processes that still work in the folder of the tests."""
    links = [entry / "cwd" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [link for link in links if os.access(link, os.R_OK) and Path(os.path.realpath(link)).is_relative_to(place)]


def loads(policy):
    import transformers

    model, how = transformers.AutoModelForCausalLM.from_pretrained(policy, output_loading_info=True)
    assert not how["missing_keys"]
    return model.state_dict()


def trained(policy):
    """Whether a policy can be loaded whole and differs from the model that its training began with."""
    before, after = loads(letters_model()), loads(policy)
    return before.keys() == after.keys() and any(not before[name].equal(after[name]) for name in before)

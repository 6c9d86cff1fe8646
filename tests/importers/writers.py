"""Logs as trainers write them, made after the formats' own sources: small, of made-up prompts, with the rewards that are in them.

Each function writes one format into a folder. `Batch` is what a trainer drew at one step: for each prompt the rewards of its group.
"""

import json
import random
import zipfile
from collections import Counter
from itertools import count
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq

import flatspot

K = 4


def question(i):
    return f"What is {i} plus {2 * i}? (item {i})"


def batches(n_steps=3, n_prompts=8, seed=0, chances=(0.0, 0.3, 0.6, 1.0)):
    """A list of steps, each a dict: prompt number → its rewards. Every prompt is drawn at every other step."""
    rng = random.Random(seed)
    chance = {i: chances[i % len(chances)] for i in range(n_prompts)}
    return [
        {i: [float(rng.random() < chance[i]) for _ in range(K)] for i in range(n_prompts) if (i + step) % 2 == 0} for step in range(n_steps)
    ]


def truth(steps, of=lambda reward: reward):
    """How many prompts there are of each number of rewards and mean."""
    by_prompt = {}
    for step in steps:
        for i, rewards in step.items():
            by_prompt.setdefault(i, []).extend(map(of, rewards))
    return Counter((len(r), round(sum(r) / len(r), 6)) for r in by_prompt.values())


def answer(i, reward, k):
    return f"{3 * i if reward else 3 * i + 1 + k}"


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def flat(step):
    return [(i, k, reward) for i, rewards in step.items() for k, reward in enumerate(rewards)]


def trl_rows(step, number, extra=lambda i: {}, chat=False, formats=1.0):
    for i, k, reward in flat(step):
        said, asked = answer(i, reward, k), question(i)
        yield {
            "step": number,
            "prompt": [{"role": "user", "content": asked}] if chat else asked,
            "completion": [{"role": "assistant", "content": said}] if chat else said,
            "accuracy": reward,
            "well_formed": formats,
            **extra(i),
            "advantage": 0.0 if len(set(step[i])) == 1 else (0.9 if reward else -0.9),
        }


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def trl(folder, steps, **options):
    for number, step in enumerate(steps, 1):
        parquet(folder / f"completions/completions_{number:05d}.parquet", trl_rows(step, number, **options))


def wandb(folder, steps):
    for number, step in enumerate(steps, 1):
        rows = list(trl_rows(step, number))
        table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        path = folder / f"wandb/run-x/files/media/table/completions_{number * 10}_{number:020x}.table.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table))
    (path.parent / f"completions_99_{number:020x}.table.json").write_text(path.read_text())  # the final log writes it twice


def verl_rows(step, number, kind):
    for i, k, reward in flat(step):
        row = {
            "input": f"user\n{question(i)}\nassistant\n",
            "output": answer(i, reward, k),
            "gts": str(3 * i),
            "score": reward,
            "step": number,
        }
        if kind == "v1":
            row["uid"] = f"{number:04d}{i:04d}-aaaa_{k}_0"
        elif kind == "v0":
            row |= {"acc": bool(reward), "pred": row["output"]}
        else:
            row |= {"reward": reward, "acc": reward}
        yield row


def verl(folder, steps, kind="v1"):
    for number, step in enumerate(steps, 1):
        rows = list(verl_rows(step, number, kind))
        if kind == "v0":
            random.Random(number).shuffle(rows)
        lines(folder / f"{number}.jsonl", rows)


def episode(i, k, reward, *, ids, run, group=None, ok=True):
    nodes = [
        {"message": {"role": "user", "content": question(i)}, "sampled": False, "token_ids": [1, 2]},
        {"parent": 0, "message": {"role": "assistant", "content": answer(i, reward, k)}, "sampled": True},
    ]
    scores = {"correct": {"score": reward, "weight": 1.0}, "format": {"score": 1.0, "weight": 0.2}}
    trace = {
        "verifiers": {"version": "0.4.0"},
        "agent": {"name": "agent", "trainable": True},
        "nodes": nodes,
        "calls": [{"node": 1, "finish_reason": "stop"}],
        "rewards": scores if ok else {"correct": {"score": None, "weight": 1.0}},
        "ok": ok,
        "stop_condition": "agent_completed",
        "errors": [] if ok else [{"type": "TimeoutError", "message": "120 s"}],
    }
    task = {"type": "SumTask", "data": {"idx": i, "prompt": question(i), "answer": str(3 * i)}, "key": f"sum-{i}", "hash": f"{i:064x}"}
    line = {
        "id": f"{next(ids):032x}",
        "env": {"id": "sums", "name": "sums"},
        "task": task,
        "run": run,
        "ok": ok,
        "errors": [],
        "traces": [trace],
    }
    return line | ({"group": {"id": group}} if group else {})


def prime_rl(folder, steps, effective=False):
    ids = count()
    for number, step in enumerate(steps, 1):
        run = {"type": "train", "id": "r", "work": {"type": "train", "step": number, "policy": {"start": number - 1, "end": number}}}
        rows = [episode(i, k, reward, ids=ids, run=run, group=f"g{number}-{i}") for i, k, reward in flat(step)]
        lines(folder / f"rollouts/step_{number}/train/all/traces.jsonl", rows)
        if effective:
            mixed = {f"g{number}-{i}" for i, rewards in step.items() if len(set(rewards)) > 1}
            lines(folder / f"rollouts/step_{number}/train/effective/traces.jsonl", [row for row in rows if row["group"]["id"] in mixed])
    lines(folder / "metrics.jsonl", [{"step": 1, "train/reward": 0.4}])


def verifiers(folder, steps):
    ids = count()
    run = {"type": "eval", "id": "r"}
    lines(folder / "sums--m--null--c3/traces.jsonl", [episode(*row, ids=ids, run=run) for step in steps for row in flat(step)])


def verifiers_traces(folder, steps):
    rows = []
    for number, step in enumerate(steps, 1):
        for i, k, reward in flat(step):
            line = episode(i, k, reward, ids=count(), run={})
            task = {"type": "SumTask", "data": line["task"]["data"] | {"idx": k}}
            rows.append(
                {
                    "id": f"{number}-{i}-{k}",
                    "task": task,
                    "nodes": line["traces"][0]["nodes"],
                    "rewards": {"correct": reward, "format": 0.2},
                    "errors": [],
                    "kind": "train",
                    "group_id": f"g{number}-{i}",
                    "policy_version": number,
                }
            )
    lines(folder / "traces.jsonl", rows)


def verifiers_legacy(folder, steps, ids="example_id"):
    rows = []
    for step in steps:
        for i, k, reward in flat(step):
            rows.append(
                {
                    ids: i if ids == "example_id" else len(rows) // 3,
                    "prompt": [{"role": "user", "content": question(i)}],
                    "completion": [{"role": "assistant", "content": answer(i, reward, k)}],
                    "answer": str(3 * i),
                    "reward": reward + 0.2,
                    "generation_ms": 12.0,
                    "correct_answer": reward,
                    "format": 1.0,
                }
            )
    lines(folder / "outputs/evals/sums--m/0a1b2c3d/results.jsonl", rows)
    (folder / "outputs/evals/sums--m/0a1b2c3d/metadata.json").write_text('{"rollouts_per_example": 0}')


def nemo_rl(folder, steps, filtered=False):
    for number, step in enumerate(steps, 1):
        rows = []
        for at, (i, k, reward) in enumerate(flat(step)):
            row = {"content": [[f"<|user|>\n{question(i)}\n", answer(i, reward, k)]], "rewards": [0.5 if filtered else reward]}
            rows.append(
                row | ({"filtered_rewards": [reward]} if filtered else {}) | {"token_ids": [[1, 2]], "sample_loss_mask": [1.0], "idx": at}
            )
        lines(folder / f"exp_001/train_data_step{number}.jsonl", rows)
        said = [{"role": "user", "content": "validation"}, {"role": "assistant", "content": "1"}]
        lines(folder / f"exp_001/val_data_step{number}.jsonl", [{"content": [said], "rewards": [1.0], "idx": k} for k in range(K)])


def open_instruct(folder, steps):
    rows = []
    for number, step in enumerate(steps, 1):
        for at, (i, k, reward) in enumerate(flat(step)):
            tokens = {"prompt_tokens": [i, i + 1, 7], "response_tokens": [k, 9] if reward else [k]}
            row = {"step": number, "sample_idx": at, "prompt_idx": at // K, **tokens, "reward": 10 * reward, "advantage": 0.0}
            rows.append(row | {"finish_reason": "stop", "dataset": "sums", "ground_truth": [str(3 * i)], "logprobs": [-0.1]})
    lines(folder / "run_rollouts_000000.jsonl", rows)
    lines(folder / "run_metadata.jsonl", [{"run_name": "run", "model_name": "m"}])


def swift(folder, steps, step="step"):
    rows = []
    for number, drawn in enumerate(steps, 1):
        own = list(trl_rows(drawn, number))
        columns = {step: [str(number) if step == "step" else number for _ in own]}
        columns |= {name: [row[name] for row in own] for name in ("prompt", "completion")}
        columns |= {"MathAccuracy": [row["accuracy"] for row in own], "Format": [row["well_formed"] for row in own]}
        rows.append(columns | {"advantages": [row["advantage"] for row in own], "num_turns": [1 for _ in own]})
    lines(folder / "output/v0-20260304-050607/completions.jsonl", rows)


def swift_rows(folder, steps):
    rows = [
        {"gen_step": number, "prompt": question(i), "completion": answer(i, reward, k), "reward": reward}
        for number, step in enumerate(steps)
        for i, k, reward in flat(step)
    ]
    lines(folder / "output/v0-20260304-050607/completions.jsonl", rows)


def areal(folder, steps):
    task = count()
    for number, step in enumerate(steps):
        for i, rewards in step.items():
            own = next(task)
            rows = [
                {
                    "task_id": own, "sample_idx": k, "seqlen": 9, "prompt_len": 7, "head_version": number, "tail_version": number,
                    "version_rle": [[number, 2]], "reward": reward, "prompt": question(i), "completion": answer(i, reward, k),
                }
                for k, reward in enumerate(rewards)
            ]  # fmt: skip
            lines(folder / f"logs/me/x/trial0/rollout/{number}/{own}.jsonl", rows)
    lines(folder / "logs/me/x/trial0/eval-rollout/0/0.jsonl", rows)


def roll(folder, steps):
    for number, step in enumerate(steps):
        own = flat(step)
        columns = {
            "id": [f"q{i}" for i, _, _ in own],
            "prompt": [question(i) for i, _, _ in own],
            "responses": [answer(i, reward, k) for i, k, reward in own],
            "scores": [reward for _, _, reward in own],
            "difficulty": [0.5 for _ in own],
            "global_step": [number for _ in own],
        }
        lines(folder / f"rollout_dump_data.step_{number}.jsonl", [columns])


def skyrl(folder, steps):
    for number, step in enumerate(steps):
        rows = [
            {
                "input_prompt": question(i), "output_response": answer(i, reward, k), "score": [0.0, reward], "stop_reason": "stop",
                "env_class": "sums", "env_extras": {"reward_spec": {"ground_truth": str(3 * i)}}, "data_source": "sums",
            }
            for i, k, reward in flat(step)
        ]  # fmt: skip
        lines(folder / f"exports/dumped_evals/global_step_{number}_evals/sums.jsonl", rows)
        lines(folder / f"exports/dumped_evals/global_step_{number}_evals/aggregated_results.jsonl", [{"eval/all/avg_score": 0.4}])


def lm_eval(folder, steps, options=None):
    """Each run answers every document once: the k-th rewards of all prompts."""
    options = options or {"do_sample": True, "temperature": 1.0}
    runs = {}
    for step in steps:
        for i, k, reward in flat(step):
            runs.setdefault(k, []).append((i, reward))
    for k, own in runs.items():
        rows = []
        for name in ("strict", "flexible"):
            for i, reward in own:
                row = {
                    "doc_id": i,
                    "doc": {"q": question(i)},
                    "target": str(3 * i),
                    "arguments": {"gen_args_0": {"arg_0": question(i), "arg_1": options}},
                }
                row |= {"resps": [[answer(i, reward, k)]], "filtered_resps": ["x"], "filter": name, "metrics": ["exact_match"]}
                rows.append(row | {"doc_hash": f"{i:064x}", "exact_match": reward if name == "strict" else 1.0})
        lines(folder / f"m/samples_sums_2026-11-2{k}T20-44-55.523669.jsonl", rows)
    (folder / "m/results_2026-11-20T20-44-55.523669.json").write_text('{"results": {}}')


def inspect_log(steps, scores=lambda reward: {"match": {"value": "C" if reward else "I"}}, temperature=1.0):
    samples, epochs = [], Counter()
    for step in steps:
        for i, k, reward in flat(step):
            epochs[i] += 1
            message = {"role": "assistant", "content": answer(i, reward, k)}
            output = {"choices": [{"message": message, "stop_reason": "stop"}]}
            sample = {
                "id": f"q{i}",
                "epoch": epochs[i],
                "input": question(i),
                "target": str(3 * i),
                "output": output,
                "scores": scores(reward),
            }
            samples.append(sample | {"messages": [message], "events": [{"event": "x"}]})
    head = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "m"}, "plan": {"config": {"temperature": temperature}}}
    return head, samples


def inspect_json(folder, steps, **options):
    head, samples = inspect_log(steps, **options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "2026_sums_x.json").write_text(json.dumps(head | {"samples": samples, "reductions": [{"scorer": "match"}]}))


def inspect_eval(folder, steps, **options):
    head, samples = inspect_log(steps, **options)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "2026_sums_x.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("header.json", json.dumps(head))


def open_r1(folder, steps):
    by_prompt = {}
    for step in steps:
        for i, k, reward in flat(step):
            by_prompt.setdefault(i, []).append((answer(i, reward, k), reward))
    rows = [
        {
            "problem": question(i),
            "solution": str(3 * i),
            "pass_rate_generations": [a for a, _ in own],
            "pass_rate_rewards": [r for _, r in own],
        }
        for i, own in by_prompt.items()
    ]
    parquet(folder / "data/train-00000-of-00001.parquet", rows)


def recorded(folder, steps):
    """What `flatspot.record` writes of calls as TRL makes them."""
    rewards = iter(())
    reward = flatspot.record(lambda completions, **columns: next(rewards), out=folder)
    for number, step in enumerate(steps, 1):
        rows = flat(step)
        rewards = iter([[value for _, _, value in rows]])
        reward(
            prompts=[question(i) for i, _, _ in rows],
            completions=[answer(i, value, k) for i, k, value in rows],
            trainer_state=SimpleNamespace(global_step=number),
            answer=[str(3 * i) for i, _, _ in rows],
        )
    [file] = (folder / "recorded").iterdir()  # the same each time
    written = [json.loads(line) | {"time": 1.5} for line in file.read_text().splitlines()]
    file.unlink()
    lines(folder / "recorded" / "a.jsonl", written)

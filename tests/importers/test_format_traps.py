"""What formats get wrong, or leave out: rows that are there twice, rows of others, failures as zeros, survivors, and what is refused."""

import io
import json
import pickle
import zipfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import ImportFormatError
from flatspot.importers.builtin.slime import load_plain

from . import writers
from .test_formats import judged
from .writers import K, answer, batches, flat, lines, parquet, question, trl_rows, truth

STEPS = batches()
MIXED = batches(n_steps=8, n_prompts=12, seed=3, chances=(0.2, 0.4, 0.7))


def survivors(steps):
    return [{i: rewards for i, rewards in step.items() if len(set(rewards)) > 1} for step in steps]


def test_a_batch_that_is_written_again_counts_once_and_missing_steps_are_counted(tmp_path):
    for number, step in ((3, STEPS[0]), (4, STEPS[0]), (9, STEPS[1])):
        rows = list(trl_rows(step, 3 if number == 4 else number))
        parquet(tmp_path / f"log/completions_{number:05d}.parquet", [row | {"step": number} for row in rows])
    summary, found, _ = judged(tmp_path)
    assert found == truth(STEPS[:2], lambda reward: reward + 1)
    assert {"repeated-rows", "missing-steps"} <= set(summary.caveat_codes)
    assert any("3 of the 9 steps" in text for text in summary.caveats)


def evaluated(steps, asked, at):
    """TRL's files where an evaluation follows the steps `at`: its rows push the first ones of the step out."""
    for number, step in enumerate(steps, 1):
        rows = list(trl_rows(step, number))
        if number in at:
            rows = (rows + list(trl_rows(asked, number)))[-len(rows) :]
        yield number, rows


@pytest.mark.parametrize("own", [True, False])
def test_rows_of_an_evaluation_at_the_end_of_a_batch_are_left_out(tmp_path, own):
    """Prompts of the evaluation that are its own, and prompts that are trained on, too, in another order."""
    steps = batches(n_steps=8, n_prompts=40, seed=5)
    order = [{i: step[i] for i in sorted(step, key=lambda i: (i * 7 + n * 13) % 41)} for n, step in enumerate(steps)]
    asked = {100 + i if own else (i * 11) % 40: [1.0, 0.0, 0.0, 1.0] for i in range(5)}
    kept = Counter()
    for number, rows in evaluated(order, asked, {3, 6}):
        parquet(tmp_path / f"log/completions_{number:05d}.parquet", rows)
        kept[number] = len(rows) - (5 * K if number in (3, 6) else 0)
    summary, found, _ = judged(tmp_path)
    assert sum(n * prompts for (n, _), prompts in found.items()) == sum(kept.values())
    assert "evaluation-rows" in summary.caveat_codes


def test_batches_that_end_alike_without_an_evaluation_are_whole(tmp_path):
    """A training that does not shuffle: every other file asks the same prompts in the same order."""
    steps = batches(n_steps=6)
    writers.trl(tmp_path / "log", steps)
    assert judged(tmp_path)[1] == truth(steps, lambda reward: reward + 1)


def test_batches_in_an_order_of_chance_are_whole(tmp_path):
    import random

    steps = [{i: step[i] for i in random.Random(n).sample(sorted(step), len(step))} for n, step in enumerate(batches(40, 12, seed=1))]
    writers.trl(tmp_path / "log", steps)
    assert judged(tmp_path)[1] == truth(steps, lambda reward: reward + 1)


def test_weights_are_those_of_the_trainer_state(tmp_path):
    steps = batches(6, 8, seed=2)
    history = []
    for number, step in enumerate(steps, 1):
        rows = [row | {"well_formed": float(k % 2)} for k, row in enumerate(trl_rows(step, number))]
        parquet(tmp_path / f"log/completions/completions_{number:05d}.parquet", rows)
        means = [sum(row[name] for row in rows) / len(rows) for name in ("accuracy", "well_formed")]
        history.append({"step": number, "reward": means[0] + 0.2 * means[1]} | dict(zip(
            ("rewards/accuracy/mean", "rewards/well_formed/mean"), means, strict=True)))  # fmt: skip
    history[2] |= {"rewards/well_formed/mean": history[2]["rewards/well_formed/mean"] - 0.25, "reward": history[2]["reward"] - 0.05}
    (tmp_path / "log/checkpoint-6").mkdir()
    (tmp_path / "log/checkpoint-6/trainer_state.json").write_text(json.dumps({"global_step": 6, "log_history": history}))
    summary, _, _ = judged(tmp_path)
    assert summary.components["well_formed"].weight == 0.2 and "weights-assumed" not in summary.caveat_codes
    assert any("accuracy + 0.2 × well_formed" in text for text in summary.caveats)


def test_verl_padding_and_earlier_outputs_are_left_out(tmp_path):
    rows = list(writers.verl_rows(STEPS[0], 1, "v1"))
    first = [row | {"output": "let me think", "uid": row["uid"][:-1] + "0"} for row in rows[:3]]
    last = [row | {"uid": row["uid"][:-1] + "1"} for row in rows[:3]]
    padding = [{"input": "", "output": "", "gts": None, "score": 0.0, "step": 1, "uid": f"pad{i:04x}_{i}_0"} for i in range(5)]
    lines(tmp_path / "log/1.jsonl", [*first, *last, *rows[3:], *padding])
    summary, found, _ = judged(tmp_path)
    assert found == truth(STEPS[:1]) and {"padding-rows", "several-outputs"} <= set(summary.caveat_codes)
    completions = [row["completion"] for row in flatspot.open(tmp_path / "run").rollouts.to_pylist()]
    assert "let me think" not in completions


@pytest.mark.parametrize("holds", [True, False])
def test_verl_adds_the_penalty_where_the_score_does_not_hold_it(tmp_path, holds):
    rows = []
    for n, row in enumerate(writers.verl_rows(STEPS[0], 1, "v0")):
        penalty = -0.25 * (n % 3)
        rows.append(row | {"overlong_reward": penalty, "score": row["score"] + (penalty if holds else 0.0)})
    lines(tmp_path / "log/1.jsonl", rows)
    summary, _, _ = judged(tmp_path)
    expected = sum(row["acc"] + row["overlong_reward"] for row in rows) / len(rows)
    assert summary.reward.mean == pytest.approx(expected) and "length-penalty" in summary.caveat_codes


def test_failures_that_verl_scores_zero_are_errors(tmp_path):
    rows = [row | {"timeout": False, "error": ""} for row in writers.verl_rows(STEPS[0], 1, "v0")]
    rows[0] |= {"timeout": True, "score": 0.0}
    rows[1] |= {"error": "ValueError: no answer", "score": 0.0}
    lines(tmp_path / "log/1.jsonl", rows)
    summary, _, _ = judged(tmp_path)
    assert {e.error for e in summary.health.errors} == {"the reward timed out", "ValueError: no answer"}
    assert "errors-not-zeros" in summary.caveat_codes


@pytest.mark.parametrize(
    "write", [writers.verl, writers.swift_rows, writers.roll, writers.areal, writers.nemo_rl], ids=lambda f: f.__name__
)
def test_survivors_get_no_verdict_and_prompts_are_judged(tmp_path, write):
    write(tmp_path / "log", survivors(MIXED))
    summary, found, _ = judged(tmp_path)
    assert summary.verdict is None and summary.rule == "survivors only" and "survivors-only" in summary.caveat_codes
    assert summary.fractions.vanishing.mean is None and all(row.informative is None for row in summary.forecast.values())
    assert found == truth(survivors(MIXED)) and sum(n for _, n in summary.counts.items()) == summary.n_prompts
    write(tmp_path / "all/log", MIXED)
    assert judged(tmp_path / "all")[0].verdict is not None


def test_survivors_are_certain_where_a_format_says_so(tmp_path):
    writers.nemo_rl(tmp_path / "nemo/log", STEPS, filtered=True)
    summary, found, _ = judged(tmp_path / "nemo")
    assert summary.verdict is None and found == truth(STEPS)  # `rewards` belongs to other rows
    writers.prime_rl(tmp_path / "prime/log", MIXED, effective=True)
    for path in (tmp_path / "prime/log").rglob("all/traces.jsonl"):
        path.unlink()
    assert judged(tmp_path / "prime")[0].verdict is None


def test_a_log_without_a_verdict_stops_at_fail_above(tmp_path):
    from click.testing import CliRunner

    from flatspot.cli.main import cli

    writers.verl(tmp_path / "log", survivors(MIXED))
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path / "log"), "--out", str(tmp_path / "run"), "--fail-above", "0.9"])
    assert done.exit_code == 3 and "there is no verdict on the set" in done.output and "NO VERDICT" in done.output.upper()


def test_episodes_that_failed_are_errors_and_games_of_several_agents_are_apart(tmp_path):
    from itertools import count

    ids, run = count(), {"type": "eval"}
    rows = [writers.episode(i, k, 1.0, ids=ids, run=run, ok=k > 0) for i in range(4) for k in range(K)]
    for row in rows:
        row["traces"].append(json.loads(json.dumps(row["traces"][0])))
        row["traces"][1]["agent"]["name"] = "other"
        row["traces"][1]["rewards"] = {"correct": {"score": 0.0, "weight": 1.0}} if row["ok"] else {"correct": None}
    rows.append(rows[1])  # once more
    lines(tmp_path / "log/traces.jsonl", rows)
    summary, found, _ = judged(tmp_path)
    assert found == {(K - 1, 1.2): 4, (K - 1, 0.0): 4}
    assert {"errors-not-zeros", "repeated-rows"} <= set(summary.caveat_codes)


def test_several_scorers_are_named_and_another_one_can_be_judged(tmp_path):
    def scores(reward):
        return {"match": {"value": "C" if reward else "I"}, "style": {"value": {"tone": 0.5, "length": 2}}}

    writers.inspect_json(tmp_path / "log", STEPS, scores=scores)
    summary, found, _ = judged(tmp_path)
    assert found == truth(STEPS) and "several-scorers" in summary.caveat_codes
    run = flatspot.inspect(tmp_path / "log", columns={"reward": "scores.style.length"}, out=tmp_path / "other")
    assert run.summary.reward.mean == 2.0


def greedy(folder):
    writers.lm_eval(folder, STEPS[:1], options={"do_sample": False, "temperature": 0.0})


def single(folder):
    writers.verl(folder, [{i: rewards[:1] for i, rewards in step.items()} for step in STEPS], "val")


def copies(folder):
    lines(folder / "1.jsonl", [row | {"output": "same"} for row in writers.verl_rows(STEPS[0], 1, "val")])


def other_rows(folder):
    lines(folder / "1.jsonl", [row | {"pred": f"{10_000 + n}"} for n, row in enumerate(writers.verl_rows(batches(1, 16)[0], 1, "v0"))])


def repeats(folder):
    writers.lm_eval(folder, STEPS[:1])
    for path in folder.rglob("samples*"):
        lines(path, [row | {"resps": [["a", "b"]]} for row in map(json.loads, path.read_text().splitlines())])


def open_rlhf(folder):
    (folder / "media/table").mkdir(parents=True)
    table = {"columns": ["global_step", "text", "reward"], "data": [[1, "a", 0.0]]}
    (folder / "media/table/generated_samples_1_0123456789abcdef0123.table.json").write_text(json.dumps(table))


def unique_prompts(folder):
    writers.wandb(folder, [{i: rewards[:1] for i, rewards in step.items()} for step in STEPS])


def distillation(folder):
    parquet(folder / "completions_00001.parquet", [{"step": 1, "prompt": "a", "completion": "b"}])


def server(folder):
    rows = [{"prompt": question(1), "reward_model": {"ground_truth": "3"}, "responses": ["3", "4"]}]
    parquet(folder / "gen.parquet", rows)


def one_eval(folder):
    writers.skyrl(folder, [{i: rewards[:1] for i, rewards in step.items()} for step in STEPS])


def agentic(folder):
    lines(folder / "rollout_dump_data.step_0.jsonl", [{"trajectory_data": ["x"], "messages": [[]], "tools": ["t"], "global_step": [0]}])


def no_nemo(folder):
    lines(folder / "train_data_step1.jsonl", [{"content": [["p", "a"]], "token_ids": [[1]], "idx": 0}])


def one_epoch(folder):
    writers.inspect_json(folder, [{i: rewards[:1] for i, rewards in STEPS[0].items()}])


def cold(folder):
    writers.inspect_json(folder, [{1: [1.0] * K, 2: [1.0] * K}], temperature=0)


def solve_rate(folder):
    parquet(folder / "train.parquet", [{"problem": "a", "answer": "1", "llama8b_solve_rate": 0.3}])


def difficulty(folder):
    lines(folder / "train.jsonl", [{"problem": "a", "answer": "1", "difficulty": "3/8"}])


def lengths(folder):
    parquet(folder / "train.parquet", [{"prompt": "a", "pass_rate_generations": ["x"], "pass_rate_rewards": [0.0, 1.0]}])


@pytest.mark.parametrize(
    ("write", "named", "way_on"),
    [
        (greedy, "lm-eval", "do_sample=true"), (repeats, "lm-eval", "repeats: 1"), (single, "verl", "val_kwargs.n=8"),
        (copies, "verl", "do_sample"),
        (other_rows, "verl", "rescore"), (open_rlhf, "OpenRLHF", "flatspot.watch"), (unique_prompts, "W&B", "log_unique_prompts=False"),
        (distillation, "TRL", "flatspot diagnose"), (server, "verl", "ground_truth"), (one_eval, "SkyRL", "eval_n_samples"),
        (agentic, "ROLL", "wrap it"), (no_nemo, "NeMo-RL", "flatspot diagnose"), (one_epoch, "inspect_ai", "--epochs 8"),
        (cold, "inspect_ai", "temperature"), (solve_rate, "pass rate", "flatspot diagnose"),
        (difficulty, "`difficulty`", "flatspot diagnose"),
        (lengths, "open-r1", "one reward function"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_by_name_with_the_way_on(tmp_path, write, named, way_on):
    write(tmp_path / "log")
    with pytest.raises(ImportFormatError) as refused:
        judged(tmp_path)
    assert named in str(refused.value) and way_on in str(refused.value)


def torch_file(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", "3")


def test_slime_is_read_only_where_pickles_are_allowed_and_no_code_is_run(tmp_path):
    for number, step in enumerate(STEPS):
        samples = [
            {"group_index": i, "index": k, "prompt": question(i), "response": answer(i, reward, k), "label": str(3 * i), "reward": reward,
             "status": "failed" if k == 0 and i == 0 else "completed"}
            for i, k, reward in flat(step)
        ]  # fmt: skip
        torch_file(tmp_path / f"log/{number}.pt", {"rollout_id": number, "samples": samples})
    torch_file(tmp_path / "log/eval_0.pt", {"rollout_id": 0, "samples": samples})
    with pytest.raises(ImportFormatError, match=r"slime.*--allow-pickle"):
        judged(tmp_path)
    summary, _, _ = judged(tmp_path, allow_pickle=True)
    assert summary.generations.total == sum(len(flat(step)) for step in STEPS)
    assert {"errors-not-zeros", "evaluation-rows", "several-policies"} <= set(summary.caveat_codes)

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_run"), "w"))

    torch_file(tmp_path / "bad.pt", {"rollout_id": 0, "samples": [Runs()]})
    with pytest.raises(Exception, match="which is not loaded"):
        load_plain(tmp_path / "bad.pt")
    assert not (tmp_path / "was_run").exists()


def test_a_zip_packed_with_zstandard_is_read(tmp_path):
    """As inspect_ai writes them: method 93, which Python's zipfile reads from 3.14 on only."""
    writers.inspect_eval(tmp_path / "plain", STEPS)
    plain = next((tmp_path / "plain").glob("*.eval"))
    packed = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            target.writestr(name, bytes(pa.compress(source.read(name), codec="zstd", asbytes=True)))
    data = bytearray(packed.getvalue())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # the method of each entry, in both places
        place = data.find(mark)
        while place >= 0:
            data[place + at : place + at + 2] = (93).to_bytes(2, "little")
            place = data.find(mark, place + 1)
    (tmp_path / "log").mkdir()
    (tmp_path / "log/x.eval").write_bytes(bytes(data))
    assert judged(tmp_path)[1] == truth(STEPS)


def test_trl_files_in_memory_are_told_too(tmp_path):
    writers.trl(tmp_path / "log", STEPS[:1])
    table = pq.read_table(tmp_path / "log/completions/completions_00001.parquet")
    run = flatspot.inspect(table, out=tmp_path / "run")
    assert run.summary["settings"]["columns"]["reward"] == ["accuracy", "well_formed"]

"""What may lie in one folder: several runs or models, packed files, a log that was retried; and what stands beside a reward."""

import gzip
import json
import math
import random
from collections import Counter
from itertools import pairwise

import pytest

import flatspot
from flatspot.core.errors import ImportFormatError
from flatspot.stats.flat_groups import evenly_flat

from . import writers
from .test_format_traps import survivors
from .test_formats import judged
from .writers import K, answer, batches, flat, lines, parquet, question, truth

A, B = batches(n_steps=1, n_prompts=16, seed=1), batches(n_steps=1, n_prompts=16, seed=2)


def two_prime_rl(folder, steps):
    writers.prime_rl(folder, steps)
    for path in folder.rglob("traces.jsonl"):
        path.write_text(path.read_text().replace('{"id": "0', f'{{"id": "{folder.name}'))


def two_evaluations(folder, steps):
    writers.verifiers_legacy(folder, steps)
    (folder / "outputs/evals/sums--m").rename(folder / f"outputs/evals/sums--{folder.name}")


@pytest.mark.parametrize(
    "write",
    [writers.trl, writers.verl, writers.nemo_rl, writers.swift, writers.areal, writers.wandb, writers.skyrl, two_prime_rl,
     two_evaluations],
)  # fmt: skip
def test_several_runs_are_several_policies_though_their_steps_have_the_same_numbers(tmp_path, write):
    write(tmp_path / "log/a", A)
    assert "several-policies" not in judged(tmp_path)[0].caveat_codes
    write(tmp_path / "log/b", B)
    summary, found, _ = judged_anew(tmp_path)
    assert "several-policies" in summary.caveat_codes and any("2 runs or models" in text for text in summary.caveats)
    assert sum(n * prompts for (n, _), prompts in found.items()) == 2 * len(flat(A[0]))


def test_logs_of_one_model_in_several_folders_are_of_one_policy(tmp_path):
    for k in range(K):
        writers.inspect_json(tmp_path / f"log/{k}", [{i: [rewards[k]] for i, rewards in A[0].items()}])
    summary, found, _ = judged(tmp_path)
    assert found == truth(A) and "several-policies" not in summary.caveat_codes


def judged_anew(folder):
    (folder / "run").rename(folder / "before")
    return judged(folder)


def test_files_of_training_and_validation_are_one_run(tmp_path):
    writers.verl(tmp_path / "log/rollouts", A)
    writers.verl(tmp_path / "log/validation", B, "val")
    summary, found, _ = judged(tmp_path)
    assert found == truth(A) and "several-policies" not in summary.caveat_codes and "evaluation-rows" in summary.caveat_codes


def test_files_that_are_packed_are_named(tmp_path):
    writers.verl(tmp_path / "log", batches())
    first = tmp_path / "log/1.jsonl"
    (tmp_path / "log/1.jsonl.gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    assert any("1.jsonl.gz: packed" in text for text in judged(tmp_path)[0].caveats)
    for path in (tmp_path / "log").glob("*.jsonl"):
        path.unlink()
    with pytest.raises(ImportFormatError, match=r"no log in this folder.*\n.*1\.jsonl\.gz: packed"):
        judged_anew(tmp_path)


def test_lines_of_a_batch_keep_their_order(tmp_path):
    """ms-swift writes a batch a line: an evaluation at its end is told by the order within the line."""
    steps = batches(n_steps=9, n_prompts=24, seed=1)
    steps = [{i: step[i] for i in random.Random(n).sample(sorted(step), len(step))} for n, step in enumerate(steps)]
    asked = {100 + i: [1.0, 0.0, 0.0, 1.0] for i in range(4)}
    kept = [dict(list(step.items())[4:]) if n % 3 == 2 else step for n, step in enumerate(steps)]
    writers.swift(tmp_path / "log", [own | asked if n % 3 == 2 else own for n, own in enumerate(kept)])
    summary, found, _ = judged(tmp_path)
    assert found == truth(kept, lambda reward: reward + 1) and "evaluation-rows" in summary.caveat_codes


def test_two_runs_that_ask_the_same_prompts_are_no_evaluation(tmp_path):
    writers.swift(tmp_path / "log/v0", A)
    writers.swift(tmp_path / "log/v1", B)
    summary, found, _ = judged(tmp_path)
    assert found == truth(A + B, lambda reward: reward + 1) and "evaluation-split" not in summary.caveat_codes


def test_a_reward_that_is_the_same_on_every_row_of_a_log_is_said(tmp_path):
    writers.swift(tmp_path / "log", batches())
    summary = judged(tmp_path)[0]
    assert "flat-component" in summary.caveat_codes
    assert any("'Format' is 1 on every row" in text for text in summary.caveats)


def test_a_column_that_the_advantages_are_not_of_is_no_reward(tmp_path):
    """TRL's log_extra stands after the rewards: here a length, and a level that is the same for all of a group."""
    want = {}
    for number, step in enumerate(batches(n_steps=4, n_prompts=12, seed=3, chances=(0.2, 0.5, 0.8)), 1):
        rows = []
        for i, rewards in step.items():
            totals = [reward + k % 2 for k, reward in enumerate(rewards)]
            mean, std = sum(totals) / K, math.sqrt(sum((t - sum(totals) / K) ** 2 for t in totals) / (K - 1))
            want.setdefault(i, []).extend(totals)
            rows += [
                {"step": number, "prompt": question(i), "completion": answer(i, reward, k), "accuracy": reward, "form": float(k % 2),
                 "length": float(7 + k * k), "level": float(i), "advantage": (totals[k] - mean) / (std + 1e-4)}
                for k, reward in enumerate(rewards)
            ]  # fmt: skip
        parquet(tmp_path / f"log/completions_{number:05d}.parquet", rows)
    summary, found, _ = judged(tmp_path)
    assert found == Counter((len(r), round(sum(r) / len(r), 6)) for r in want.values())
    assert any("`length`, `level`: not part of the reward" in text for text in summary.caveats)


def test_of_prime_rl_steps_without_all_are_left_out_where_others_have_it(tmp_path):
    steps = batches(n_steps=3, chances=(0.0, 0.5))
    writers.prime_rl(tmp_path / "log", steps, effective=True)
    (tmp_path / "log/rollouts/step_2/train/all/traces.jsonl").unlink()
    summary, found, _ = judged(tmp_path)
    assert found == truth([steps[0], steps[2]], lambda reward: reward + 0.2) and "missing-steps" in summary.caveat_codes


def test_the_first_metric_that_is_a_number_is_judged(tmp_path):
    writers.lm_eval(tmp_path / "log", A)
    for path in (tmp_path / "log").rglob("samples*"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lines(path, [row | {"metrics": ["f1", "exact_match"], "f1": ["90", ["a"]]} for row in rows if row["filter"] == "strict"])
    summary, found, _ = judged(tmp_path)
    assert found == truth(A) and "several-scorers" in summary.caveat_codes


def test_samples_of_a_retried_evaluation_count_once(tmp_path):
    head, samples = writers.inspect_log(A)
    named = [sample | {"uuid": f"{sample['id']}-{sample['epoch']}"} for sample in samples]
    first = [*named[:10], named[10] | {"scores": {}, "error": {"message": "timeout"}}]
    (tmp_path / "log").mkdir()
    (tmp_path / "log/1.json").write_text(json.dumps(head | {"status": "error", "samples": first}))
    (tmp_path / "log/2.json").write_text(json.dumps(head | {"samples": named}))
    summary, found, _ = judged(tmp_path)
    assert found == truth(A) and "repeated-rows" in summary.caveat_codes and "errors-not-zeros" not in summary.caveat_codes


def test_a_validation_of_nemo_rl_with_one_completion_each_is_refused(tmp_path):
    for step in (10, 20):
        said = [[{"role": "user", "content": question(i)}, {"role": "assistant", "content": "1"}] for i in range(8)]
        lines(tmp_path / f"log/val_data_step{step}.jsonl", [{"content": [s], "rewards": [1.0], "idx": i} for i, s in enumerate(said)])
    with pytest.raises(ImportFormatError, match=r"NeMo-RL's validation.*train_data_step"):
        judged(tmp_path)


def test_turns_of_skyrl_are_refused(tmp_path):
    rows = []
    for i, k, reward in flat(A[0]):
        first = {"input_prompt": question(i), "output_response": f"call {k}", "score": 0.0, "stop_reason": "stop", "data_source": "s"}
        rows += [first, first | {"input_prompt": f"{question(i)}call {k} → 7", "output_response": answer(i, reward, k), "score": reward}]
    lines(tmp_path / "log/dumped_evals/eval_only/s.jsonl", rows)
    with pytest.raises(ImportFormatError, match="turns of an episode"):
        judged(tmp_path)


MIDDLE = batches(n_steps=8, n_prompts=12, seed=3, chances=(0.5,))


@pytest.mark.parametrize("write", [writers.verl, writers.swift_rows, writers.roll], ids=lambda f: f.__name__)
def test_survivors_in_the_middle_are_told_in_a_training_that_can_drop_groups(tmp_path, write):
    """Of prompts at 1/2 with 16 completions, what was dropped has left no trace but that none is flat."""
    wide = [{i: rewards * 4 for i, rewards in step.items() if sum(rewards) == 2} for step in MIDDLE]
    write(tmp_path / "log", wide * 3)
    assert judged(tmp_path)[0].verdict is None


@pytest.mark.parametrize("write", [writers.trl, writers.areal, writers.prime_rl], ids=lambda f: f.__name__)
def test_a_trainer_that_cannot_drop_groups_needs_more(tmp_path, write):
    wide = [{i: rewards * 4 for i, rewards in step.items() if sum(rewards) == 2} for step in MIDDLE]
    write(tmp_path / "log", wide)
    assert judged(tmp_path)[0].verdict is not None


def test_flat_groups_of_prompts_of_all_kinds_by_simulation():
    rng = random.Random(0)
    for k, m in ((4, 2), (8, 2), (6, 3)):
        flat_groups = 0
        for _ in range(20_000):
            cuts = [0.0, *sorted(rng.random() for _ in range(m - 1)), 1.0]  # evenly from the simplex
            drawn = rng.choices(range(m), [b - a for a, b in pairwise(cuts)], k=k)
            flat_groups += len(set(drawn)) == 1
        assert evenly_flat({k: 1}, m) == pytest.approx(flat_groups / 20_000, abs=0.012)


def test_survivors_of_three_rewards_are_told(tmp_path):
    steps = batches(n_steps=12, n_prompts=24, seed=4, chances=(0.0, 0.3, 0.6, 1.0))
    steps = [{i: [r * 2 if k else r for k, r in enumerate(rewards)] for i, rewards in step.items()} for step in steps]
    writers.verl(tmp_path / "log", survivors(steps))
    run = flatspot.inspect(tmp_path / "log", out=tmp_path / "run")
    assert run.summary.verdict is None


def test_text_that_looks_like_a_number_is_no_reward_and_an_odd_reward_is_an_error_of_its_row(tmp_path):
    """TRL's log_extra puts the answer into the W&B table, between the rewards and the advantage."""
    steps = batches()
    writers.wandb(tmp_path / "log", steps)
    tables = sorted((tmp_path / "log").rglob("*.table.json"))
    for n, path in enumerate(tables):
        table = json.loads(path.read_text())
        at = table["columns"].index("advantage")
        table["columns"].insert(at, "solution")
        for row in table["data"]:
            row.insert(at, "90")
        if n == 0:
            table["data"][0][table["columns"].index("well_formed")] = {}
        path.write_text(json.dumps(table))
    summary, found, _ = judged(tmp_path)
    assert summary.components.keys() == {"accuracy", "well_formed"}
    assert sum(n * prompts for (n, _), prompts in found.items()) == sum(len(flat(step)) for step in steps) - 1
    assert [error.error for error in summary.health.errors] == ["well_formed: not a number: {}"]


def test_a_replay_is_no_new_draw(tmp_path):
    writers.verifiers(tmp_path / "log/a", A)
    writers.verifiers(tmp_path / "log/b", A)
    copy = next((tmp_path / "log/b").rglob("traces.jsonl"))
    rows = [json.loads(line) for line in copy.read_text().splitlines()]
    lines(copy, [row | {"id": f"again-{row['id']}"} for row in reversed(rows)])
    summary, found, _ = judged(tmp_path)
    assert found == truth(A, lambda reward: reward + 0.2) and "repeated-rows" in summary.caveat_codes


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_log_with_a_column_of_difficulties_is_a_log(tmp_path, ending):
    rows = [{"prompt": question(i), "response": answer(i, r, k), "correct": r, "difficulty": 2.0} for i, k, r in flat(A[0])]
    (lines if ending == "jsonl" else parquet)(tmp_path / f"log/rows.{ending}", rows)
    assert judged(tmp_path, columns={"reward": "correct"})[1] == truth(A)

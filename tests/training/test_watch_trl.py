"""`watch` and the callback in real TRL runs of a tiny model, against a computation by hand from the calls of the reward functions."""

import json
import math
import statistics

import pyarrow.parquet as pq
import pytest

pytest.importorskip("trl")

import flatspot
from runs import Case, half, train

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn about each other


class Memory:
    """A reward that stores its own calls, batch by batch, independently of `watch`."""

    def __init__(self, answer):
        self.answer, self.batches, self.__name__ = answer, [], answer.__name__

    def __call__(self, prompts, completions, **columns):
        values = self.answer(prompts=prompts, completions=completions, **columns)
        self.batches.append((prompts, values, columns["trainer_state"].global_step))
        return values


def of_prompt(prompts, completions, **columns):
    """Prompts ending in w3 always earn 0; the others 0 or 1."""
    return [0.0 if p.endswith("w3") else v for p, v in zip(prompts, half(completions), strict=True)]


def few_steps(completions, **columns):
    return [min(len(text.split()), 4) / 4 for text in completions]


def groups(batches, weights, size=4):
    """[batch][group] rewards, by hand."""
    rewards = []
    for step in zip(*batches, strict=True):
        prompts = step[0][0]
        total = [sum(w * f[1][i] for w, f in zip(weights, step, strict=True)) for i in range(len(prompts))]
        assert all(len(set(prompts[i : i + size])) == 1 for i in range(0, len(prompts), size))
        rewards.append([total[i : i + size] for i in range(0, len(total), size)])
    return rewards


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if "loss" in entry]


def test_two_weighted_rewards_scaled_by_the_batch(tmp_path):
    one, two = Memory(of_prompt), Memory(few_steps)
    case = Case("", None, (one, two), settings={"scale_rewards": "batch", "reward_weights": [1.0, 0.0], "learning_rate": 1e-3})
    trainer, callback, _ = train(case, tmp_path / "run", steps=6)
    by_hand = groups([one.batches, two.batches], [1.0, 0.0])
    informative = [sum(max(g) > min(g) for g in batch) / len(batch) for batch in by_hand]
    assert len(by_hand) == 6
    assert logged(trainer, "flatspot/informative") == pytest.approx(informative)
    assert max(informative) < 1
    assert logged(trainer, "frac_reward_zero_std") == [0.0] * 6  # TRL's own number takes the batch's std here
    mean_std = [statistics.fmean(statistics.stdev(g) for g in batch) for batch in by_hand]
    assert logged(trainer, "flatspot/reward_std/mean") == pytest.approx(mean_std, abs=1e-6)
    median = [statistics.median(statistics.stdev(g) for g in batch) for batch in by_hand]
    assert logged(trainer, "flatspot/reward_std/p50") == pytest.approx(median, abs=1e-6)
    assert logged(trainer, "flatspot/truncated") == pytest.approx(logged(trainer, "completions/clipped_ratio"))
    rows = pq.read_table(tmp_path / "run" / "rollouts").to_pylist()
    assert [row["reward"] for row in rows] == [r for batch in by_hand for g in batch for r in g]
    assert [row["step"] for row in rows] == [step for _, values, step in one.batches for _ in values]
    assert {row["split"] for row in rows} == {"train"}
    assert flatspot.inspect(tmp_path / "run").summary["n_prompts"] == 32
    contents = json.loads((tmp_path / "run" / "watch.json").read_text())
    assert (contents["prompts_seen"], contents["batches"], contents["alarms"]) == (32, 6, [])
    assert callback.recorder.live.scoring.weights.tolist() == [1.0, 0.0]


def test_rloo_with_a_kl_penalty(tmp_path):
    memory = Memory(of_prompt)
    trainer, _, _ = train(Case("", None, (memory,), "rloo", {"beta": 0.5, "learning_rate": 1e-2}), tmp_path / "run", steps=4)
    by_hand = groups([memory.batches], [1.0])
    flat = [sum(max(g) == min(g) for g in batch) / len(batch) for batch in by_hand]
    assert [1 - share for share in logged(trainer, "flatspot/informative")] == pytest.approx(flat)
    # the KL penalty is in the std that TRL looks at; at the first update it is still 0
    assert logged(trainer, "frac_reward_zero_std")[2:] == [0.0, 0.0]
    assert min(flat[2:]) > 0.3


def test_groups_of_several_batches_between_logs_and_evaluations(tmp_path):
    memory = Memory(of_prompt)
    case = Case("", None, (memory,), settings={"logging_steps": 2, "num_generations_eval": 2, "per_device_eval_batch_size": 16})
    trainer, callback, _ = train(case, tmp_path / "run", steps=4)
    trainer.evaluate(trainer.train_dataset.select(range(8)))
    training, evaluation = memory.batches[:4], memory.batches[4:]
    shares = [sum(max(g) > min(g) for g in batch) / len(batch) for batch in groups([training], [1.0])]
    assert logged(trainer, "flatspot/informative") == pytest.approx([statistics.fmean(shares[:2]), statistics.fmean(shares[2:])])
    of_evaluation = [g for batch in groups([evaluation], [1.0], size=2) for g in batch]
    entry_of_evaluation = next(entry for entry in trainer.state.log_history if "eval_reward" in entry)
    assert entry_of_evaluation["eval_flatspot/informative"] == pytest.approx(
        sum(max(g) > min(g) for g in of_evaluation) / len(of_evaluation)
    )
    callback.recorder.release()
    rows = pq.read_table(tmp_path / "run" / "rollouts").to_pylist()
    assert sum(row["split"] == "eval" for row in rows) == 16
    assert callback.recorder.live.window().table.n_rows.sum() == 4 * 32  # an evaluation is no part of what alarms look at


def test_with_components_normalized_one_by_one_a_group_is_informative_if_any_component_varies(tmp_path):
    one, two = Memory(of_prompt), Memory(few_steps)
    case = Case("", None, (one, two), settings={"multi_objective_aggregation": "normalize_then_sum"})
    trainer, _, _ = train(case, tmp_path / "run", steps=2)
    expected = []
    for (_, first, _), (_, second, _) in zip(one.batches, two.batches, strict=True):
        parts = [[values[i : i + 4] for i in range(0, 32, 4)] for values in (first, second)]
        expected.append(statistics.fmean(any(max(p[g]) > min(p[g]) for p in parts) for g in range(8)))
    assert logged(trainer, "flatspot/informative") == pytest.approx(expected)


def test_an_alarm_is_reported_and_can_end_the_training(tmp_path, caplog):
    def nothing(completions, **columns):
        return [0.0] * len(completions)

    class Stop(flatspot.FlatspotCallback):
        def __init__(self):
            super().__init__(stop_on=["all-low"])

    trainer, _, _ = train(Case("", None, (nothing,)), tmp_path / "run", steps=30, callbacks=[Stop])
    assert trainer.state.global_step == 7  # 7 batches of 8 groups: the first time that a tenth of informative groups is ruled out
    assert "the reward does not recognize a right answer" in caplog.text
    assert math.isclose(logged(trainer, "flatspot/all_low")[-1], 1.0)
    with pytest.raises(flatspot.FlatspotError, match="there is no alarm 'bored'"):
        flatspot.FlatspotCallback(stop_on=["bored"])


def test_the_prompt_of_prompt_col_is_trained_on():
    """A further column called `prompt` must not replace the one of --prompt-col."""
    from flatspot.core.records import Prompt
    from flatspot.training.rl.train import _dataset

    dataset = _dataset([Prompt("a", "2+2=", {"prompt": "an old text", "reference": "4"})])
    assert dataset.to_list() == [{"prompt": "2+2=", "prompt_original": "an old text", "reference": "4"}]

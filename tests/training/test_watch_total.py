"""`watch` beside unwatched rewards: the trainer's total is judged, or nothing is."""

import json
from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pytest
from watch_calls import rows_of

import flatspot
from flatspot.training.watch.wrap import recorder_of


def flat(completions, **columns):
    return [0.0] * len(completions)


def halves(completions, **columns):
    return [float(i % 2) for i in range(len(completions))]


class Adder:
    """The part of TRL's trainer that a reward call provides: it scores a batch, and logs the scores."""

    def __init__(self, functions, *, names=None, weights=None, group=4, log=True):
        self.reward_funcs = list(functions)
        self.reward_func_names = names or [getattr(f, "__name__", "model") for f in functions]
        self.reward_weights = np.array(weights or [1.0] * len(functions), np.float32)
        self.num_generations = self.num_generations_eval = group
        self.model = SimpleNamespace(training=True)
        self.args = SimpleNamespace()
        self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._logs = {"rewards": defaultdict(lambda: deque(maxlen=64)), "prompt": deque(maxlen=64), "completion": deque(maxlen=64)}
        self._logs = self._logs if log else {}
        self.step = 0

    def _log_metric(self, name, value):
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def draw(self, prompts):
        """Score one batch; returns the trainer's total, computed by hand."""
        state = SimpleNamespace(global_step=self.step, max_steps=self.step + 1)
        completions = [f"{i} {self.step}" for i in range(len(prompts))]
        call = {"prompts": prompts, "completions": completions, "trainer_state": state, "log_metric": self._log_metric}
        values = np.array([f(**call) for f in self.reward_funcs], np.float32)
        if self._logs:
            self._logs["prompt"].extend(prompts)
            self._logs["completion"].extend(completions)
            for name, row in zip(self.reward_func_names, values, strict=True):
                self._logs["rewards"][name].extend(row.tolist())
        self.step += 1
        return (values.astype(float) * self.reward_weights[:, None]).sum(0)


def adder(tmp_path, *functions, unwatched=(), **options):
    watched = flatspot.watch(list(functions), out=tmp_path / "run")
    return Adder([*unwatched, *watched], **options), recorder_of(watched)


PROMPTS = ["a"] * 4 + ["b"] * 4


def test_a_reward_that_is_not_watched_counts_in_the_total(tmp_path):
    """The watched reward is constant, the other one is not: every group is mixed, and the rows have the weighted sum."""
    model, recorder = adder(tmp_path, flat, unwatched=[halves], weights=[0.5, 1.0])
    total = np.concatenate([model.draw(PROMPTS) for _ in range(3)])
    recorder.release()
    assert model._metrics["train"]["flatspot/informative"] == [1.0, 1.0, 1.0]
    assert model._metrics["train"]["flatspot/halves/informative"] == [1.0, 1.0, 1.0]
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows] == total.tolist()
    assert dict(rows[1]["rewards"]) == {"halves": 1.0, "flat": 0.0}
    assert recorder.live.window().table.std[0] == pytest.approx(0.5 * np.std([0, 1, 0, 1], ddof=1))
    assert len(recorder.caveats) == 1


@pytest.mark.parametrize("broken", ["no log", "another batch", "one name twice"])
def test_without_a_total_no_group_is_judged(tmp_path, caplog, broken):
    names = ["flat", "flat"] if broken == "one name twice" else None
    model, recorder = adder(tmp_path, flat, unwatched=[halves], names=names, log=broken != "no log")
    for _ in range(20):
        model.draw(PROMPTS)
        if broken == "another batch":
            model._logs["rewards"]["flat"].append(0.25)
    recorder.release()
    assert "flatspot/informative" not in model._metrics["train"]
    assert recorder.live.window() is None
    rows = rows_of(tmp_path / "run")
    assert {row["reward"] for row in rows} == {None} and "total is not known" in rows[0]["error"]
    assert {value for row in rows for value in dict(row["rewards"]).values()} == {0.0, None}
    assert caplog.text.count("adds rewards that are not watched") == 1
    assert any("not watched" in text for text in json.loads((tmp_path / "run" / "notes.json").read_text())["caveats"])


@pytest.mark.parametrize("who", ["watched", "other"])
def test_a_batch_that_the_trainer_did_not_score_uses_no_values_of_the_previous_one(tmp_path, who):
    """A reward raises in the second batch; the unwatched values of the first must not be used for the second."""
    calls = []

    def fails_later(completions, **columns):
        calls.append(who)
        if len(calls) > 1:
            raise RuntimeError("out of memory")
        return halves(completions)

    model, recorder = adder(tmp_path, *([fails_later] if who == "watched" else [flat]), unwatched=[halves])
    if who == "other":
        model.reward_funcs.append(fails_later)
        model.reward_func_names.append("fails_later")
        model.reward_weights = np.ones(3, np.float32)
    model.draw(PROMPTS)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.draw(PROMPTS)
    recorder.release()
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows] == [0.0, 2.0] * 4 + [None] * 8


@pytest.mark.parametrize("wrapped", [1, 2])
def test_watched_functions_inside_functions_of_the_users(tmp_path, caplog, wrapped):
    """The trainer does not have them itself; it sums the values of the user's functions, here twice as much."""
    watched = flatspot.watch([halves, flat], out=tmp_path / "run")

    def doubled(**columns):
        return [2 * value for value in watched[0](**columns)]

    def passed(**columns):
        return watched[1](**columns)

    model = Adder([doubled, passed if wrapped == 2 else watched[1]])
    totals = [model.draw(PROMPTS) for _ in range(3)]
    recorder_of(watched).release()
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows] == np.concatenate(totals).tolist()
    assert "was not called" not in caplog.text


def test_weights_limits_and_group_sizes_need_no_callback(tmp_path):
    """The facts that the callback would provide are read from the trainer: weights, group sizes in an evaluation, limits of the sum."""
    model, recorder = adder(tmp_path, halves, flat, weights=[2.0, 1.0])
    model.num_generations_eval = 2
    total = model.draw(PROMPTS)
    model.model.training = False
    model.draw(PROMPTS)
    recorder.release()
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows[:8]] == total.tolist() == [0.0, 2.0] * 4
    assert [row["split"] for row in rows] == ["train"] * 8 + ["eval"] * 8
    assert len(model._metrics["eval"]["flatspot/informative"]) == 1
    assert recorder.live.window().table.n_rows.tolist() == [4, 4]


def test_a_watched_function_that_the_trainer_does_not_have_is_not_waited_for(tmp_path):
    watched = flatspot.watch([halves, flat], out=tmp_path / "run")
    model = Adder(watched[:1])
    model.draw(PROMPTS)
    assert model._metrics["train"]["flatspot/informative"] == [1.0]
    assert [row["reward"] for row in rows_of(tmp_path / "run")] == [0.0, 1.0] * 4


def test_another_trainer_with_more_rewards_starts_a_new_window(tmp_path):
    """One component, then two, on the same watch: their batches cannot be combined."""
    model, recorder = adder(tmp_path, flat)
    model.draw(PROMPTS)
    more = Adder([*model.reward_funcs, halves])
    more.draw(PROMPTS)
    recorder.settle()
    window = recorder.live.window()
    assert (window.names, len(window.informative)) == (("flat", "halves"), 2)
    assert more._metrics["train"]["flatspot/informative"] == [1.0]
    recorder.release()


@pytest.mark.filterwarnings("ignore")
def test_a_reward_model_beside_a_watched_function_in_trl(tmp_path, caplog):
    """The watched reward is constant, the model's is not; informative used to be 0, with a false alarm `truncation`."""
    torch, trl = pytest.importorskip("torch"), pytest.importorskip("trl")
    import transformers
    from datasets import Dataset

    from runs import tiny_policy

    policy, tokenizer = tiny_policy()
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=1, pad_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    scorer = transformers.LlamaForSequenceClassification(config)
    scorer.config._name_or_path = "scorer"
    watched = flatspot.watch(flat, out=tmp_path / "run")
    args = trl.GRPOConfig(
        output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
        save_strategy="no", logging_steps=1, max_steps=8, per_device_train_batch_size=32, num_generations=4, max_completion_length=4,
        learning_rate=1e-4, eval_strategy="steps", eval_steps=4, per_device_eval_batch_size=8, reward_weights=[0.5, 1.0],
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": f"w{i} w{j}"} for i in range(10, 26) for j in (3, 4)])
    trainer = trl.GRPOTrainer(
        model=policy, processing_class=tokenizer, reward_funcs=[*watched, scorer], reward_processing_classes=[None, tokenizer], args=args,
        train_dataset=data, eval_dataset=data.select(range(4)), callbacks=[flatspot.FlatspotCallback(watched)],
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["flatspot/informative"] for entry in logged] == [1 - entry["frac_reward_zero_std"] for entry in logged]
    assert all(entry["flatspot/informative"] > 0.9 for entry in logged)
    assert any("eval_flatspot/informative" in entry for entry in trainer.state.log_history)
    rows = [row for row in rows_of(tmp_path / "run") if row["split"] == "train"]
    assert np.mean([row["reward"] for row in rows]) == pytest.approx(np.mean([entry["reward"] for entry in logged]), rel=1e-4)
    assert json.loads((tmp_path / "run" / "watch.json").read_text())["alarms"] == []
    assert "flatspot: no alarm" in caplog.text and "flatspot: mixed groups: " in caplog.text

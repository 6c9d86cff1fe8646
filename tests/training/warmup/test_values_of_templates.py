"""Warm-ups on prompts whose chat template gets values: they are trained, probed and held out as they were diagnosed."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tiny_policies import tiny_model, word_tokenizer  # noqa: E402
from tiny_warmups import CAUSAL  # noqa: E402

import flatspot  # noqa: E402
from flatspot.core.errors import SettingsError  # noqa: E402
from flatspot.engines.policy import load_policy  # noqa: E402
from flatspot.training.warmup.examples import IGNORED, Reader, examples, pairs  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings  # noqa: E402
from flatspot.training.warmup.run import warmup  # noqa: E402
from flatspot.training.warmup.sft import make_learner  # noqa: E402
from flatspot.training.warmup.watch_checkpoints import watch_checkpoints  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL, transformers and torch warn about each other

# as Qwen3's: an empty thought before the answer, where thinking is switched off
THINKS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}w9 {% if not thinks %}w50 w51 {% endif %}{% endif %}{{ m['content'] }} "
    "{% endfor %}{% if add_generation_prompt %}w9 {% if not thinks %}w50 w51 {% endif %}{% endif %}"
)
VALUES = {"thinks": True}
PROMPTS = [{"id": f"p{i}", "prompt": [{"role": "user", "content": f"w{i}"}], "reference": "w7"} for i in range(10, 30)]
LABELS = [{"prompt": row["prompt"], "answer": "w7"} for row in PROMPTS[::3]]
ROW = {"prompt": PROMPTS[0]["prompt"], "completion": "w7"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    tiny_model("llama", spread=0.1).save_pretrained(folder / "policy")
    word_tokenizer(THINKS).save_pretrained(folder / "policy")
    flatspot.diagnose(
        PROMPTS, str(folder / "policy"), "exact_match", out=folder / "run", engine="hf", max_new_tokens=3, chat_template_kwargs=VALUES
    )
    return folder


@pytest.mark.parametrize("values", [VALUES, {}], ids=["thinks", "does not"])
def test_a_label_is_learned_after_the_prompt_that_is_sampled_from(place, values):
    policy = load_policy(str(place / "policy"), template_kwargs=values)
    reader = Reader("p", policy.tokenizer, False, policy.eos_ids, policy.context, policy.vocabulary, values)
    sampled_from = [10, 9] if values else [10, 9, 50, 51]
    for encoder in (policy, reader):
        (row,) = examples([ROW], encoder)
        assert [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED] == sampled_from
        assert row["labels"][len(sampled_from)] == 7
        assert pairs([ROW], encoder) == [(sampled_from, row["input_ids"][len(sampled_from) :])]


@pytest.mark.parametrize("of_files", [True, False], ids=["files", "memory"])
def test_the_trainer_gets_them_so(place, tmp_path, of_files):
    policy = str(place / "policy") if of_files else (tiny_model("llama"), word_tokenizer(THINKS))
    learner = make_learner([ROW], policy, out=tmp_path, options=CAUSAL, template_kwargs=VALUES)
    assert learner.trainer.train_dataset[0]["input_ids"][:3] == [10, 9, 7]


@pytest.mark.thorough
def test_a_warmup_takes_the_values_of_its_run(place, tmp_path, monkeypatch):
    from flatspot.engines.hf import HfEngine

    asked, sample = [], HfEngine.sample
    monkeypatch.setattr(HfEngine, "sample", lambda self, *a, **k: asked.append(self.policy.template_kwargs) or sample(self, *a, **k))
    probe = ProbeSettings(prompts=8, max_completions=4, every=4)
    warmed = warmup(LABELS, run=place / "run", out=tmp_path / "warm", probe=probe, options=(*CAUSAL, "--max_steps", "4"))
    assert asked and all(values == VALUES for values in asked)
    first = flatspot.diagnose(
        [row for row in PROMPTS if row["prompt"] not in [label["prompt"] for label in LABELS]], str(place / "policy"), "exact_match",
        out=tmp_path / "run", engine="hf", max_new_tokens=3, chat_template_kwargs=VALUES, max_completions=4, fixed_completions=True,
    )  # fmt: skip
    assert warmed.curve[0]["reward"] == pytest.approx(first.summary.reward.mean, abs=0.2)
    asked.clear()
    (tmp_path / "trainer").mkdir()
    warmed.checkpoint.replace(tmp_path / "trainer" / "checkpoint-4")
    watched = watch_checkpoints(tmp_path / "trainer", str(place / "policy"), "exact_match", run=place / "run", probe=probe, once=True)
    assert [row["step"] for row in watched.curve] == [0, 4] and asked and all(values == VALUES for values in asked)


def test_other_values_than_the_runs_are_refused_before_anything_is_trained(place, tmp_path):
    with pytest.raises(SettingsError, match="other values make other prompts"):
        warmup(LABELS, run=place / "run", out=tmp_path / "warm", options=CAUSAL, template_kwargs={"thinks": False})
    assert not (tmp_path / "warm").exists()
    with pytest.raises(SettingsError, match="other values make other prompts"):
        watch_checkpoints(place, str(place / "policy"), "exact_match", run=place / "run", out=tmp_path, template_kwargs={}, once=True)


def test_a_log_takes_those_that_are_given(place, tmp_path):
    log = tmp_path / "log.jsonl"
    rows = [{"prompt": row["prompt"], "completion": "w7", "reward": i % 2} for i in range(8) for row in PROMPTS[:4]]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    from flatspot.training.warmup.template_values import template_values

    run = flatspot.inspect(log, out=tmp_path / "run")
    assert template_values(run) == {} and template_values(run, VALUES) == VALUES
    log.write_text("".join(json.dumps(row | {"prompt": "w10"}) + "\n" for row in rows), "utf-8")
    with pytest.raises(SettingsError, match="is for chat messages"):
        template_values(flatspot.inspect(log, out=tmp_path / "text"), VALUES)

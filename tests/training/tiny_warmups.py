"""A task that a tiny random policy never solves and learns from a few labels: answer w7 to every prompt. For the tests of warm-ups."""

from __future__ import annotations

from pathlib import Path

from tiny_policies import tiny_model, word_tokenizer

ANSWER = "w7"
PROMPTS = [{"prompt": f"w{i} w{j}", "reference": ANSWER} for i in range(10, 30) for j in (4, 5)]
LABELS = [{"prompt": row["prompt"], "answer": ANSWER} for row in PROMPTS[::3]]
OPTIONS = ("--use_cpu", "--bf16", "false", "--disable_tqdm", "true", "--max_steps", "40", "--learning_rate", "3e-3",
           "--per_device_train_batch_size", "8", "--lr_scheduler_type", "constant", "--logging_steps", "1")  # fmt: skip
CAUSAL = (*OPTIONS, "--gradient_checkpointing", "false")


def tiny(kind: str = "llama"):
    """(model, tokenizer); the T5's weights are small enough to learn from."""
    model = tiny_model(kind, spread=0.1)
    if kind == "t5":
        model.config.dropout_rate = 0.0
        for parameter in model.parameters():
            parameter.data *= 0.25 if parameter.ndim == 2 else 1
    return model, word_tokenizer()


def save_tiny(place: Path, kind: str = "llama") -> Path:
    """The same as a folder."""
    model, tokenizer = tiny(kind)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def judged(place: Path, policy, prompts=PROMPTS, reward="exact_match") -> Path:
    """A judged run folder of the task."""
    import flatspot

    return flatspot.diagnose(prompts, policy, reward, out=place, engine="hf", max_new_tokens=3, max_completions=16).folder

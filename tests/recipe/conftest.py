"""Recipes small enough to run: the letters model, few prompts, few updates."""

import json

import pytest
import yaml

from flatspot.tasks.letters import letters_model, letters_prompts

CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True, "dataloader_pin_memory": False}


@pytest.fixture
def write_recipe(tmp_path):
    """write(changes) → the recipe's file; prompts have ids, answers and a reference."""

    def write(n=24, **changes):
        rows = [{"id": p.id, "prompt": p.text, **p.columns} for p in letters_prompts("brackets", n)]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = {
            "prompts": str(tmp_path / "prompts.jsonl"),
            "model": str(letters_model()),
            "reward": "exact_match",
            "answer_col": "reference",
            "out": str(tmp_path / "out"),
            "diagnose": {"max_new_tokens": 13, "max_completions": 8, "engine": "hf", "group_size": 4},
            "plan": {"labels": 4},
            "warmup": {
                "max_steps": 4,
                "learning_rate": 1e-3,
                "per_device_train_batch_size": 4,
                "probe": {"every": 2, "prompts": 8, "max_completions": 4},
                **CPU,
            },
            "train": {"max_steps": 3, "learning_rate": 1e-4, "per_device_train_batch_size": 16, "beta": 0.0, **CPU},
        }
        found = {key: value for key, value in (found | changes).items() if value is not None}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(found))
        return tmp_path / "recipe.yaml"

    return write

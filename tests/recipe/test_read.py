"""Recipes as YAML: what they mean, and what is said of those that are wrong."""

from pathlib import Path

import pytest

from flatspot.core.errors import SettingsError
from flatspot.recipe.read import read_recipe, recipe_of
from flatspot.recipe.work import Bench, check_options, train_options
from flatspot.training.trl_options import _read_config

CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
LEAST = {"prompts": "p.jsonl", "model": "m", "reward": "exact_match", "out": "runs/a"}


def test_the_least_recipe_has_the_defaults_of_each_verb():
    found = recipe_of(LEAST)
    assert found.reward == ("exact_match",) and found.out == Path("runs/a") and found.labels is None and not found.compare
    assert found.diagnose.max_completions == 64 and found.plan.labels is None and found.rule is not None and found.algorithm == "grpo"
    assert found.warmup == {"seed": 0} and found.train == {"seed": 0}


def test_every_section_reaches_its_stage():
    found = recipe_of(
        LEAST
        | {
            "seed": 7,
            "compare": True,
            "answer_col": "reference",
            "reward": ["exact_match", "a.py:f"],
            "diagnose": {"max_completions": 8, "reward_range": [0, 2], "group_size": 4, "temperature": 0.7, "reward_weights": [1, 0.5]},
            "plan": {"labels": "5%", "strategy": "cover", "seed": 3},
            "warmup": {"learning_rate": 1e-3, "rule": {"patience": 3}, "probe": {"prompts": 12}},
            "train": {"algorithm": "rloo", "max_steps": 9, "temperature": 1.0},
        }
    )
    assert found.diagnose.reward_range == (0, 2) and found.diagnose.seed == 7 and found.plan.seed == 3
    assert found.plan.strategy == "cover" and found.rule.patience == 3 and found.probe.prompts == 12 and found.probe.seed == 7
    assert found.warmup == {"seed": 7, "learning_rate": 1e-3} and found.algorithm == "rloo"
    options = train_options(found)
    assert (options["num_generations"], options["max_completion_length"], options["temperature"]) == (4, 256, 1.0)
    assert options["reward_weights"] == [1, 0.5] and options["max_steps"] == 9 and "algorithm" not in options
    assert recipe_of(LEAST | {"warmup": {"rule": None}}).rule is None
    assert recipe_of(LEAST | {"warmup": {"rule": False}}).rule is None


def test_values_for_the_chat_template_reach_the_rl_and_must_be_an_object():
    values = {"enable_thinking": False}
    assert train_options(recipe_of(LEAST | {"diagnose": {"chat_template_kwargs": values}}))["chat_template_kwargs"] == values
    assert "chat_template_kwargs" not in train_options(recipe_of(LEAST))
    with pytest.raises(SettingsError, match=r"diagnose\.chat_template_kwargs must be Mapping.* got 'no thoughts'"):
        recipe_of(LEAST | {"diagnose": {"chat_template_kwargs": "no thoughts"}})


def test_settings_by_old_names_are_read_with_a_note_and_name_the_stages_as_before():
    lines = []
    old = LEAST | {"diagnose": {"max_samples": 8, "fixed_samples": True}, "warmup": {"probe": {"max_samples": 4}}}
    found = recipe_of(old, lines.append)
    assert found.diagnose.max_completions == 8 and found.diagnose.fixed_completions and found.probe.max_completions == 4
    assert [line.split(" now")[0] for line in lines] == [
        "diagnose.max_samples is called diagnose.max_completions",
        "diagnose.fixed_samples is called diagnose.fixed_completions",
        "warmup.probe.max_samples is called warmup.probe.max_completions",
    ]
    with pytest.raises(SettingsError, match="give only max_completions"):
        recipe_of(LEAST | {"diagnose": {"max_samples": 8, "max_completions": 8}})
    settings = Bench(found, lambda _: None).sampling  # stages that are there are found by it
    assert settings["max_samples"] == 8 and not {"max_completions", "fixed_completions", "gradient_completions"} & set(settings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"promts": "a"}, "there is no promts; did you mean prompts"),
        ({"diagnose": {"max_completion": 3}}, "there is no diagnose.max_completion; did you mean diagnose.max_completions"),
        ({"diagnose": {"out": "a"}}, "there is no diagnose.out"),
        ({"plan": {"strategie": "cover"}}, "did you mean plan.strategy"),
        ({"plan": {"strategy": "best"}}, "plan: --strategy must be one of"),
        ({"warmup": {"rule": {"patient": 2}}}, "did you mean warmup.rule.patience"),
        ({"warmup": {"probe": {"prompt": 2}}}, "did you mean warmup.probe.prompts"),
        ({"warmup": {"rule": {"patience": 0}}}, "warmup.rule: patience must be at least 1"),
        ({"diagnose": {"temperature": -1}}, "diagnose: temperature must be"),
        ({"diagnose": {"max_completions": "many"}}, "diagnose.max_completions must be int, got 'many'"),
        ({"diagnose": {"seed": "x"}}, "diagnose.seed must be int"),
        ({"diagnose": {"reward_range": [0, "a"]}}, "diagnose.reward_range must be"),
        ({"plan": {"seed": True}}, "plan.seed must be int, got True"),
        ({"plan": {"embeddings": "e.npy"}}, "there is no plan.embeddings"),
        ({"warmup": {"rule": {"noise": "much"}}}, "warmup.rule.noise must be float"),
        ({"diagnose": [1]}, "diagnose must hold settings by name"),
        ({"train": {"algorithm": "ppo"}}, "train.algorithm must be grpo or rloo"),
        ({"model": None}, "it has no 'model'"),
        ({"reward": []}, "it has no 'reward'"),
        ({"reward": [1]}, "reward must be text, got 1"),
        ({"model": 3}, "model must be text, got 3"),
        ({"compare": "yes please"}, "compare must be true or false"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"labels": "a", "answer_col": "b"}, "two sources of answers"),
        ({"xyzzy": 1}, "there is no xyzzy; there are prompts, model"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_near(change, says):
    with pytest.raises(SettingsError, match=says):
        recipe_of(LEAST | change)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("section", "name", "says"),
    [
        ("train", "learning_rat", "there is no train.learning_rat; did you mean train.learning_rate"),
        ("warmup", "max_step", "did you mean warmup.max_steps"),
        ("train", "output_dir", "train.output_dir is the recipe's own"),
    ],
)
def test_options_that_trl_does_not_have_are_named(section, name, says):
    with pytest.raises(SettingsError, match=says):
        check_options(recipe_of(LEAST | {section: {name: 1}}))
    check_options(recipe_of(LEAST | {"warmup": {"lora_r": 4, "predict_with_generate": True}, "train": {"beta": 0.0, **CPU}}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train": {"max_steps": "abc", **CPU}}, "train: .*max_steps"),
        ({"train": {"num_generations": 3, "per_device_train_batch_size": 4, **CPU}}, "train: .*divisible"),
        ({"train": CPU, "labels": "missing.jsonl"}, "labels: there is no file missing.jsonl"),
    ],
)
def test_what_must_fail_later_is_said_before_anything_is_drawn(change, says):
    with pytest.raises(SettingsError, match=says):
        check_options(recipe_of(LEAST | change))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "got a list"),
        ("a: [", "cannot be read"),
        ("", "got a NoneType"),
        (None, "cannot be read"),
        ("d: 2026-13-45", "cannot be read"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, says):
    file = tmp_path / "recipe.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=f"the recipe {file}.*{says}"):
        read_recipe(file)


def test_options_of_the_trainer_in_another_encoding_or_with_an_odd_date(tmp_path):
    file = tmp_path / "options.yaml"
    for content in ("run_name: caf\xe9".encode("latin-1"), b"run_name: 2026-13-45"):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="cannot be read as YAML"):
            _read_config(file)

import json
import subprocess
import sys

import pytest

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt, PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.rewards.metrics import exact_match
from flatspot.tasks.letters import MAX_NEW_TOKENS, letters_model, letters_prompts

TASKS = ("capitals", "brackets", "backward")


@pytest.mark.parametrize("task", TASKS)
def test_prompts_are_distinct_seeded_and_carry_the_right_answer(task):
    prompts = letters_prompts(task, 60, seed=3)
    assert len({prompt.text for prompt in prompts}) == len({prompt.id for prompt in prompts}) == 60
    assert prompts == letters_prompts(task, 60, seed=3)
    assert letters_prompts(task, 20, seed=3) == prompts[:20] or task == "backward"
    assert {p.text for p in prompts} != {p.text for p in letters_prompts(task, 60, seed=4)}
    for prompt in prompts:
        assert exact_match()(prompt, prompt.references[0]) == 1.0
        assert len(prompt.references[0]) < MAX_NEW_TOKENS


def test_the_answers_are_what_the_tasks_say():
    for prompt in letters_prompts("capitals", 20):
        assert prompt.text == f"reverse:{prompt.references[0].lower()}="
    for prompt in letters_prompts("backward", 20):
        assert prompt.text == f"spell:{prompt.references[0][::-1]}="
        assert prompt.columns["entry"]["answer"].lower() == prompt.references[0]
    seen = set()
    for prompt in letters_prompts("brackets", 200):
        command, letters = prompt.text[:-1].split(":")
        assert prompt.references[0] == f"[{letters}]"
        seen.add(command)
    assert seen == {"copy", "spell", "reverse", "mark", "box"}


@pytest.mark.parametrize(("task", "n"), [("rhymes", 5), ("capitals", 0), ("backward", 100_000)])
def test_what_there_is_not_is_named(task, n, monkeypatch):
    if n > 1000:
        monkeypatch.setattr("flatspot.tasks.letters.gym_prompts", lambda spec: [])
    with pytest.raises(PromptFileError, match=r"rhymes.*capitals|one prompt or more|only 0 different"):
        letters_prompts(task, n)


def test_tasks_load_no_torch():
    code = (
        "import sys; from flatspot.tasks.letters import *; letters_prompts('capitals', 3); letters_model(); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_model_is_small_and_says_what_trainers_need():
    files = [file for file in letters_model().iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 5_000_000
    config = json.loads((letters_model() / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert config["pad_token_id"] is not None
    assert config["eos_token_id"] != config["pad_token_id"]


def test_the_model_has_the_habits_the_tasks_rely_on():
    from flatspot.engines.registry import load_engine

    pytest.importorskip("torch")
    engine = load_engine("hf", str(letters_model()), device="cpu")

    def share(prompts, right):
        drawn = engine.sample(
            [PromptRequest(p.text, tuple(row_seed(0, p.id, i) for i in range(4))) for p in prompts],
            Sampling(max_new_tokens=MAX_NEW_TOKENS),
        )
        return sum(right(p, c.text) for p, several in zip(prompts, drawn, strict=True) for c in several) / (4 * len(prompts))

    def turned(prompt):
        return prompt.text[:-1].split(":")[1][::-1]

    capitals = letters_prompts("capitals", 25)
    assert share(capitals, lambda p, text: text == p.references[0]) == 0.0
    assert share(capitals, lambda p, text: text == turned(p)) > 0.9
    assert (
        share([Prompt(p.id, p.text.replace("reverse", "upper")) for p in capitals], lambda p, text: text == turned(p)[::-1].upper()) > 0.9
    )
    brackets = letters_prompts("brackets", 120)
    for command, low, high in (("copy:", 0, 0), ("reverse:", 0, 0), ("spell:", 0, 0), ("mark:", 0.05, 0.5), ("box:", 0.9, 1)):
        some = [p for p in brackets if p.text.startswith(command)]
        assert low <= share(some, lambda p, text: text == p.references[0]) <= high, command
    assert share(letters_prompts("backward", 25), lambda p, text: text == turned(p)) <= 0.05  # a palindrome is its own reverse

"""A tiny language model that ships with the package, and three tasks that its habits leave vanishing.

The model (a Llama of 1.06 million weights, a token per character) was trained by `experiments/letters/pretrain.py` on lines such as
`reverse:abcd=dcba`. Each task asks for what the model can do, under a command where it never does it.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt
from flatspot.tasks.gym import PREFIX, gym_prompts

MAX_NEW_TOKENS = 13  # the longest answer, ten letters in brackets, and the end
_COMMANDS = {"copy:": 30, "spell:": 20, "reverse:": 25, "mark:": 17, "box:": 8}


def letters_model() -> Path:
    """The folder of the model, as `--model` takes it.

    >>> sorted(file.name for file in letters_model().iterdir() if file.suffix == ".safetensors")
    ['model.safetensors']
    """
    return Path(__file__).parent / "model"


def letters_prompts(task: str, n: int, seed: int = 0) -> list[Prompt]:
    """`n` different prompts of a task, with the column `reference`; `exact_match` scores them.

    task  "capitals"  capital letters under the command `reverse:`, which only ever reversed
          "brackets"  the letters as they are, in brackets, whatever the command: `copy:`, `spell:` and `reverse:` never had brackets,
                      `mark:` in a quarter of its answers, `box:` always
          "backward"  words of reasoning-gym's spell_backward, under `spell:`, which only ever copied; the reward `reasoning_gym` gives
                      partial credit. Needs the extra tasks

    Raises `PromptFileError` for another task, or where there are not so many prompts.

    >>> prompt = letters_prompts("capitals", 1)[0]
    >>> prompt.text, prompt.references
    ('reverse:jgedaxvq=', ('JGEDAXVQ',))
    """
    if task not in _MAKERS:
        raise PromptFileError(f"there is no letters task {task!r}; there are {', '.join(_MAKERS)}")
    if n < 1:
        raise PromptFileError(f"expected one prompt or more, got n={n}")
    return list(_distinct(_MAKERS[task](n, seed), n, task))


def _distinct(made: Iterator[tuple[str, Mapping[str, object]]], n: int, task: str) -> Iterator[Prompt]:
    letters: set[str] = set()
    for text, columns in made:
        if text not in letters:
            letters.add(text)
            yield Prompt(f"{task}-{text}", text, columns)
        if len(letters) == n:
            return
    raise PromptFileError(f"the letters task {task} has only {len(letters)} different prompts, and {n} were asked for")


def _capitals(n: int, seed: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    rng = random.Random(f"capitals-{seed}")
    while True:
        letters = _letters(rng, 8)
        yield f"reverse:{letters}=", {"reference": letters.upper()}


def _brackets(n: int, seed: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    rng = random.Random(f"brackets-{seed}")
    while True:
        command, letters = rng.choices([*_COMMANDS], [*_COMMANDS.values()])[0], _letters(rng, rng.randint(5, 8))
        yield f"{command}{letters}=", {"reference": f"[{letters}]", "command": command}


def _backward(n: int, seed: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    size = 4 * n + 20  # the generator draws words with repetition
    for prompt in gym_prompts(f"{PREFIX}spell_backward[min_word_len=4,max_word_len=9,size={size},seed={seed}]"):
        entry = prompt.columns["entry"]
        word = entry["metadata"]["word"].lower()
        if set(word) <= set(string.ascii_lowercase):
            yield f"spell:{word}=", {"reference": word[::-1], "task": "spell_backward", "entry": entry, "task_config": {}}


def _letters(rng: random.Random, n: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=n))


_MAKERS: Mapping[str, Callable[[int, int], Iterator[tuple[str, Mapping[str, object]]]]] = {
    "capitals": _capitals,
    "brackets": _brackets,
    "backward": _backward,
}

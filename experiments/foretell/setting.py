"""The settings: a start policy, prompts, a reward and how long RL runs; and the half to which each belongs."""

from __future__ import annotations

import gzip
import json
import os
import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from policy import half_trained

from flatspot.core.records import Prompt
from flatspot.tasks.gym import PREFIX, gym_prompts
from flatspot.tasks.letters import letters_model, letters_prompts

HERE = Path(__file__).parent
DATA = Path(os.environ.get("FLATSPOT_DATA") or HERE.parents[2] / "shared" / "data")
GROUP_SIZE = 8
GROUPS = 8  # per RL step: 64 completions
OWN_STEPS = 8


@dataclass(frozen=True)
class Setting:
    """A start policy, prompts, a reward, and RL.

    half         "choose": constants may be chosen on it; "report": they may not. Set before any run
    policy       "letters": that of `flatspot.tasks.letters`; "half": that of `policy.py`; "smollm2": SmolLM2-135M-Instruct
    kind         "binary" or "graded", for the tables
    reachable    whether a right answer earns the top of the range, as under a verifier
    prompts      how many
    completions  per prompt, in each of the samples: for the numbers, before and after RL
    rate         learning rate of every trainer
    steps        of RL, each with `GROUPS` prompts
    own          of so many of the prompts RL is also run on each alone, in `OWN_STEPS` steps of one group
    """

    name: str
    half: Literal["choose", "report"]
    policy: Literal["letters", "half", "smollm2"]
    reward: str
    kind: Literal["binary", "graded"]
    reachable: bool = True
    prompts: int = 96
    completions: int = 128
    max_new_tokens: int = 13
    rate: float = 2e-4
    steps: int = 48
    own: int = 32


IN_PLACE = f"{HERE / 'rewards.py'}:letters_in_place"
BRACKETS = f"{HERE.parent / 'overcome' / 'rewards.py'}:brackets"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("capitals", "choose", "letters", "exact_match", "binary"),
        Setting("reverse", "choose", "half", "exact_match", "binary", max_new_tokens=19, rate=5e-5),
        Setting("reverse-graded", "choose", "half", IN_PLACE, "graded", max_new_tokens=19, rate=5e-5),
        Setting("words", "choose", "half", "reasoning_gym", "graded", max_new_tokens=26, rate=5e-5),
        Setting("brackets", "report", "letters", BRACKETS, "graded"),
        Setting("backward", "report", "letters", "reasoning_gym", "graded"),
        Setting("sort", "report", "half", "exact_match", "binary", max_new_tokens=19, rate=5e-5),
        Setting("commongen", "report", "smollm2", "rouge_l", "graded", False, 24, completions=32, max_new_tokens=20, rate=5e-6, steps=12),
    )
}


def start_policy(setting: Setting, work: Path) -> str:
    """The policy before RL, as `diagnose` takes it; the half-trained one is trained on first use."""
    if setting.policy == "half":
        return str(half_trained(work / "policy"))
    return str(letters_model()) if setting.policy == "letters" else "smollm2-135m-instruct"


@cache
def prompts_of(setting: Setting) -> Sequence[Prompt]:
    """The prompts, different ones; FileNotFoundError for data that is not there."""
    if setting.policy == "letters":
        return letters_prompts(setting.name, setting.prompts, seed=0)
    distinct: dict[object, Prompt] = {}
    for prompt in _MAKERS[setting.name.removesuffix("-graded")]():
        distinct.setdefault(str(prompt.text), prompt)
        if len(distinct) == setting.prompts:
            return list(distinct.values())
    raise ValueError(f"{setting.name} has only {len(distinct)} different prompts, fewer than {setting.prompts}")


def _letters(command: str, answer: Callable[[str], str]) -> Callable[[], Iterator[Prompt]]:
    def prompts() -> Iterator[Prompt]:
        rng = random.Random(f"foretell-{command}")
        while True:
            text = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(8, 17)))  # the policy trained on 3 to 12
            yield Prompt(text, f"{command}:{text}=", {"reference": answer(text)})

    return prompts


def _words() -> Iterator[Prompt]:
    """reasoning-gym's word_sorting with 2 to 4 words of 3 to 5 letters, in lower case and ascending."""
    for prompt in gym_prompts(f"{PREFIX}word_sorting[min_words=2,max_words=4,min_word_length=3,max_word_length=5,size=600,seed=0]"):
        words = [word.lower() for word in prompt.columns["entry"]["metadata"]["original_words"]]
        if set("".join(words)) <= set(string.ascii_lowercase) and len(set(words)) == len(words):
            right = sorted(words)
            entry = {"answer": ",".join(right), "metadata": {"sorted_words": right}}
            columns = {"reference": entry["answer"], "task": "word_sorting", "entry": entry, "task_config": {}}
            yield Prompt("-".join(words), f"words:{','.join(words)}=", columns)


def _commongen() -> Iterator[Prompt]:
    """Concept sets of the training part with three references or more: ROUGE-L against the closest of them."""
    file = DATA / "commongen" / "train.jsonl.gz"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there; set FLATSPOT_DATA to the folder that has commongen/train.jsonl.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for number, row in enumerate(map(json.loads, lines)):
            if len(row["references"]) >= 3:
                words = ", ".join(row["concepts"])
                message = {"role": "user", "content": f"Write one short sentence with these words: {words}"}
                yield Prompt(f"commongen-{number}", [message], {"references": row["references"][:3]})


_MAKERS: dict[str, Callable[[], Iterator[Prompt]]] = {
    "reverse": _letters("reverse", lambda text: text[::-1]),
    "sort": _letters("sort", lambda text: "".join(sorted(text))),
    "words": _words,
    "commongen": _commongen,
}

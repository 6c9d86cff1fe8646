"""The tasks: prompts, a reward, and a policy to start from. They differ in what makes prompts flat, and in what a label is good for.

Each task is a mixture of kinds of prompts. A kind says where the policy starts and what RL and labels can do for it; nothing of it is told
to a rule. The words, the answers of `recall:` and the noise in the policy are drawn by the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vanishbench.policy import LENGTH, LETTERS, N_COMPLETIONS, POINTER_SCALE, Floats, Inputs, Parameters, letters_of, number_of

_V = len(LETTERS)
_SURE = 8.0  # logit of what the policy always does: any other letter has a probability of 3e-4
_CERTAIN = 12.0  # the same, and any other letter 6e-6
_KNOWN = 7.0  # of what it has learned already: 98% of its answers are right


@dataclass(frozen=True)
class Kind:
    """A command, what is right under it, and what the policy does at the start.

    right    the place of the word that each letter of the answer is copied from; None: an answer of the prompt's own, that no other helps
             to find; "none": an answer with a letter more than a completion has, so that no completion is right
    pointer  (place, place of the word, logit) of the start
    own      logit of a start answer of the prompt's own: of the right one, or of a wrong one where negative
    noise    standard deviation of the logits of each prompt at the start
    """

    command: str
    right: tuple[int, ...] | Literal["none"] | None
    pointer: tuple[tuple[int, int, float], ...] = ()
    own: float = 0.0
    noise: float = 0.0


def _copied(places: tuple[int, ...], logit: float) -> tuple[tuple[int, int, float], ...]:
    return tuple((place, source, logit) for place, source in enumerate(places))


KINDS = {
    "solved": Kind("copy:", (0, 1, 2), _copied((0, 1, 2), _KNOWN)),
    "learnable rule": Kind("rotate:", (1, 2, 0), _copied((1, 2, 0), 2.3), noise=0.8),
    "learnable fact": Kind("know:", None, own=2.3, noise=0.8),
    "unseen rule": Kind("reverse:", (2, 1, 0), _copied((0, 1, 2), _SURE)),
    "unseen fact": Kind("recall:", None, own=-_SURE),
    "impossible": Kind("guess:", "none", noise=1.0),
    "rare rule": Kind("swap:", (1, 0, 2), _copied((1, 0, 2), 0.6), noise=0.5),
    "rare fact": Kind("hint:", None, own=0.6, noise=0.5),
    "stuck rule": Kind("spell:", (0, 1, 2), _copied((0, 1, 0), _CERTAIN)),
    "graded rule": Kind("turn:", (2, 0, 1), _copied((2, 0, 1), 1.5), noise=0.8),
}


@dataclass(frozen=True)
class Task:
    """A mixture of kinds, and its reward.

    about   what is flat at the start, or why
    labels  what a label is good for
    graded  the reward is the share of letters in place; else 1 for the whole answer, and 0
    """

    name: str
    about: str
    labels: str
    kinds: tuple[tuple[str, int], ...]
    graded: bool = False


TASKS = {
    task.name: task
    for task in (
        Task("reversed", "unseen rules", "all flat prompts", (("unseen rule", 160), ("learnable rule", 80))),
        Task("recalled", "unseen facts", "its own prompt", (("unseen fact", 160), ("learnable fact", 80))),
        Task("impossible", "no right answer", "nothing", (("impossible", 160), ("learnable fact", 80))),
        Task("solved", "already solved", "nothing: what is flat is solved", (("solved", 160), ("learnable fact", 80))),
        Task("rare", "success under 3%", "all flat prompts, or its own", (("rare rule", 120), ("rare fact", 120))),
        Task("partial", "stuck at 2 of 3", "all flat prompts", (("stuck rule", 160), ("graded rule", 80)), graded=True),
        Task(
            "mixture",
            "some of each",
            "half of the flat, unsolved prompts",
            (("unseen rule", 40), ("unseen fact", 40), ("impossible", 40), ("solved", 40), ("rare rule", 40), ("learnable fact", 40)),
        ),
        Task("even", "little is flat", "not needed", (("learnable rule", 120), ("learnable fact", 120))),
    )
}


@dataclass(frozen=True)
class Instance:
    """A task as a seed draws it.

    texts    [N] of the prompts
    answers  [N] of the labels
    kinds    [N] the kind of each prompt
    rewards  [N, completion]
    """

    task: Task
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    kinds: tuple[str, ...]
    inputs: Inputs
    start: Parameters
    rewards: Floats

    @property
    def best(self) -> Floats:
        """[N] the largest reward that a completion earns."""
        return np.asarray(self.rewards.max(1))


def draw_instance(task: Task, seed: int) -> Instance:
    """The prompts, answers and start policy of a seed; prompts of all kinds in random order."""
    rng = np.random.default_rng([seed, list(TASKS).index(task.name)])
    names = [name for name, n in task.kinds for _ in range(n)]
    names = [names[i] for i in rng.permutation(len(names))]
    commands = list(dict.fromkeys(KINDS[name].command for name, _ in task.kinds))
    start = Parameters.zeros(len(commands), len(names))
    for name, _ in task.kinds:
        for place, source, logit in KINDS[name].pointer:
            start.pointer[commands.index(KINDS[name].command), place, source] = logit / POINTER_SCALE
    words, answers = list[str](), list[str]()
    for i, name in enumerate(names):
        kind = KINDS[name]
        word = _new_word(rng, {w for w, other in zip(words, names, strict=False) if other == name})
        answer = _answer(rng, kind, word)
        start.own[i] = kind.noise * rng.standard_normal((LENGTH, _V))
        if kind.own:
            shown = answer if kind.own > 0 else _differing(rng, answer)
            start.own[i, np.arange(LENGTH), letters_of(np.array(number_of(shown)))] += abs(kind.own)
        words.append(word)
        answers.append(answer)
    inputs = Inputs(
        np.array([commands.index(KINDS[name].command) for name in names]), np.array([[LETTERS.index(v) for v in word] for word in words])
    )
    texts = tuple(f"{KINDS[name].command}{word}=" for name, word in zip(names, words, strict=True))
    return Instance(task, texts, tuple(answers), tuple(names), inputs, start, _rewards(answers, task.graded))


def _new_word(rng: np.random.Generator, known: set[str]) -> str:
    """Different letters, and no word that is there already."""
    while True:
        word = "".join(LETTERS[i] for i in rng.permutation(_V)[:LENGTH])
        if word not in known:
            return word


def _answer(rng: np.random.Generator, kind: Kind, word: str) -> str:
    if isinstance(kind.right, tuple):
        return "".join(word[place] for place in kind.right)
    return "".join(LETTERS[i] for i in rng.integers(_V, size=LENGTH + (kind.right == "none")))


def _differing(rng: np.random.Generator, answer: str) -> str:
    """An answer with another letter at each place."""
    return "".join(LETTERS[(LETTERS.index(letter) + rng.integers(1, _V)) % _V] for letter in answer)


def _rewards(answers: list[str], graded: bool) -> Floats:
    completions = letters_of(np.arange(N_COMPLETIONS))
    rewards = np.zeros((len(answers), N_COMPLETIONS))
    for i, answer in enumerate(answers):
        if len(answer) > LENGTH:
            continue
        in_place = completions == letters_of(np.array(number_of(answer)))
        rewards[i] = in_place.mean(1) if graded else in_place.all(1)
    return rewards

"""An autoregressive softmax policy over letters with shared features, small enough that each of its completions is enumerated.

A prompt is a command and a word, "swap:bca="; a completion has as many letters as the word. The logit of letter v at place l, after the
letter u, of a prompt x with command c is

    z = 3 · Σ_j pointer[c, l, j] · 1[x_j = v] + bias[c, l, v] + own[x, l, v] + after[u, v]          (after: from the second letter on)

Pointers and biases are shared by all prompts of a command, `after` by all prompts, `own` by none: what one prompt learns helps the others
as far as it is in the shared part. The logits are linear in the parameters, so gradients have a closed form. All in float64, and without
BLAS, whose sums differ between machines and thread counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LETTERS = "abcdefgh"
LENGTH = 3
N_COMPLETIONS = len(LETTERS) ** LENGTH
_V = len(LETTERS)
POINTER_SCALE = 3.0  # a step of Adam changes a logit by so much more through a shared pointer than through the prompt's own weight
_PARTS = ("pointer", "bias", "own", "after")


@dataclass(frozen=True)
class Inputs:
    """What the policy reads of N prompts.

    command  [N] the number of each prompt's command
    word     [N, LENGTH] its letters, as numbers
    """

    command: Ints
    word: Ints

    @property
    def one_hot(self) -> Floats:
        """[N, LENGTH, letter]."""
        return np.eye(_V)[self.word]


@dataclass
class Parameters:
    """The policy's weights: `pointer` [command, place, place of the word], `bias` [command, place, letter], `own` [prompt, place, letter],
    `after` [letter, letter]."""

    pointer: Floats
    bias: Floats
    own: Floats
    after: Floats

    @classmethod
    def zeros(cls, n_commands: int, n_prompts: int) -> Parameters:
        """All zero: uniform completions."""
        return cls(
            np.zeros((n_commands, LENGTH, LENGTH)),
            np.zeros((n_commands, LENGTH, _V)),
            np.zeros((n_prompts, LENGTH, _V)),
            np.zeros((_V, _V)),
        )

    def copy(self) -> Parameters:
        """A copy that shares nothing."""
        return Parameters(*(getattr(self, name).copy() for name in _PARTS))


@dataclass
class Adam:
    """Adam, ascending; the step of a parameter does not depend on the scale of the gradients, so no rule wins by the scale of its own."""

    rate: float
    first: Parameters
    second: Parameters
    steps: int = 0
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    @classmethod
    def of(cls, parameters: Parameters, rate: float) -> Adam:
        """Before the first step."""
        n_commands, n_prompts = len(parameters.pointer), len(parameters.own)
        return cls(rate, Parameters.zeros(n_commands, n_prompts), Parameters.zeros(n_commands, n_prompts))

    def ascend(self, parameters: Parameters, gradient: Parameters) -> None:
        """Change the parameters in place."""
        self.steps += 1
        b1, b2 = self.decay
        scale = self.rate * np.sqrt(1 - b2**self.steps) / (1 - b1**self.steps)
        for name in _PARTS:
            g, m, v = getattr(gradient, name), getattr(self.first, name), getattr(self.second, name)
            m += (1 - b1) * (g - m)
            v += (1 - b2) * (g * g - v)
            getattr(parameters, name)[...] += scale * m / (np.sqrt(v) + self.epsilon)

    def copy(self) -> Adam:
        """A copy that shares nothing."""
        return Adam(self.rate, self.first.copy(), self.second.copy(), self.steps, self.decay, self.epsilon)


@dataclass(frozen=True)
class Group:
    """Completions of some prompts, and what they earned.

    prompts      [m] which
    completions  [m, k] as numbers: their letters in base 8
    rewards      [m, k]
    """

    prompts: Ints
    completions: Ints
    rewards: Floats = field(repr=False)

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """[m] whether two completions of the prompt earned different rewards."""
        return np.asarray((self.rewards != self.rewards[:, :1]).any(1))

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> Group:
        """Some of the prompts."""
        return Group(self.prompts[rows], self.completions[rows], self.rewards[rows])


def letters_of(completions: Ints) -> Ints:
    """[..., LENGTH] the letters of completions.

    >>> "".join(LETTERS[v] for v in letters_of(np.array(number_of("bca"))))
    'bca'
    """
    return np.stack([completions // _V ** (LENGTH - 1 - place) % _V for place in range(LENGTH)], -1)


def number_of(text: str) -> int:
    """A completion as a number; letters beyond `LENGTH` are cut off, as a limit of tokens does.

    >>> number_of("aab"), number_of("aabc")
    (1, 1)
    """
    return sum(LETTERS.index(letter) * _V ** (LENGTH - 1 - place) for place, letter in enumerate(text[:LENGTH]))


def token_log_probabilities(parameters: Parameters, inputs: Inputs, prompts: Ints) -> list[Floats]:
    """[m, u, v] of each place: the log-probability of letter v after u; at the first place u has one value."""
    c = inputs.command[prompts]
    pointed = POINTER_SCALE * (parameters.pointer[c][..., None] * inputs.one_hot[prompts][:, None]).sum(2)
    base = pointed + parameters.bias[c] + parameters.own[prompts]
    logits = [base[:, :1], *(base[:, place, None] + parameters.after for place in range(1, LENGTH))]
    shifted = [z - z.max(-1, keepdims=True) for z in logits]
    return [z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in shifted]


def log_probabilities(parameters: Parameters, inputs: Inputs, prompts: Ints) -> Floats:
    """[m, completion]."""
    first, *rest = token_log_probabilities(parameters, inputs, prompts)
    total = first[:, 0]
    for table in rest:
        total = (total.reshape(len(prompts), -1, _V, 1) + table[:, None]).reshape(len(prompts), -1)
    return total


def weighted_gradient(parameters: Parameters, inputs: Inputs, prompts: Ints, weight: Floats) -> Parameters:
    """∇ Σ weight[i, y] · log p(y | prompt i), for weights [m, completion].

    With weight p(y)·(r(y) − E r), it is the exact gradient of the summed expected rewards; with sampled coefficients, an estimate.
    """
    gradient = Parameters.zeros(len(parameters.pointer), len(parameters.own))
    base = np.zeros((len(prompts), LENGTH, _V))
    for place, table in enumerate(token_log_probabilities(parameters, inputs, prompts)):
        by_pair = weight.reshape(len(prompts), -1, table.shape[1], _V, _V ** (LENGTH - 1 - place)).sum((1, 4))
        delta = by_pair - by_pair.sum(-1, keepdims=True) * np.exp(table)
        base[:, place] = delta.sum(1)
        if place:
            gradient.after += delta.sum(0)
    np.add.at(gradient.own, prompts, base)
    np.add.at(gradient.bias, inputs.command[prompts], base)
    pointer = POINTER_SCALE * (base[:, :, None] * inputs.one_hot[prompts][:, None]).sum(-1)
    np.add.at(gradient.pointer, inputs.command[prompts], pointer)
    return gradient


def completion_weights(completions: Ints, coefficients: Floats) -> Floats:
    """[m, completion] the summed coefficients of each completion, from [m, k] of each."""
    weight = np.zeros((len(completions), N_COMPLETIONS))
    np.add.at(weight, (np.arange(len(completions))[:, None], completions), coefficients)
    return weight

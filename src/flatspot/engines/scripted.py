"""A scripted policy: an exact answer distribution per prompt, so the mean and std of any reward have a closed form."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, PromptText, Sampling
from flatspot.core.seeds import fold_seed

Answers = Mapping[str, Mapping[str, float]]

_SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class _Table:
    """One prompt's completions under a `Sampling`, and their cumulative probabilities."""

    completions: tuple[Completion, ...]
    cumulative: tuple[float, ...]


class ScriptedEngine:
    """An engine whose policy is a table `{prompt: {answer: probability}}`.

    A chat prompt is looked up by the content of its last user message. Tokens are white-space separated words. Temperature,
    top_k and top_p act on the answers of a prompt as they act on the tokens of a model: p^(1/T) renormalized, then the k most
    probable, then the smallest set with mass top_p. The completion of a seed depends only on the seed, the prompt and the sampling.

    Raises EngineError if a distribution is empty, has a probability outside [0, 1] or does not sum to 1.

    >>> from flatspot.core.records import PromptRequest, Sampling
    >>> engine = ScriptedEngine({"2+2=": {"4": 1.0}})
    >>> [c.text for c in engine.sample([PromptRequest("2+2=", (0, 1))], Sampling())[0]]
    ['4', '4']
    """

    name = "scripted"
    rows_per_call = 65536

    def __init__(self, answers: Answers) -> None:
        self.answers = {prompt: dict(distribution) for prompt, distribution in answers.items()}
        self.notes: list[str] = []
        self._tables: dict[tuple[str, Sampling], _Table] = {}
        for prompt, distribution in self.answers.items():
            _check(prompt, distribution)

    @classmethod
    def from_file(cls, path: str | Path) -> ScriptedEngine:
        """An engine from a JSON file `{"prompt": {"answer": probability}}`; EngineError for any other content."""
        try:
            answers = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise EngineError(f"the scripted engine needs a JSON file of answers, and {path} cannot be read: {error}") from error
        except ValueError as error:
            raise EngineError(f'{path} is not JSON ({error}); expected {{"prompt": {{"answer": probability}}}}') from error
        if not isinstance(answers, dict) or not all(isinstance(distribution, dict) for distribution in answers.values()):
            raise EngineError(
                f'{path} must contain {{"prompt": {{"answer": probability}}}}, for example {{"2+2=": {{"4": 0.75, "5": 0.25}}}}'
            )
        return cls(answers)

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, from the prompt's distribution; EngineError for a prompt that is not in the table."""
        completions = []
        for request in requests:
            table = self._table(lookup_key(request.text), sampling)
            last = len(table.completions) - 1
            row = [table.completions[min(bisect.bisect_right(table.cumulative, _uniform(seed)), last)] for seed in request.seeds]
            completions.append(row)
            if on_tokens is not None:
                tell_completed(on_tokens, len(row))
                on_tokens(sum(completion.n_tokens for completion in row))
        return completions

    def describe(self) -> Mapping[str, Json]:
        """The engine's name and a hash of its table."""
        canonical = json.dumps(self.answers, sort_keys=True, ensure_ascii=False)
        return {
            "engine": self.name,
            "policy": "scripted",
            "fingerprint": hashlib.blake2b(canonical.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest(),
            "prompts": len(self.answers),
        }

    def _table(self, prompt: str, sampling: Sampling) -> _Table:
        if (prompt, sampling) in self._tables:
            return self._tables[prompt, sampling]
        if prompt not in self.answers:
            first = ", ".join(repr(name) for name in list(self.answers)[:3])
            raise EngineError(
                f"the scripted policy has no answers for the prompt {prompt[:80]!r}; its table has {len(self.answers)} prompts: {first}"
                f"{', …' if len(self.answers) > 3 else ''}. Add this prompt to the table"
            )
        # at a small temperature p^(1/T) may be below the smallest float: such an answer is never drawn, and has no log-probability
        shaped = {answer: p for answer, p in reshape(self.answers[prompt], sampling).items() if p > 0}
        completions = [_cut(answer, sampling.max_new_tokens) for answer in shaped]
        mass = dict.fromkeys(completions, 0.0)  # answers that are cut to the same words are one completion
        for completion, p in zip(completions, shaped.values(), strict=True):
            mass[completion] += p
        told = tuple(replace(completion, logprob=math.log(min(mass[completion], 1.0))) for completion in completions)
        table = _Table(told, tuple(itertools.accumulate(shaped.values())))
        self._tables[prompt, sampling] = table
        return table


def lookup_key(text: PromptText) -> str:
    """The table key of a prompt: its text, or the content of its last user message."""
    if isinstance(text, str):
        return text
    for message in reversed(text):
        if message.get("role") == "user":
            return message.get("content", "")
    raise EngineError(
        f"the scripted policy looks up a chat prompt by its last user message, and none of the {len(text)} messages is from the user"
    )


def reshape(distribution: Mapping[str, float], sampling: Sampling) -> dict[str, float]:
    """The answers that remain after temperature, top_k and top_p, renormalized; in the order of the table.

    p_i^(1/T) / Σ p^(1/T), then the top_k largest, then every answer with less than top_p of the mass before it.

    >>> from flatspot.core.records import Sampling
    >>> reshape({"a": 0.5, "b": 0.25, "c": 0.25}, Sampling(top_p=0.5))
    {'a': 1.0}
    """
    positive = {answer: p for answer, p in distribution.items() if p > 0}
    peak = max(positive.values())  # dividing by it keeps p^(1/T) from underflowing at a small T
    heated = {answer: math.pow(p / peak, 1 / sampling.temperature) for answer, p in positive.items()}
    ranked = sorted(heated, key=heated.__getitem__, reverse=True)
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    if sampling.top_p < 1:
        mass = math.fsum(heated[answer] for answer in ranked)
        before = itertools.accumulate((heated[answer] / mass for answer in ranked), initial=0.0)
        top = ranked[:1]  # remains however small top_p is
        ranked = [answer for answer, above in zip(ranked, before, strict=False) if above < sampling.top_p - _SUM_TOLERANCE] or top
    remaining = set(ranked)
    total = math.fsum(heated[answer] for answer in remaining)
    return {answer: p / total for answer, p in heated.items() if answer in remaining}


def _check(prompt: str, distribution: Mapping[str, float]) -> None:
    where = f"the answers to {prompt[:80]!r}"
    for answer, p in distribution.items():
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
            raise EngineError(f"{where}: a probability lies in [0, 1], got {p!r} for {answer[:40]!r}")
    total = math.fsum(distribution.values())
    if abs(total - 1) > 1e-6:
        raise EngineError(f"{where}: probabilities must sum to 1, they sum to {total:.6g}")


def _cut(answer: str, limit: int) -> Completion:
    words = answer.split()
    if len(words) <= limit:
        return Completion(answer, len(words), truncated=False)
    return Completion(" ".join(words[:limit]), limit, truncated=True)


def _uniform(seed: int) -> float:
    """A number in [0, 1) from a seed; neighboring seeds give unrelated numbers."""
    return fold_seed(seed, 53) / (1 << 53)

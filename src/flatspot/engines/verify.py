"""Verify at load that an engine samples the policy: its greedy tokens and their probabilities against plain forward passes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.engines.decode import MODES, Mode, decode, decoder_start, sequence_logits
from flatspot.engines.policy import Policy
from flatspot.engines.prefixes import split_prefixes

if TYPE_CHECKING:
    from torch import Tensor

# Plain text, which every tokenizer can encode, and of unequal length, so that padding is tested too
PROBES = (
    "The capital of France is",
    "Q: What is 17 + 25? Think step by step.\nA:",
    "Once upon a time, in a village by the sea, there lived a fisherman who",
    "def fibonacci(n):\n    ",
    "1, 2, 3, 4, 5,",
    "Dear Sir or Madam, I am writing to",
)
PROBE_TOKENS = 16

# In nats. With another order of additions the same weights differ by 1e-4 in float32 and 0.05 in bfloat16 (8 bits of mantissa);
# float16 weights in float32 arithmetic by 0.005; a 4-bit file without dequantization by 0.3. Each limit lies well between.
TOLERANCE = {"float32": 0.03, "float16": 0.1, "bfloat16": 0.2}


@dataclass(frozen=True, slots=True)
class Greedy:
    """An engine's greedy continuation of a probe, and its log-probability of each token."""

    tokens: Sequence[int]
    log_probs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Check:
    """How far an engine's greedy continuations are from plain forward passes of the policy.

    Each token is looked up in the forward pass over the same sequence, so one early difference is counted once.

    wrong_tokens  tokens more than 4 · tolerance nats below the forward pass's best one: more than a tie broken differently
    mean_gap      mean of |log p(engine) − log p(forward)| over the tokens, in nats
    """

    probes: int
    tokens: int
    wrong_tokens: int
    mean_gap: float
    max_gap: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """No wrong token, and a mean gap within the tolerance."""
        return self.tokens > 0 and self.wrong_tokens == 0 and self.mean_gap <= self.tolerance

    def describe(self) -> dict[str, Json]:
        """The fields that are equal at every start: not the gaps, whose last digits vary with the number of threads."""
        return {"passed": self.passed, "probes": self.probes, "tokens": self.tokens, "tolerance_nats": self.tolerance}

    def to_json(self) -> str:
        """All fields, from which `Check(**…)` can be rebuilt."""
        return json.dumps(asdict(self))

    def sentence(self) -> str:
        """The result in words, for a note."""
        return (
            f"{self.wrong_tokens} of {self.tokens} greedy tokens are wrong and log-probabilities differ by {self.mean_gap:.3g} nats on "
            f"average (limit {self.tolerance})"
        )


def probe_ids(policy: Policy) -> list[list[int]]:
    """Token ids of the probes; ids spread over the vocabulary for a tokenizer that cannot encode plain text."""
    vocabulary = int(policy.model.config.get_text_config(decoder=True).vocab_size)
    limit = max(1, (policy.context or 4096) - PROBE_TOKENS)
    probes = [[i for i in policy.tokenizer(text)["input_ids"] if i < vocabulary][:limit] for text in PROBES]
    return [ids or [(7 * k + 3) % vocabulary for k in range(min(limit, 4 + i))] for i, ids in enumerate(probes)]


def prefixed_probe_ids(policy: Policy) -> list[list[int]]:
    """As many probes, some of which begin alike: for what reads a common beginning once."""
    probes = sorted(probe_ids(policy), key=len)
    limit = max(2, (policy.context or 4096) - PROBE_TOKENS)
    return [[*start, *rest][:limit] for start in probes[-2:] for rest in probes[:3]]


def compare(policy: Policy, prompts: Sequence[Sequence[int]], continuations: Sequence[Greedy], tolerance: float) -> Check:
    """Compare an engine's greedy continuations of `prompts` with the plain forward pass of the policy."""
    import torch

    gaps: list[float] = []
    wrong = 0
    for prompt, greedy in zip(prompts, continuations, strict=True):
        if not greedy.tokens:
            continue
        log_probs = forward_log_probs(policy, prompt, greedy.tokens)
        of_tokens = log_probs.gather(-1, torch.tensor([list(greedy.tokens)], device=log_probs.device).T).squeeze(-1)
        lead = log_probs.max(dim=-1).values - of_tokens
        wrong += int((lead > 4 * tolerance).sum())
        gaps += (of_tokens.cpu() - torch.tensor(list(greedy.log_probs))).abs().tolist()
    worst = max(gaps, default=0.0)
    return Check(len(continuations), len(gaps), wrong, sum(gaps) / max(1, len(gaps)), worst, tolerance)


def forward_log_probs(policy: Policy, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Log-probabilities [position, token] at each position of `tokens` after `prompt`, by one plain forward pass."""
    import torch

    with torch.inference_mode():
        if policy.encoder_decoder:
            source = torch.tensor([list(prompt)], device=policy.device)
            encoded = policy.model.get_encoder()(input_ids=source).last_hidden_state
            ids = torch.tensor([[decoder_start(policy), *tokens[:-1]]], device=policy.device)
            logits = sequence_logits(policy, ids, encoded)[0]
        else:
            ids = torch.tensor([[*prompt, *tokens[:-1]]], device=policy.device)
            logits = sequence_logits(policy, ids)[0, len(prompt) - 1 :]
        return torch.log_softmax(logits.float(), dim=-1)


def greedy(policy: Policy, prompts: Sequence[Sequence[int]], mode: Mode) -> list[Greedy]:
    """Greedy continuations by the decode loop: two rows per prompt, so that a shared cache is tested, of which the second is returned."""
    import torch

    log_probs: dict[int, list[float]] = {}

    def pick(logits: Tensor, row: Tensor, step: int) -> Tensor:
        best = torch.log_softmax(logits.float(), dim=-1).max(dim=-1)
        for number, log_prob in zip(row.tolist(), best.values.tolist(), strict=True):
            log_probs.setdefault(number, []).append(log_prob)
        return best.indices

    rows = decode(policy, prompts, [2] * len(prompts), PROBE_TOKENS, pick, mode=mode)
    return [Greedy(tokens, log_probs[row][: len(tokens)]) for row, tokens in enumerate(rows) if row % 2]


def choose_mode(policy: Policy, notes: list[str], in_use: Callable[[], AbstractContextManager[None]] = nullcontext) -> tuple[Mode, Check]:
    """The fastest decoding mode, inside `in_use()`, that agrees with plain forward passes of this model, and its check.

    A mode that the architecture does not support, or with other results, is skipped with a note; EngineError if none agrees.
    """
    tolerance = TOLERANCE.get(policy.dtype, TOLERANCE["bfloat16"])
    why: list[str] = []
    finite: list[bool] = []
    for mode in MODES:
        prompts = prefixed_probe_ids(policy) if mode == "prefixed" else probe_ids(policy)
        if mode == "prefixed" and split_prefixes(prompts) is None:
            continue
        try:
            with in_use():
                continuations = greedy(policy, prompts, mode)
            check = compare(policy, prompts, continuations, tolerance)
        except (AttributeError, TypeError, ValueError, NotImplementedError, IndexError, KeyError, RuntimeError) as error:
            why.append(f"{mode}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            continue
        finite.append(not math.isnan(check.mean_gap))
        if check.passed:
            if mode not in MODES[:2]:  # to read what prompts share once for each costs little
                notes.append(f"decoding {policy.name} in the slower mode {mode!r}, because of {'; '.join(why)}")
            return mode, check
        why.append(f"{mode}: {check.sentence() if finite[-1] else 'its numbers are not finite (NaN)'}")
    if finite and not any(finite):
        raise EngineError(
            f"{policy.name} cannot be sampled: its forward pass gives numbers that are not finite (NaN). Its weights or a number in "
            "its config.json are damaged, or --dtype is too coarse for it: try --dtype float32"
        )
    raise EngineError(f"{policy.name} cannot be sampled: no decoding mode agrees with its forward pass ({'; '.join(why)})")

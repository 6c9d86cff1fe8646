"""The check of a server before it gets rows: first tokens that it draws against its own log-probabilities and those of the policy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from flatspot.core.errors import EngineError
from flatspot.core.records import PromptText, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines.server.law import Fit, Law, first_token_law, fit, p_value
from flatspot.engines.server.server import Forms, Server
from flatspot.engines.server.threads import each
from flatspot.engines.server.wire import Answer, NoCompletion

# short, and open-ended: where many tokens can come next, a wrong distribution shows in few draws
TEXTS: tuple[PromptText, ...] = ("The", "My favorite word is", "Once upon a time, there was a", "Name:", "I", "Tom bought a")
CHATS: tuple[PromptText, ...] = tuple(
    [{"role": "user", "content": text}]
    for text in (
        "Say one random word.",
        "Write the first word of a story.",
        "Name an animal.",
        "Pick a number from 1 to 1000.",
        "Continue: the",
        "Give me a first name.",
    )
)
DRAWS = 256  # per probe; four times as many where these are in doubt
DOUBT = 0.05  # of the first draws' p-value; below it more are drawn
REFUSED = 1e-4  # of the further draws' p-value
GAP_LIMIT = 0.2  # nats: mean difference of log-probabilities in bfloat16, as for other engines (engines.verify)
_ONE = Sampling(max_new_tokens=1)
_ID = re.compile(r"#[0-9]{1,9}")
_REPEATED = 24  # seeds that are drawn twice
_FEW_VARIED = 20.0
_LIKELY_SAME = 0.9


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt of the check: what is sent, and the exact log-probabilities of its first token by id, where the policy is at hand."""

    forms: Forms
    exact: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """The outcome of a check that a server passed.

    tops     the server's own most probable first tokens of each probe; empty where it gives no log-probabilities
    against  what the draws were compared with
    p_value  of the draws under it
    gap      mean difference of the server's log-probabilities from transformers', in nats; None where they were not compared
    notes    for the user
    """

    tops: tuple[Mapping[str, float], ...]
    against: str
    draws: int
    p_value: float
    gap: float | None
    notes: tuple[str, ...]


def check_server(
    server: Server, probes: Sequence[Probe], sampling: Sampling, width: int, text_of: Callable[[int], str] | None
) -> ServerCheck:
    """Check that a server draws first tokens from the distribution that `sampling` says.

    width    requests in flight
    text_of  the text of a token id, where the tokenizer is at hand

    Raises EngineError where it does not, or cannot be checked, and NoReply where it does not answer.
    """
    law_of = replace(sampling, max_new_tokens=1)
    try:
        notes = server.settle(probes[0].forms, law_of)
        answers = each(lambda probe: server.ask_patiently(probe.forms, _ONE, 0, logprobs=True), probes, width, server.close)
        tops = tuple(dict(answer.top) for answer in answers) if all(answer.top and answer.first for answer in answers) else ()
        gap = _gap(server, probes, tops, text_of) if tops else None
        laws, key_of, against = _laws(server, probes, tops, law_of, text_of)
        draws = _draw(server, probes, law_of, width, range(DRAWS), key_of)
        fits = [fit(law, drawn) for law, drawn in zip(laws, draws, strict=True)]
        p, n = p_value(fits), DRAWS
        if p < DOUBT:
            n = 4 * DRAWS
            more = _draw(server, probes, law_of, width, range(DRAWS, DRAWS + n), key_of)
            fits = [fit(law, drawn) for law, drawn in zip(laws, more, strict=True)]
            p = p_value(fits)
            if p < REFUSED:
                raise EngineError(_refusal(server, sampling, against, fits, more, p))
        notes += _repeats(server, probes, law_of, width, laws, draws, key_of)
    except NoCompletion as error:
        raise EngineError(f"{server.url} cannot be sampled: {error}") from error
    if (varied := sum(one.varied for one in fits)) < _FEW_VARIED:
        notes.append(
            f"{server.url}: the check of its distribution says little, for the policy is all but certain of its first tokens "
            f"({varied:.0f} of {n * len(probes)} draws could have been others)"
        )
    return ServerCheck(tops, against, n * len(probes), p, gap, tuple(notes))


def comparable(tops: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]) -> bool:
    """Whether both name tokens by their ids, or both by their texts."""
    by_id = [all(_ID.fullmatch(token) for top in several for token in top) for several in (tops, others)]
    return by_id[0] == by_id[1]


def same_tops(tops: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]) -> float:
    """The mean difference of log-probabilities that two servers give for the same probes, in nats, weighted by probability."""
    gaps = [_weighted(top, other) for top, other in zip(tops, others, strict=True)]
    return math.fsum(gaps) / max(1, len(gaps))


def _weighted(top: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Σ p |log p − log p'| / Σ p over tokens; one that the other does not name is at most as probable as its last."""
    last = min(other.values())
    total = math.fsum(math.exp(p) for p in top.values())
    return math.fsum(math.exp(p) * abs(p - other.get(token, min(p, last))) for token, p in top.items()) / total


def _gap(
    server: Server, probes: Sequence[Probe], tops: Sequence[Mapping[str, float]], text_of: Callable[[int], str] | None
) -> float | None:
    """How far the server's log-probabilities are from the policy's; None where they are missing. EngineError if too far."""
    if text_of is None or any(probe.exact is None for probe in probes):
        return None
    gap = same_tops(tops, [_named(probe.exact or (), top, text_of) for probe, top in zip(probes, tops, strict=True)])
    if gap > GAP_LIMIT:
        raise EngineError(
            f"{server.url} does not serve the model of --model: its log-probabilities of first tokens differ from transformers' by "
            f"{gap:.2g} nats on average (limit {GAP_LIMIT}). Its weights are others, or quantized, or it encodes prompts otherwise. "
            "Serve these files, or give the server's name of its model as --model"
        )
    return gap


def _named(exact: Sequence[float], top: Mapping[str, float], text_of: Callable[[int], str]) -> dict[str, float]:
    """The policy's log-probabilities of the tokens that a server names: by `#id`, or by a text, which may be of several ids."""
    if all(_ID.fullmatch(key) for key in top):
        return {key: exact[int(key[1:])] for key in top if int(key[1:]) < len(exact)} or {"": -math.inf}
    likely = sorted(range(len(exact)), key=exact.__getitem__, reverse=True)[:1000]
    by_text: dict[str, list[float]] = {}
    for i in likely:
        by_text.setdefault(text_of(i), []).append(math.exp(exact[i]))
    named = {key: math.log(math.fsum(by_text[text])) for key in top for text in (key, key.lstrip()) if text in by_text}
    return named or {"": exact[likely[-1]]}


KeyOf = Callable[[Answer], str]


def _laws(
    server: Server, probes: Sequence[Probe], tops: Sequence[Mapping[str, float]], sampling: Sampling, text_of: Callable[[int], str] | None
) -> tuple[list[Law], KeyOf, str]:
    """(the laws of the probes' first tokens, the key in them of a drawn one, whose they are)."""
    if tops:
        return [first_token_law(top, sampling) for top in tops], lambda answer: answer.first or "", "its own log-probabilities"
    if text_of is None or any(probe.exact is None for probe in probes):
        raise EngineError(
            f"{server.url} gives no log-probabilities, so whether it samples as asked cannot be checked. Give the policy's folder as "
            "--model, for a check against transformers, or use a server that gives them: vLLM, SGLang, llama.cpp"
        )
    texts = [text_of(i) for i in range(len(probes[0].exact or ()))]
    laws = []
    for probe in probes:
        law = first_token_law({f"#{i}": p for i, p in enumerate(probe.exact or ())}, sampling)
        shares: dict[str, float] = {}
        for key, share in law.shares.items():
            shares[texts[int(key[1:])]] = shares.get(texts[int(key[1:])], 0.0) + share
        excluded = frozenset(texts[int(key[1:])] for key in law.impossible) - shares.keys()
        laws.append(Law(shares, law.inside, excluded, law.closed))
    return laws, lambda answer: answer.text, "transformers"


def _draw(
    server: Server, probes: Sequence[Probe], sampling: Sampling, width: int, indices: Sequence[int], key_of: KeyOf
) -> list[list[str]]:
    """The keys of first tokens of each probe, a request each."""
    asked = [(place, probe, i) for place, probe in enumerate(probes) for i in indices]

    def one(item: tuple[int, Probe, int]) -> str:
        place, probe, i = item
        return key_of(server.ask_patiently(probe.forms, sampling, row_seed(0, f"check {place}", i), logprobs=True))

    keys = each(one, asked, width, server.close)
    return [keys[start : start + len(indices)] for start in range(0, len(keys), len(indices))]


def _repeats(
    server: Server,
    probes: Sequence[Probe],
    sampling: Sampling,
    width: int,
    laws: Sequence[Law],
    draws: Sequence[Sequence[str]],
    key_of: KeyOf,
) -> list[str]:
    """A note where equal seeds do not give equal tokens, by the probe whose tokens vary most."""
    place = min(range(len(laws)), key=lambda i: math.fsum(share**2 for share in laws[i].shares.values()))
    asked = [row_seed(0, f"check {place}", i) for i in range(_REPEATED)]
    again = each(lambda seed: key_of(server.ask_patiently(probes[place].forms, sampling, seed, logprobs=True)), asked, width, server.close)
    if sum(a == b for a, b in zip(again, draws[place], strict=False)) >= _LIKELY_SAME * _REPEATED:
        return []
    return [
        f"{server.url} does not give equal completions for equal seeds: a run that is stopped and resumed keeps its rows, but the same run "
        "again draws others, of the same distribution"
    ]


def _refusal(server: Server, sampling: Sampling, against: str, fits: Sequence[Fit], draws: Sequence[Sequence[str]], p: float) -> str:
    score, variance = math.fsum(one.score for one in fits), math.fsum(one.variance for one in fits)
    z = score / math.sqrt(variance) if variance > 0 else 0.0
    if all(len(set(drawn)) == 1 for drawn in draws):
        why = "every draw of a prompt gives the same token: it decodes greedily, or takes one seed for all"
    elif any(one.excluded for one in fits):
        why = "it draws tokens that --top-k or --top-p excludes"
    elif z > 3:
        why = "probable tokens come too often: its temperature is lower, or filters of its own (top_k, top_p, min_p) are on"
    elif z < -3:
        why = "improbable tokens come too often: its temperature is higher, or a penalty of its own is on"
    else:
        why = "tokens come in other proportions"
    return (
        f"{server.url} does not sample as asked: of {sum(map(len, draws))} first tokens drawn at temperature {sampling.temperature:g}, "
        f"{why} (p = {p:.1g} against {against}). Start the server without sampling settings of its own (vLLM: --generation-config vllm), "
        "or use another one"
    )

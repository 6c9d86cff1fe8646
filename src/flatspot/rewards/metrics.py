"""Text metrics as rewards: exact match, pattern, ROUGE-L, SacreBLEU and sentiment, one completion at a time.

Each builder takes the parameters of its spec and returns a function of a prompt and a completion's text. A metric that needs a
reference raises on a row without one, and that row stays unscored: a missing answer is not a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from flatspot.core.errors import RewardLoadError
from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.rewards.values import NoAnswer

RowReward = Callable[[Prompt, str], float]


def references_of(prompt: Prompt) -> tuple[str, ...]:
    """The row's reference answers; raises `NoAnswer` naming the columns looked for where there is none."""
    references = prompt.references
    if not references:
        empty = next((name for name in ("references", "reference") if name in prompt.columns), None)
        if empty is not None:
            raise NoAnswer(f"this prompt has no reference to compare with: its column {empty} is empty")
        columns = ", ".join(prompt.columns) or "none"
        raise NoAnswer(f"this prompt has no column reference or references to compare with (columns: {columns})")
    return references


def exact_match(*, ignore_case: bool = False, part: Literal["all", "last_line", "boxed"] = "all") -> RowReward:
    r"""1 where the completion equals a reference after both are stripped of outer white space, else 0.

    ignore_case  compare case-folded
    part         what of the completion is compared: all of it, its last non-empty line, or the inside of its last \\boxed{…}

    >>> reward = exact_match(part="boxed")
    >>> reward(Prompt("a", "2+2=", {"reference": "4"}), "So it is \\boxed{4}.")
    1.0
    """
    if part not in _PARTS:
        raise RewardLoadError(f"exact_match: part must be one of {', '.join(_PARTS)}, got {part!r}")
    pick = _PARTS[part]
    fold: Callable[[str], str] = str.casefold if ignore_case else str

    def score(prompt: Prompt, text: str) -> float:
        answer = fold(pick(text).strip())
        return float(any(answer == fold(reference.strip()) for reference in references_of(prompt)))

    return score


def regex(*, pattern: str, ignore_case: bool = False) -> RowReward:
    r"""1 where the pattern is found in the completion, else 0; with a group and references, where the group equals a reference.

    Python's `re.search` with MULTILINE off. The first group that took part in the match is compared, both sides stripped.

    >>> reward = regex(pattern=r"answer: (\d+)")
    >>> reward(Prompt("a", "2+2=", {"reference": "4"}), "answer: 4"), reward(Prompt("a", "2+2=", {"reference": "4"}), "answer: 5")
    (1.0, 0.0)
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise RewardLoadError(f"regex: the pattern {pattern!r} is not a regular expression: {error}") from None

    def score(prompt: Prompt, text: str) -> float:
        match = compiled.search(text)
        if match is None:
            return 0.0
        if not compiled.groups or not prompt.references:
            return 1.0
        answer = next((group for group in match.groups() if group is not None), "").strip()
        return float(any(answer == reference.strip() for reference in prompt.references))

    return score


def rouge_l(*, stem: bool = False) -> RowReward:
    """ROUGE-L F1, the best over the references, in [0, 1]; Lin 2004 as in the package rouge-score.

    stem  compare Porter stems, so that "runs" matches "run"

    An empty completion scores 0. Words are runs of a–z and 0–9 after lower-casing, so other scripts do not count.
    """
    scorer = require("rouge_score.rouge_scorer", extra="metrics", purpose="the reward rouge_l").RougeScorer(["rougeL"], use_stemmer=stem)

    def score(prompt: Prompt, text: str) -> float:
        return max(float(scorer.score(reference, text)["rougeL"].fmeasure) for reference in references_of(prompt))

    return score


def sacrebleu(*, tokenize: str = "13a", lowercase: bool = False, effective_order: bool = True) -> RowReward:
    """Sentence BLEU over all references, divided by 100, in [0, 1]; Post 2018, exponential smoothing.

    tokenize         sacrebleu's tokenizer: 13a, intl, char, zh, none
    lowercase        compare in lower case
    effective_order  leave out the orders that a text of fewer than four words does not have; off, such a text scores 0, as in BLEU
                     of a corpus
    """
    metrics = require("sacrebleu.metrics", extra="metrics", purpose="the reward sacrebleu")
    try:
        bleu = metrics.BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=effective_order)
    except Exception as error:  # an unknown name, or a tokenizer whose own package is missing: sacrebleu raises several types
        raise RewardLoadError(f"sacrebleu: cannot use tokenize={tokenize!r}: {' '.join(str(error).split())[:200]}") from None

    def score(prompt: Prompt, text: str) -> float:
        references = references_of(prompt)
        if effective_order:
            result = bleu.sentence_score(text, list(references))
        else:  # the same sum; of a sentence sacrebleu would log, every time, that it recommends the other
            result = bleu.corpus_score([text], [[reference] for reference in references])
        # 100 · exp(mean log precision) exceeds 100 by rounding for a perfect match
        return min(1.0, float(result.score) / 100)

    return score


def sentiment(*, target: Literal["positive", "negative"] = "positive") -> RowReward:
    """How positive (or negative) the completion reads: VADER's compound score mapped from [-1, 1] to [0, 1].

    Hutto and Gilbert 2014: a word list with rules, in English. Text without words of the list scores 0.5.
    """
    if target not in ("positive", "negative"):
        raise RewardLoadError(f"sentiment: target must be positive or negative, got {target!r}")
    vader = require("vaderSentiment.vaderSentiment", extra="metrics", purpose="the reward sentiment")
    analyzer = vader.SentimentIntensityAnalyzer()
    sign = 1.0 if target == "positive" else -1.0

    def score(prompt: Prompt, text: str) -> float:
        return (1.0 + sign * float(analyzer.polarity_scores(text)["compound"])) / 2

    return score


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _last_boxed(text: str) -> str:
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    start += len("\\boxed{")
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return ""


_PARTS: dict[str, Callable[[str], str]] = {"all": str, "last_line": _last_line, "boxed": _last_boxed}

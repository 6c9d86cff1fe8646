"""Whether drawn first tokens follow the distribution that they should: the most probable tokens' log-probabilities against draws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flatspot.core.records import Sampling

_FEWEST = 5.0  # expected draws in a cell of the chi-square test


@dataclass(frozen=True, slots=True)
class Law:
    """What draws of a prompt's first token must look like under a sampling.

    shares      probabilities of tokens given that one of them is drawn: they sum to 1
    inside      the probability that one of them is drawn; None where that is not known
    impossible  tokens that the filters exclude
    closed      whether the filters exclude every token that is not named here
    """

    shares: Mapping[str, float]
    inside: float | None
    impossible: frozenset[str]
    closed: bool


def first_token_law(top: Mapping[str, float], sampling: Sampling) -> Law:
    """The law of the first token from the log-probabilities of the most probable ones at temperature 1.

    The mass that `top` leaves is spread over tokens none of which is more probable than the last of `top`. At another temperature it
    weighs between two bounds, so a token of `top` is certainly kept by top-p, certainly excluded, or neither: the latter are left out.

    >>> round(first_token_law({"a": math.log(0.6), "b": math.log(0.3)}, Sampling()).shares["a"], 4)
    0.6667
    >>> first_token_law({"a": math.log(0.6), "b": math.log(0.3)}, Sampling(top_k=1)).impossible
    frozenset({'b'})
    """
    ranked = sorted(top, key=top.__getitem__, reverse=True)
    p = {token: math.exp(top[token]) for token in ranked}
    left = max(0.0, 1 - math.fsum(p.values()))
    power = 1 / sampling.temperature
    heated = {token: value**power for token, value in p.items() if value > 0}
    ranked = [token for token in ranked if token in heated]
    bound = left * p[ranked[-1]] ** (power - 1) if ranked else 0.0
    # Σ p^a over the rest, where each p is at most the last one's: at most the bound for a > 1, at least it for a < 1
    low, high = (bound, bound) if power == 1 else (0.0, bound) if power > 1 else (bound, math.inf if left > 0 else 0.0)
    kept, closed = ranked, False
    if sampling.top_k:
        kept = ranked[: sampling.top_k]
        closed = sampling.top_k <= len(ranked)
        low, high = (0.0, 0.0) if closed else (0.0, high)
    mass = math.fsum(heated[token] for token in kept)
    certain, possible = kept, kept
    if sampling.top_p < 1:
        before, certain, possible = 0.0, [], []
        for token in kept:
            if before < sampling.top_p * (mass + low) or not certain:
                certain.append(token)
            if before < sampling.top_p * (mass + high) or not possible:
                possible.append(token)
            before += heated[token]
        closed = closed or len(possible) < len(kept)
    total = math.fsum(heated[token] for token in certain)
    unfiltered = not sampling.top_k and sampling.top_p >= 1
    return Law(
        shares={token: heated[token] / total for token in certain},
        inside=mass / (mass + low) if unfiltered and low == high else None,
        impossible=frozenset(ranked) - frozenset(possible),
        closed=closed and certain == possible,
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """How draws fit a law.

    chi2, df    Pearson's statistic over the cells with 5 draws expected or more, and its degrees of freedom
    rare        draws of all other tokens
    rare_mean   how many of these are expected
    score       sum of log share over the draws less its expectation: above 0 where draws are more probable than they should be
    variance    of the score under the law
    excluded    draws of tokens that the filters exclude
    varied      draws that are expected to be another token than the most probable one: without any, nothing is tested
    """

    chi2: float
    df: int
    rare: int
    rare_mean: float
    score: float
    variance: float
    excluded: int
    varied: float


def fit(law: Law, draws: Sequence[str]) -> Fit:
    """Compare draws with a law.

    Tokens with fewer than 5 draws expected share a cell. Where the law does not say how often a token outside of `law.shares` is drawn,
    those draws are left out.
    """
    counts = Counter(draws)
    outside = sum(n for token, n in counts.items() if token not in law.shares)
    excluded = sum(n for token, n in counts.items() if token in law.impossible or (law.closed and token not in law.shares))
    n = len(draws) - outside
    scale = n if law.inside is None else len(draws) * law.inside
    cells = [(counts[token], scale * share) for token, share in law.shares.items()]
    if law.inside is not None:
        cells.append((outside, len(draws) * (1 - law.inside)))
    chi2, df, rare, rare_mean = _pearson(cells)
    shares = [share for share in law.shares.values() if share > 0]
    mean = math.fsum(share * math.log(share) for share in shares)
    variance = math.fsum(share * (math.log(share) - mean) ** 2 for share in shares)
    score = math.fsum(counts[token] * (math.log(share) - mean) for token, share in law.shares.items() if share > 0)
    return Fit(chi2, df, rare, rare_mean, score, n * variance, excluded, n * (1 - max(shares, default=1.0)))


def _pearson(cells: Sequence[tuple[int, float]]) -> tuple[float, int, int, float]:
    """(Σ (observed − expected)² / expected, degrees of freedom, rare draws, expected ones); cells with few draws expected are joined.

    Where too few are expected even so, these draws are the rare ones, and the others are compared given how many there are.
    """
    large = [cell for cell in cells if cell[1] >= _FEWEST]
    small = [cell for cell in cells if cell[1] < _FEWEST]
    rare, rare_mean = sum(n for n, _ in small), math.fsum(expected for _, expected in small)
    if rare_mean >= _FEWEST:
        large.append((rare, rare_mean))
        rare, rare_mean = 0, 0.0
    total, expected_total = sum(n for n, _ in large), math.fsum(expected for _, expected in large)
    if len(large) < 2 or not total:
        return 0.0, 0, rare, rare_mean
    scaled = [(n, expected * total / expected_total) for n, expected in large]
    return math.fsum((n - expected) ** 2 / expected for n, expected in scaled), len(large) - 1, rare, rare_mean


def p_value(fits: Sequence[Fit]) -> float:
    """The probability of a worse fit under the laws: thrice the smallest p-value of chi-square, score and rare draws (Poisson), each
    summed over the prompts.
    """
    from scipy.stats import chi2, norm, poisson

    if any(one.excluded for one in fits):
        return 0.0
    df, variance = sum(one.df for one in fits), math.fsum(one.variance for one in fits)
    of_cells = float(chi2.sf(math.fsum(one.chi2 for one in fits), df)) if df else 1.0
    of_score = 2 * float(norm.sf(abs(math.fsum(one.score for one in fits)) / math.sqrt(variance))) if variance > 0 else 1.0
    rare, rare_mean = sum(one.rare for one in fits), math.fsum(one.rare_mean for one in fits)
    of_rare = float(poisson.sf(rare - 1, rare_mean)) if rare else 1.0
    return min(1.0, 3 * min(of_cells, of_score, of_rare))

"""The law of first tokens, from a part of it: against the whole distribution; and the test of draws, against draws of known laws."""

from __future__ import annotations

import math
import random

import pytest

from flatspot.core.records import Sampling
from flatspot.engines.scripted import reshape
from flatspot.engines.server.law import first_token_law, fit, p_value

SAMPLINGS = [
    Sampling(temperature=t, top_p=p, top_k=k) for t in (0.3, 0.7, 1.0, 1.5) for p in (1.0, 0.95, 0.7, 0.3, 0.05) for k in (0, 1, 5, 20, 40)
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"T{s.temperature}-p{s.top_p}-k{s.top_k}")
def test_what_twenty_tokens_say_is_true_of_the_whole_distribution(sampling):
    exact = reshape(WHOLE, sampling)
    law = first_token_law(TOP, sampling)
    assert law.shares, "the most probable token is kept by every filter"
    inside = sum(exact.get(token, 0.0) for token in law.shares)
    for token, share in law.shares.items():
        assert share == pytest.approx(exact[token] / inside)
    assert all(exact.get(token, 0.0) == 0 for token in law.impossible)
    if law.inside is not None:
        assert law.inside == pytest.approx(inside)
    if law.closed:
        assert inside == pytest.approx(1.0)


def test_of_a_whole_distribution_everything_is_known():
    for sampling in SAMPLINGS:
        law = first_token_law({token: math.log(p) for token, p in WHOLE.items()}, sampling)
        exact = reshape(WHOLE, sampling)
        assert law.shares == pytest.approx(exact)


def whole(spread):
    """A law of 80 tokens: uneven, the more so the larger the spread."""
    rng = random.Random(spread)
    weights = {f"t{i}": math.exp(rng.gauss(0, spread)) for i in range(80)}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


def top_of(law):
    return dict(sorted(((token, math.log(p)) for token, p in law.items()), key=lambda pair: -pair[1])[:20])


WHOLE = whole(1.2)
TOP = top_of(WHOLE)
PROBES = [whole(spread) for spread in (0.8, 1.2, 1.6, 2.0, 2.5, 3.0)]


def draws(law, n, seed):
    return random.Random(seed).choices(list(law), list(law.values()), k=n)


def p_of(other, sampling, n=128, seed=0):
    """The p-value, under `sampling`, of n draws per probe under another one."""
    laws = [first_token_law(top_of(law), sampling) for law in PROBES]
    drawn = [draws(reshape(law, other), n, 10 * seed + i) for i, law in enumerate(PROBES)]
    return p_value([fit(law, some) for law, some in zip(laws, drawn, strict=True)])


@pytest.mark.thorough
def test_draws_of_the_law_itself_are_rarely_doubted():
    values = [p_of(Sampling(), Sampling(), seed=seed) for seed in range(200)]
    assert sum(p < 0.05 for p in values) <= 20 and sum(p < 1e-3 for p in values) <= 5


@pytest.mark.parametrize(
    ("other", "least"),
    [
        (Sampling(temperature=0.8), 20),
        (Sampling(temperature=0.9), 18),
        (Sampling(temperature=1.12), 17),
        (Sampling(top_k=40), 14),
        (Sampling(top_p=0.9), 20),
        (Sampling(top_p=0.95), 6),  # of these laws it cuts three percent off
        (Sampling(top_k=1), 20),
    ],
)
def test_draws_of_other_laws_are_refused(other, least):
    """By the 256 draws per prompt of a check, which raise a doubt, and by the four times as many that are drawn then."""
    doubted = [p_of(other, Sampling(), n=256, seed=seed) < 0.05 for seed in range(20)]
    assert all(p_of(other, Sampling(), n=1024, seed=100 + seed) < 1e-4 for seed in range(20))
    assert sum(doubted) >= least


def test_a_filter_that_is_not_obeyed_shows_in_one_draw():
    sampling = Sampling(top_k=10)
    drawn = draws(reshape(WHOLE, sampling), 500, 0)
    law = first_token_law(TOP, sampling)
    assert p_value([fit(law, drawn)]) > 1e-3
    eleventh = sorted(WHOLE, key=WHOLE.get)[-11]
    assert p_value([fit(law, [*drawn, eleventh])]) == 0.0
    assert p_value([fit(law, [*drawn, "a token that is not among the twenty"])]) == 0.0


def test_a_certain_token_that_does_not_come_is_refused():
    law = first_token_law({"a": math.log(0.9999)}, Sampling())
    assert p_value([fit(law, ["a"] * 100)]) == 1.0
    assert p_value([fit(law, ["a"] * 50 + ["b"] * 50)]) < 1e-9
    assert fit(law, ["a"] * 100).varied < 1

"""The same quantities, written out completion by completion in plain Python: what the vectorised ones are held against."""

from __future__ import annotations

import itertools
import math


def prefixes_of(n_tokens, length):
    """All prefixes shorter than the completion, in the order of the rows."""
    return [p for size in range(length) for p in itertools.product(range(n_tokens), repeat=size)]


def by_hand(logits, rewards, jacobian=None):
    """{V, gradient, std, mad, second, collision} by going through every completion."""
    n_tokens = len(logits[0])
    length = round(math.log(len(rewards)) / math.log(n_tokens))
    prefixes = prefixes_of(n_tokens, length)
    row = {prefix: i for i, prefix in enumerate(prefixes)}
    size = len(logits) * n_tokens if jacobian is None else len(jacobian[0][0])

    def token_p(prefix):
        z = logits[row[prefix]]
        top = max(z)
        weights = [math.exp(x - top) for x in z]
        return [w / sum(weights) for w in weights]

    def jac(prefix, token):
        if jacobian is not None:
            return list(jacobian[row[prefix]][token])
        unit = [0.0] * size
        unit[row[prefix] * n_tokens + token] = 1.0
        return unit

    value = second = collision = 0.0
    outcomes, moment = [], [0.0] * size
    for y, reward in zip(itertools.product(range(n_tokens), repeat=length), rewards, strict=True):
        probability, score, differing = 1.0, [0.0] * size, 0.0
        for place in range(length):
            prefix = y[:place]
            p = token_p(prefix)
            probability *= p[y[place]]
            differing += 1 - sum(x * x for x in p)
            for token in range(n_tokens):
                weight = (token == y[place]) - p[token]
                score = [s + weight * j for s, j in zip(score, jac(prefix, token), strict=True)]
        value += probability * reward
        second += probability * sum(s * s for s in score)
        collision += probability * differing
        moment = [m + probability * reward * s for m, s in zip(moment, score, strict=True)]
        outcomes.append((reward, probability))
    std = math.sqrt(sum(p * (r - value) ** 2 for r, p in outcomes))
    mad = min(sum(p * abs(r - m) for r, p in outcomes) for m, _ in outcomes)  # the median is the point that minimizes it
    return {"value": value, "gradient": moment, "std": std, "mad": mad, "second": second, "collision": collision}

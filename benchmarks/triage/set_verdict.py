"""How often the verdict on a set is wrong, and how often it is held back: python benchmarks/triage/set_verdict.py [--help]

Sets of which a share of the prompts vanishes, in four ways. The verdict warm-up is wrong if at most 17% of the prompts may be called
vanishing, another one if more than 23% must be: the limit of 20%, and a target error of 3%.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from populations import _mixture, _point
from shares import ZONES, model_of
from truth import zero_one

from flatspot.stats.decide import in_doubt
from flatspot.stats.triage.loop import triage

LIMIT, MARGIN = 0.2, 0.03
KINDS = {
    "0, rest even": lambda s, m, r: _mixture(r, m, (s, _point(0.0)), (1 - s, lambda n: r.uniform(0.1, 1, n))),
    ".04 and .5": lambda s, m, r: _mixture(r, m, (s, _point(0.04)), (1 - s, _point(0.5))),
    ".01 and .12": lambda s, m, r: _mixture(r, m, (s, _point(0.01)), (1 - s, _point(0.12))),
    "smooth": lambda s, m, r: _mixture(r, m, (s, lambda n: r.beta(0.3, 20, n)), (1 - s, r.random)),
}


def judged(p, k, rng):
    """(whether the verdict by the estimate is wrong, whether the set is in doubt), of k completions a prompt; 0: of triage."""
    if k:
        model = model_of(p, k, rng)
    else:
        model = triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), len(p), epsilon=ZONES.epsilon).fitted
    loss = ZONES.loss(zero_one(p), 1.0)
    may_be, must_be = 1 - loss[:, 0].mean(), loss[:, 1:].min(1).mean()
    wrong = may_be <= LIMIT - MARGIN if model.shares[0, 0] > LIMIT else must_be > LIMIT + MARGIN
    return wrong, in_doubt(model, 0, LIMIT, MARGIN)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--completions", type=int, nargs="+", default=[0, 4, 8, 16])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.16, 0.24, 0.32, 0.45])
    options = parser.parse_args()
    for name, kind in KINDS.items():
        for k in options.completions:
            for share in options.shares:
                rows = []
                for seed in range(options.sets):
                    rng = np.random.default_rng(100 + seed)
                    rows.append(judged(kind(share, options.prompts, rng), k, rng))
                wrong, doubt = np.array(rows).T
                print(
                    f"{name:14} {share:4.0%} vanish, {k or 'adaptive':>8} completions: wrong {wrong.mean():4.0%}, "
                    f"in doubt {doubt.mean():4.0%}, wrong and in no doubt {(wrong & ~doubt).mean():4.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

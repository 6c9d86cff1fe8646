"""Per prompt, how many completions it takes for a group of them to be informative."""

from __future__ import annotations

import numpy as np

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.models.binary import fit_mixture, mixed_at
from flatspot.stats.models.graded import many_valued
from flatspot.stats.posterior import ones_of, two_valued
from flatspot.stats.zones import Zones

SIZES = (2, 4, 8, 16, 32, 64, 128)


def smallest_group(evidence: Evidence, zones: Zones, share: float) -> Ints:
    """[M] the smallest of `SIZES` at which a group of the prompt is mixed with probability `share`; 0 where none is, or nothing is scored.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> rewards = np.r_[np.tile([0.0, 1.0], 32), np.zeros(64)]
    >>> smallest_group(evidence_of_rows(np.repeat([0, 1], 64), rewards, 2), Zones(0.05), 0.5).tolist()
    [4, 128]
    """
    found = np.zeros(evidence.n_prompts, np.int64)
    some = evidence.n > 0
    if not some.any():
        return found
    enough = _mixed(evidence.subset(some), zones) >= share
    found[some] = np.where(enough.any(1), np.array(SIZES)[enough.argmax(1)], 0)
    return found


def _mixed(evidence: Evidence, zones: Zones) -> Floats:
    """[M, S] each prompt's posterior probability of a mixed group at each size."""
    if not two_valued(evidence, zones):
        return 1 - many_valued(evidence, np.full(evidence.n_prompts, zones.hi), zones, SIZES).all_equal
    mixture, pair = fit_mixture(evidence.n, ones_of(evidence, zones))
    of_pair = mixture.posterior(np.arange(len(mixture.n))) @ np.stack([mixed_at(k) for k in SIZES]).T
    return np.asarray(of_pair[pair])

"""What posterior draws tell of each prompt, block by block of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.models.best_of import all_equal, expected_best
from flatspot.stats.models.moments import Moments
from flatspot.stats.models.parts import Parts


@dataclass(frozen=True)
class Judged:
    """Of R prompts: states and losses [R, 3], and their spreads where these were told along with them."""

    states: Floats
    loss: Floats
    spreads: Spreads | None


@dataclass(frozen=True)
class Spreads:
    """Of R prompts: gain [R], and 95% limits [R, 2] of the std, the mean, the mixed groups and the gain."""

    gain: Floats
    std: Floats
    mean: Floats
    mixed: Floats
    of_gain: Floats


def spreads_of(draws: Moments, parts: Parts, group_size: int) -> tuple[Spreads, Floats]:
    """The spreads of a block of prompts, and the gain [R, draws] of each draw."""
    gain = expected_best(draws, parts, group_size) - draws.mean
    values = (draws.std, draws.mean, 1 - all_equal(draws, group_size), gain)
    return Spreads(gain.mean(-1), *(np.quantile(value, [0.025, 0.975], axis=1).T for value in values)), gain


def joined(blocks: Sequence[Spreads]) -> Spreads:
    """The blocks as one."""
    return Spreads(*(np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Spreads)))

"""What the gradients of a run come to: the key `gradients` of its summary. Each field says what it means, for docs/reference/json.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

Number = float | None


@dataclass(frozen=True)
class Norms:
    """Of the gradient of a prompt's expected reward."""

    p50: Annotated[Number, "median over prompts"] = None
    max: Annotated[Number, "the largest"] = None
    n_above_zero: Annotated[int, "prompts whose lower 95% limit is above 0"] = 0


@dataclass(frozen=True)
class StdAndNorm:
    """How std and norm go together, the std being that of the completions sampled for the gradient."""

    rank_correlation: Annotated[Number, "Spearman's, over all prompts measured"] = None
    n_positive: Annotated[int, "prompts with a std and an estimated squared norm above 0, which the two below are over"] = 0
    log_correlation: Annotated[Number, "of log std and log norm"] = None
    log_slope: Annotated[Number, "of log norm on log std"] = None


@dataclass(frozen=True)
class BoundOverNorm:
    """How many times the norm a bound is, median over the prompts with a norm above 0."""

    score: Annotated[Number, "the score bound"] = None
    collision: Annotated[Number, "the collision bound, with the measured γ"] = None
    lipschitz: Annotated[Number, "the Lipschitz bound, likewise"] = None
    median: Annotated[Number, "the median bound, likewise"] = None
    theorem_1: Annotated[Number, "Theorem 1, likewise"] = None


@dataclass(frozen=True)
class Gradients:
    """Over the rows of [gradients.parquet](tables.md#gradientsparquet)."""

    n_prompts: Annotated[int, "prompts measured"] = 0
    n_failed: Annotated[int, "prompts that could not be; the table has the reason"] = 0
    samples: Annotated[int, "completions sampled for each"] = 0
    norm: Annotated[Norms, "of the gradient of a prompt's expected reward"] = Norms()
    std_and_norm: Annotated[StdAndNorm, "how the two go together, the std being that of the completions sampled for the gradient"] = (
        StdAndNorm()
    )
    bound_over_norm: Annotated[BoundOverNorm, "how many times the norm a bound is, median over the prompts with a norm above 0"] = (
        BoundOverNorm()
    )

"""The types of results.json of `flatspot reproduce theory`."""

from __future__ import annotations

from typing import TypedDict


class Measurement(TypedDict):
    """One random policy: its exact std and gradient norm, and (std, norm, bound) of every bound on it.

    held      whether each bound holds
    violated  number of bounds that do not hold
    """

    family: str
    std: float
    norm: float
    pairs: dict[str, tuple[float, float, float]]
    held: dict[str, bool]
    violated: int


class Quantiles(TypedDict, total=False):
    """Of bound / norm; absent in a band without policies."""

    min: float
    median: float
    max: float


class Band(Quantiles):
    """A band of the std, and its number of policies."""

    std_from: float
    std_to: float
    n: int


class Tightness(TypedDict):
    """One bound: violations, the largest share of it that a gradient reached, and bound / norm by band of the std."""

    violations: int
    largest_share: float | None
    times_the_norm: list[Band]


class Slope(TypedDict):
    """A least-squares slope with its standard error."""

    slope: float
    se: float


class IdentityError(TypedDict):
    """The largest relative error of the one-token gradient over some models."""

    models: int
    largest_relative_error: float


class SeparationRow(TypedDict):
    """Times to p = 1/2 from p0: by the ODE, with bounds, and by gradient descent (None where it would take too long)."""

    p0: float
    std0: float
    rl: float
    sft: float
    rl_times_variance: float
    rl_bounds: list[float]
    sft_bounds: list[float]
    inside_bounds: bool
    descent_rl: float | None
    descent_sft: float | None


class TheoryResults(TypedDict, total=False):
    """results.json; `objectives` has a row per objective: its name, and steps by group size."""

    seed: int
    models: int
    violations: int
    bounds: dict[str, Tightness]
    slopes: dict[str, dict[str, Slope]]
    identity: IdentityError
    separation: list[SeparationRow]
    objectives: list[dict[str, str | int]]
    provenance: dict[str, object]
    figures: list[str]
    seconds: float

"""The model of a run: fitted to its rewards, and held to what the probabilities of its completions prove."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.runs.table import RunTable
from flatspot.stats.models.fitted import FittedModel, fit
from flatspot.stats.models.proved import hold_to_proof, proof_of
from flatspot.stats.zones import Zones, achievable


def fit_run(table: RunTable, top: float | None, zones: Zones, sizes: Sequence[int]) -> FittedModel:
    """The model of a run's prompts.

    top    the end of the range where every prompt can earn it; None where that is not known
    sizes  group sizes that will be asked for
    """
    r_star = achievable(table.answer_reward, table.evidence.high, top)
    model = fit(table.evidence, r_star, zones, sizes, clusters=table.clusters_used)
    return hold_to_proof(model, proof_of(table.known, r_star, zones, binary=model.family == "binary"))

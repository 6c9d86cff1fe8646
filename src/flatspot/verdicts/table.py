"""verdicts.parquet: what is known of each prompt, as the columns that `core.schema.VERDICTS` declares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatspot.core.schema import VERDICTS, arrow_schema
from flatspot.runs.table import RunTable
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.proved import ProvedModel
from flatspot.stats.zones import STATES
from flatspot.verdicts.components import ComponentVerdicts
from flatspot.verdicts.explain import explain_prompts
from flatspot.verdicts.judge import PromptVerdicts
from flatspot.verdicts.numbers import PromptNumbers

if TYPE_CHECKING:
    import pyarrow as pa


def verdict_table(
    run: RunTable, model: FittedModel, prompts: PromptVerdicts, numbers: PromptNumbers, components: Sequence[ComponentVerdicts]
) -> pa.Table:
    """verdicts.parquet: one row per prompt, in order."""
    import pyarrow as pa

    evidence, limits = run.evidence, numbers.limits
    mapped = partial(_component_map, components, m=len(run.prompt_id))
    columns: dict[str, Any] = {
        "prompt_id": run.prompt_id,
        "verdict": prompts.verdict,
        "error_probability": prompts.error_probability,
        **{f"p_{state}": model.states[:, i] for i, state in enumerate(STATES)},
        "n_samples": run.n_rows,
        "n_scored": evidence.n,
        "mean": numbers.mean,
        "mean_lo": np.fmin(limits.mean[:, 0], numbers.mean),
        "mean_hi": np.fmax(limits.mean[:, 1], numbers.mean),
        "std": numbers.std,
        "std_lo": numbers.std_limits[:, 0],
        "std_hi": numbers.std_limits[:, 1],
        "reward_min": evidence.low,
        "reward_max": evidence.high,
        "r_star": numbers.r_star,
        "headroom": numbers.headroom,
        "reach": numbers.reach,
        "relative_std": numbers.relative_std,
        "p_mixed": numbers.p_mixed,
        "p_mixed_lo": np.fmin(limits.mixed[:, 0], numbers.p_mixed),
        "p_mixed_hi": np.fmax(limits.mixed[:, 1], numbers.p_mixed),
        "best_of_k": numbers.best_of_k,
        "gain": numbers.gain,
        "gain_lo": np.fmin(limits.gain[:, 0], numbers.gain),
        "gain_hi": np.fmax(limits.gain[:, 1], numbers.gain),
        "relative_gain": numbers.relative_gain,
        **proof_columns(model, prompts),
        "distinct_share": run.distinct_share,
        "truncated_share": run.truncated_share,
        "mean_tokens": run.mean_tokens,
        "component_std": mapped([part.evidence.std for part in components], kind=pa.float64()),
        "component_mean": mapped([part.evidence.mean for part in components], kind=pa.float64()),
        "component_verdict": mapped([part.prompts.verdict for part in components], kind=pa.string()),
        "why": explain_prompts(evidence, prompts, numbers),
    }
    schema = arrow_schema(VERDICTS)
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def proof_columns(model: FittedModel, prompts: PromptVerdicts) -> dict[str, Any]:
    """What the known mass proves; None in every row where it is not known."""
    if not isinstance(model, ProvedModel):
        return dict.fromkeys(("known_mass", "proved", "mean_proved_lo", "mean_proved_hi"), [None] * len(prompts.verdict))
    lo, hi = model.proof.bounds(model.proof.zones.group_size).mean.T
    return {"known_mass": model.proof.known.total, "proved": prompts.proved, "mean_proved_lo": lo, "mean_proved_hi": hi}


def _component_map(components: Sequence[ComponentVerdicts], values: Sequence[NDArray[Any]], m: int, kind: pa.DataType) -> pa.Array:
    """One map per prompt, without going through a Python object per entry."""
    import pyarrow as pa

    names = [part.name for part in components]
    flat = np.stack(values, -1).reshape(-1).astype(object if pa.types.is_string(kind) else float) if names else np.zeros(0, object)
    offsets = np.arange(m + 1, dtype=np.int32) * len(names)
    return pa.MapArray.from_arrays(pa.array(offsets), pa.array(names * m, pa.string()), pa.array(flat, kind, from_pandas=True))

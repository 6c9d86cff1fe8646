"""The key `gradients` of `--json`, from gradients.parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flatspot.runs.gradients_summary import BoundOverNorm, Gradients, Norms, StdAndNorm
from flatspot.stats.gradients import std_against_norm, tightness

if TYPE_CHECKING:
    import pyarrow as pa

BOUNDS = ("score", "collision", "lipschitz", "median", "theorem_1")


def summarize_gradients(table: pa.Table) -> Gradients:
    """Norms over the prompts, how they go with the std, and how tight the bounds are; a number that cannot be had is None.

    table  columns of `core.schema.GRADIENTS`
    """
    failed = table.num_rows - table["error"].null_count
    column = {name: table[name].to_numpy().astype(float) for name in table.column_names if name not in ("prompt_id", "error")}
    norm = column["grad_norm"]
    finite = norm[np.isfinite(norm)]
    relation = std_against_norm(column["std"], column["grad_norm_sq"])
    bounds = tightness(norm, {name: column[f"bound_{name}"] for name in BOUNDS})
    return Gradients(
        n_prompts=table.num_rows - failed,
        n_failed=failed,
        samples=int(np.nanmax(column["n_samples"], initial=0)),
        norm=Norms(
            float(np.median(finite)) if len(finite) else None,
            float(finite.max()) if len(finite) else None,
            int((column["grad_norm_lo"] > 0).sum()),
        ),
        std_and_norm=StdAndNorm(
            _finite(relation.rank_correlation), relation.n_positive, _finite(relation.correlation), _finite(relation.slope)
        ),
        bound_over_norm=BoundOverNorm(**{name: _finite(ratio) for name, ratio in bounds.items()}),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

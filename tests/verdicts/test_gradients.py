import pyarrow as pa
import pytest

from flatspot.core.json_tree import tree_to_json
from flatspot.core.schema import GRADIENTS, arrow_schema
from flatspot.verdicts.gradients import summarize_gradients


def table(*rows):
    names = [c.name for c in GRADIENTS]
    return pa.Table.from_pylist([dict.fromkeys(names) | row for row in rows], schema=arrow_schema(GRADIENTS))


def row(std, norm_sq, **changes):
    norm = max(norm_sq, 0) ** 0.5
    bounds = {f"bound_{name}": 2 * std for name in ("score", "collision", "lipschitz", "median", "theorem_1")}
    return (
        {"prompt_id": "p", "n_samples": 8, "std": std, "grad_norm": norm, "grad_norm_sq": norm_sq, "grad_norm_lo": norm / 2}
        | bounds
        | changes
    )


def test_norms_correlations_and_bounds():
    found = tree_to_json(
        summarize_gradients(table(row(0.1, 0.01), row(0.2, 0.04), row(0.4, 0.16), row(0.0, -0.01), {"prompt_id": "q", "error": "no"}))
    )
    assert (found["n_prompts"], found["n_failed"], found["samples"]) == (4, 1, 8)
    assert found["norm"] == pytest.approx({"p50": 0.15, "max": 0.4, "n_above_zero": 3})
    assert found["std_and_norm"] == pytest.approx({"rank_correlation": 1.0, "n_positive": 3, "log_correlation": 1.0, "log_slope": 1.0})
    assert found["bound_over_norm"] == pytest.approx(dict.fromkeys(("score", "collision", "lipschitz", "median", "theorem_1"), 2.0))


@pytest.mark.parametrize("rows", [[], [{"prompt_id": "q", "error": "no"}]])
def test_nothing_measured_is_null_and_not_zero(rows):
    found = tree_to_json(summarize_gradients(table(*rows)))
    assert (found["n_prompts"], found["n_failed"]) == (0, len(rows))
    assert found["norm"] == {"p50": None, "max": None, "n_above_zero": 0}
    assert set(found["bound_over_norm"].values()) == {None}

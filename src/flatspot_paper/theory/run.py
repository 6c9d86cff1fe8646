"""`flatspot reproduce theory`: every bound against the exact gradient of fresh random policies, and RL's time against SFT's."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from flatspot.core.provenance import provenance
from flatspot.rollouts.store import write_json
from flatspot.theory.bounds import collision_bound, lipschitz_bound, median_bound, score_bound, theorem_1, theorem_1_kl
from flatspot.theory.enumerate import Enumerated, enumerate_policy, one_token_gradient, prefix_probabilities
from flatspot.theory.objectives import OBJECTIVES, grpo
from flatspot.theory.separation import descend, exact_steps, times_to_half
from flatspot.theory.surrogate import clipped_surrogate
from flatspot_paper.theory.random_policies import RandomModel, random_models
from flatspot_paper.theory.results import Band, IdentityError, Measurement, SeparationRow, Slope, TheoryResults, Tightness

BANDS = (0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 1.0)
OF_STD = ("score", "collision", "lipschitz", "median", "theorem_1")
_STARTS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_OBJECTIVES_START = 1e-4
_SLACK, _FLOOR = 1e-9, 1e-15  # rounding of a sum of at most 256 terms; below the floor a norm is rounding alone
_KL_COEFFICIENT = 0.1


def reproduce_theory(out: Path, *, models: int = 500, seed: int | None = None) -> TheoryResults:
    """Enumerate `models` random policies, time the separation, and write results.json and the figures into `out`.

    seed  of the policies; None: a new one, which is written to results.json

    Returns the contents of results.json. Deterministic under a seed, except `seconds` and `provenance`.
    """
    from flatspot_paper.theory.figures import draw_figures

    start = time.perf_counter()
    seed = secrets.randbits(32) if seed is None else seed
    rng = np.random.default_rng(seed)
    rows = [measure(model) for model in random_models(models, rng)]
    results: TheoryResults = {
        "seed": seed,
        "models": models,
        "violations": sum(row["violated"] for row in rows),
        "bounds": summarize(rows),
        "slopes": {"across models": across_models(rows), "one sparse reward, as p falls": along_paths(np.random.default_rng([seed, 1]))},
        "identity": one_token_error(np.random.default_rng([seed, 2])),
        "separation": separation_table(),
        "objectives": objective_table(),
        "provenance": provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    results["figures"] = draw_figures(rows, results, out)
    results["seconds"] = round(time.perf_counter() - start, 1)
    write_json(results, out / "results.json")
    written: TheoryResults = json.loads((out / "results.json").read_text("utf-8"))
    return written


def measure(model: RandomModel) -> Measurement:
    """The exact norm of one model and (std, norm, bound) of every bound on it; `violated` counts bounds that do not hold."""
    exact = enumerate_policy(model.logits, model.rewards, jacobian=model.jacobian)
    pairs = {name: (exact.std, exact.norm, bound) for name, bound in bounds_of(exact).items()}
    surrogate = clipped_surrogate(model.logits, model.old_logits, model.rewards, jacobian=model.jacobian)
    pairs["surrogate"] = (surrogate.std_old, surrogate.norm, surrogate.bound)
    ratio = np.log(prefix_probabilities(model.logits)[-1]) - np.log(prefix_probabilities(model.old_logits)[-1])
    penalized = model.rewards - _KL_COEFFICIENT * ratio
    kl = enumerate_policy(model.logits, penalized, jacobian=model.jacobian)
    largest = float(np.abs(penalized).max())
    pairs["theorem_1_kl"] = (kl.std, kl.norm, theorem_1_kl(kl.std, length=kl.length, gamma=kl.gamma, reward_bound=largest))
    held = {name: norm <= bound * (1 + _SLACK) + _FLOOR for name, (_, norm, bound) in pairs.items()}
    return {
        "family": model.family,
        "std": exact.std,
        "norm": exact.norm,
        "pairs": pairs,
        "held": held,
        "violated": sum(not ok for ok in held.values()),
    }


def bounds_of(exact: Enumerated) -> dict[str, float]:
    """The bounds of an enumerated model, by name."""
    return {
        "score": score_bound(exact.std, score_second_moment=exact.score_second_moment),
        "collision": collision_bound(exact.std, gamma=exact.gamma, collision=exact.collision),
        "lipschitz": lipschitz_bound(exact.std, length=exact.length, gamma=exact.gamma),
        "median": median_bound(exact.mad, length=exact.length, gamma=exact.gamma),
        "theorem_1": theorem_1(exact.std, length=exact.length, gamma=exact.gamma),
    }


def summarize(rows: Sequence[Measurement]) -> dict[str, Tightness]:
    """Per bound: violations, the largest share of it that a gradient reached, and bound / norm by band of the std."""
    bounds: dict[str, Tightness] = {}
    for name in rows[0]["pairs"]:
        usable = [row["pairs"][name] for row in rows if row["pairs"][name][1] > _FLOOR]
        shares = [norm / bound for _, norm, bound in usable if bound > 0]
        bands = []
        for low, high in itertools.pairwise(BANDS):
            times = [bound / norm for std, norm, bound in usable if low <= std < high or (high == BANDS[-1] and std == high)]
            band = Band(std_from=low, std_to=high, n=len(times))
            if times:
                band["min"], band["median"], band["max"] = np.quantile(times, [0, 0.5, 1]).tolist()
            bands.append(band)
        bounds[name] = {
            "violations": sum(not row["held"][name] for row in rows),
            "largest_share": max(shares, default=None),
            "times_the_norm": bands,
        }
    return bounds


def across_models(rows: Sequence[Measurement]) -> dict[str, Slope]:
    """Slopes of ln(norm) and ln(bound) against ln(std) over all models, by least squares, with standard errors."""
    usable = [row for row in rows if row["norm"] > _FLOOR and row["std"] > _FLOOR]
    if len({row["std"] for row in usable}) < 3:
        return {}
    x = np.log([row["std"] for row in usable])
    lines = {"norm": [row["norm"] for row in usable]} | {name: [row["pairs"][name][2] for row in usable] for name in OF_STD}
    return {name: _slope(x, np.log(values)) for name, values in lines.items()}


def along_paths(rng: np.random.Generator, n_paths: int = 20) -> dict[str, Slope]:
    """The same slopes along paths: random models whose one rewarded completion becomes less and less likely; means over the paths."""
    slopes: dict[str, list[float]] = {}
    for _ in range(n_paths):
        logits = rng.normal(size=(1 + 3 + 9, 3))
        rewards = np.zeros(27)
        rewards[0] = 1.0
        points = []
        for fall in np.linspace(5, 15, 6):
            tilted = logits.copy()
            tilted[0, 0] -= fall
            exact = enumerate_policy(tilted, rewards)
            points.append({"std": exact.std, "norm": exact.norm} | bounds_of(exact))
        x = np.log([point["std"] for point in points])
        for name in ("norm", *OF_STD):
            slopes.setdefault(name, []).append(_slope(x, np.log([point[name] for point in points]))["slope"])
    return {name: {"slope": float(np.mean(s)), "se": float(np.std(s, ddof=1) / np.sqrt(n_paths))} for name, s in slopes.items()}


def one_token_error(rng: np.random.Generator, n: int = 200) -> IdentityError:
    """The largest relative difference between ∇_z V and Δ·p·(e_y − p) over random one-token policies, and their number."""
    worst = 0.0
    for _ in range(n):
        k = int(rng.integers(2, 12))
        z, label = rng.normal(size=k) * 4, int(rng.integers(k))
        high, low = sorted(rng.uniform(-1, 1, 2))[::-1]
        exact = enumerate_policy(z[None], np.where(np.arange(k) == label, high, low))
        closed = one_token_gradient(z, label, high=float(high), low=float(low))
        worst = max(worst, float(np.linalg.norm(exact.gradient - closed) / np.linalg.norm(closed)))
    return {"models": n, "largest_relative_error": worst}


def separation_table() -> list[SeparationRow]:
    """Time to p = 1/2 by the ODE and, down to p0 = 1e-3, by gradient descent on four orthonormal inputs at rate 0.01."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))

    def descent(p0: float, method: Literal["rl", "sft"]) -> float | None:
        return descend(p0, method, rate=0.01, inputs=basis.T) if p0 >= 1e-3 else None

    rows = []
    for p0 in _STARTS:
        s = times_to_half(p0)
        row: SeparationRow = {
            "p0": p0,
            "std0": s.std0,
            "rl": s.rl,
            "sft": s.sft,
            "rl_times_variance": s.rl_times_variance,
            "rl_bounds": list(s.rl_bounds),
            "sft_bounds": list(s.sft_bounds),
            "inside_bounds": s.rl_bounds[0] <= s.rl <= s.rl_bounds[1] and s.sft_bounds[0] <= s.sft <= s.sft_bounds[1],
            "descent_rl": descent(p0, "rl"),
            "descent_sft": descent(p0, "sft"),
        }
        rows.append(row)
    return rows


def objective_table() -> list[dict[str, str | int]]:
    """Exact-gradient steps from p0 = 1e-4 to 1/2 on a two-armed softmax at rate 0.5: in the limit, and at groups of 8 and 64."""
    objectives = {name: OBJECTIVES[name] for name in ("reinforce", "rloo", "dr_grpo")} | {"grpo": grpo(), "maxrl": OBJECTIVES["maxrl"]}
    sizes = {"limit": None, "group of 64": 64, "group of 8": 8}
    return [
        {"objective": name, **{label: exact_steps(o, _OBJECTIVES_START, rate=0.5, group_size=size) for label, size in sizes.items()}}
        for name, o in objectives.items()
    ]


def _slope(log_std: ArrayLike, log_values: ArrayLike) -> Slope:
    x, y = np.asarray(log_std, np.float64), np.asarray(log_values, np.float64)
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread))
    rest = y - y.mean() - slope * spread
    return {"slope": slope, "se": float(np.sqrt(rest @ rest / (len(x) - 2) / (spread @ spread)))}

"""The clipped surrogate of PPO, exactly: its value and gradient at and away from the policy that generated the completions, and a bound.

    S(θ) = E_{y ~ θ_old} Σ_l min(ρ_l A_l, clip(ρ_l, 1 − ε, 1 + ε) A_l),   ρ_l = p_θ(y_l | y_<l) / p_old(y_l | y_<l)

with the exact token advantages A_l = E_old[r | y_≤l] − E_old[r | y_<l] (one reward at the end, no discount).

The bound (derived here): if every unclipped ratio with a gradient is at most R,

    ‖∇S‖ ≤ √2 · R · γ · E_old Σ_l |A_l| ≤ √2 · R · γ · √L · std_old,   since Σ_l E_old[A_l²] = Var_old(r)

For A > 0 clipping keeps R ≤ 1 + ε; for A < 0 it gives no upper bound, so R is measured. The paper has a version for PPO; its constant is
not in any source available to us, so it is not quoted here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import Floats, level_rows, prefix_probabilities, read_policy, token_advantages, token_probabilities


@dataclass(frozen=True)
class Surrogate:
    """The clipped surrogate of one prompt.

    value          S(θ); 0 at θ_old
    gradient       ∇S(θ) [parameter]; ∇V at θ_old
    bound          √2 · R · γ · √L · std_old, at least ‖gradient‖
    largest_ratio  R, the largest ratio with a gradient; 1 if none does
    std_old        of the reward under the policy that generated the completions
    """

    value: float
    gradient: Floats = field(repr=False)
    bound: float
    largest_ratio: float
    std_old: float

    @property
    def norm(self) -> float:
        """‖∇S‖."""
        return float(np.linalg.norm(self.gradient))


def clipped_surrogate(
    logits: ArrayLike, old_logits: ArrayLike, rewards: ArrayLike, *, clip_range: float = 0.2, jacobian: ArrayLike | None = None
) -> Surrogate:
    """Value, gradient and bound of the surrogate, by enumeration; shapes as in `enumerate_policy`.

    logits, jacobian  of the policy θ that is being updated
    old_logits        of the policy that generated the completions

    >>> at_old = clipped_surrogate([[0.0, 0.0]], [[0.0, 0.0]], [0.0, 1.0])
    >>> at_old.value, at_old.gradient.tolist(), at_old.bound > at_old.norm
    (0.0, [-0.25, 0.25], True)
    """
    if not 0 <= clip_range < 1:
        raise SettingsError(f"clip_range must lie in [0, 1), got {clip_range}")
    table, reward, length, jac = read_policy(logits, rewards, jacobian)
    old = read_policy(old_logits, rewards, None)[0]
    if old.shape != table.shape:
        raise SettingsError(f"logits and old_logits must have one shape, got {table.shape} and {old.shape}")
    p, p_old, reach = token_probabilities(table), token_probabilities(old), prefix_probabilities(old)
    weights = np.zeros_like(table)
    value = variance = 0.0
    largest = 1.0
    for level, advantage in token_advantages(old, reward):
        rows = level_rows(level, table.shape[1])
        at = reach[level][:, None] * p_old[rows]
        ratio = p[rows] / p_old[rows]
        clipped = np.clip(ratio, 1 - clip_range, 1 + clip_range)
        value += float((at * np.minimum(ratio * advantage, clipped * advantage)).sum())
        variance += float((at * advantage**2).sum())
        moves = (at > 0) & np.where(advantage > 0, ratio <= 1 + clip_range, ratio >= 1 - clip_range) & (advantage != 0)
        weights[rows] = np.where(moves, at * ratio * advantage, 0.0)
        largest = max(largest, float(ratio[moves].max(initial=0.0)))
    # d log p(v)/dz = e_v − p, so the total weight of each row is subtracted
    on_logits = weights - weights.sum(1, keepdims=True) * p
    gradient = on_logits.reshape(-1) if jac is None else np.einsum("xv,xvp->p", on_logits, jac)
    gamma = 1.0 if jac is None else float(np.linalg.norm(jac, ord=2, axis=(1, 2)).max())
    std = float(np.sqrt(variance))
    return Surrogate(value, gradient, float(np.sqrt(2 * length)) * largest * gamma * std, largest, std)

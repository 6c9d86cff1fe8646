"""How long RL and SFT take to learn one answer, from a policy in which it has almost no probability.

The linear softmax model: logits z = θx, orthonormal inputs, one output token, reward +1 for the right label and −1 for any other. Under
gradient flow the inputs are independent of each other, and each follows, with p the probability of its label and q_j of the others,

    RL    dz/dt = 2p(e_y − p)    d ln p/dt = 2p[(1 − p)² + Σ q_j²]     2p²(1 − p)² ≤ dp/dt ≤ 4p²(1 − p)²
    SFT   dz/dt = e_y − p        d ln p/dt = (1 − p)² + Σ q_j²         (1 − p)² ≤ d ln p/dt ≤ 2(1 − p)²

so the time to p = 1/2 from p0, with std0 = 2√(p0(1 − p0)), lies in (derived here, after the claim of the paper's section 4.3)

    RL    ¼(1/p0 − 2) ≤ T ≤ 2(1/p0 − 2)            T ≥ 1/(2·std0²) − ½       grows as 1/std0²
    SFT   ½ ln(1/(2 p0)) ≤ T ≤ 4 ln(1/(2 p0))      T ≤ 8 ln(√2/std0)         grows as ln(1/std0)

Times are in units of 1/learning rate; an objective that averages over n inputs takes n times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.theory.objectives import Objective

Method = Literal["rl", "sft"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Separation:
    """Times to p = 1/2 from one start, by the ODE, with their bounds.

    std0      2√(p0(1 − p0)), the std of the reward at the start
    rl, sft   the time, in units of 1/learning rate
    rl_bounds, sft_bounds  (lower, upper)
    """

    p0: float
    std0: float
    rl: float
    sft: float
    rl_bounds: tuple[float, float]
    sft_bounds: tuple[float, float]

    @property
    def rl_times_variance(self) -> float:
        """T_RL · std0²: tends to a constant as std0 falls, which is the 1/std0² of the claim."""
        return self.rl * self.std0**2


def times_to_half(p0: float, *, n_labels: int = 10, n_likely: int = 5) -> Separation:
    """The times from p0, of `n_labels` labels, with the rest of the mass spread over `n_likely` wrong ones.

    Raises SettingsError unless 0 < p0 < 1/2 and 1 ≤ n_likely < n_labels.

    >>> times = times_to_half(0.1)
    >>> round(times.rl, 2), round(times.sft, 2), round(times.rl_times_variance, 2)
    (5.53, 2.57, 1.99)
    """
    z = start_logits(p0, n_labels=n_labels, n_likely=n_likely)
    near = float(np.log(1 / (2 * p0)))
    far = 1 / p0 - 2
    return Separation(
        p0=p0,
        std0=float(2 * np.sqrt(p0 * (1 - p0))),
        rl=time_to_half(z, "rl"),
        sft=time_to_half(z, "sft"),
        rl_bounds=(far / 4, 2 * far),
        sft_bounds=(near / 2, 4 * near),
    )


def start_logits(p0: float, *, n_labels: int, n_likely: int) -> Floats:
    """Logits [label] with probability p0 at label 0, 1 − p0 spread over the next `n_likely`, and e^-30 of that at the others."""
    if not 0 < p0 < 0.5:
        raise SettingsError(f"p0 must lie in (0, 1/2), got {p0}")
    if not 1 <= n_likely < n_labels:
        raise SettingsError(f"n_likely must be at least 1 and under n_labels = {n_labels}, got {n_likely}")
    z = np.full(n_labels, np.log((1 - p0) / n_likely))
    z[0] = np.log(p0)
    z[n_likely + 1 :] -= 30
    return z


def velocity(z: Floats, method: Method) -> Floats:
    """dz/dt of one input whose label is 0: the exact gradient of the expected reward (rl), or of log p(label) (sft)."""
    weights = np.exp(z - z.max())
    p = weights / weights.sum()
    step: Floats = -p
    step[0] += 1
    return step if method == "sft" else 2 * float(p[0]) * step


def time_to_half(z: Floats, method: Method) -> float:
    """The time at which p(label 0) reaches 1/2 under gradient flow from the logits z: the ODE, by an implicit solver to 1e-9."""
    from scipy.integrate import solve_ivp
    from scipy.special import logsumexp

    def reached(_: float, now: Floats) -> float:
        return float(now[0] - logsumexp(now) - np.log(0.5))

    vars(reached)["terminal"] = True  # read by solve_ivp
    p0 = float(np.exp(z[0] - logsumexp(z)))
    if p0 >= 0.5:
        return 0.0
    most = 2 * (1 / p0 - 2) if method == "rl" else 4 * np.log(1 / (2 * p0))
    solution = solve_ivp(
        lambda _, now: velocity(now, method), (0.0, 1.01 * most + 1e-9), z, method="LSODA", events=reached, rtol=1e-9, atol=1e-11
    )
    if not solution.success or not len(solution.t_events[0]):
        raise ArithmeticError(f"the ODE for {method} from p0 = {p0:g} was not solved: {solution.message}")
    return float(solution.t_events[0][0])


def descend(
    p0: float, method: Method, *, rate: float, n_labels: int = 10, n_likely: int = 5, inputs: Floats | None = None, most_steps: int = 10**7
) -> float:
    """rate × steps of plain gradient descent on θ until every input has p(label) ≥ 1/2, on the model itself rather than the ODE.

    inputs  [input, feature], orthonormal rows; None: one input. All have label 0 and the same start; the objective is summed over them

    The exact gradient of the summed objective is taken at each step, so it agrees with the ODE as the rate goes to 0.

    >>> round(descend(0.1, "sft", rate=0.01), 1)
    2.6
    """
    x = np.eye(1) if inputs is None else np.asarray(inputs, np.float64)
    if x.ndim != 2 or not np.allclose(x @ x.T, np.eye(len(x)), atol=1e-9):
        raise SettingsError(f"inputs must be orthonormal rows [input, feature], got shape {x.shape}")
    if rate <= 0:
        raise SettingsError(f"rate must be above 0, got {rate}")
    z0 = start_logits(p0, n_labels=n_labels, n_likely=n_likely)
    theta = np.outer(z0, x.sum(0))  # θ x_i = z0 for every i
    for step in range(most_steps):
        z = theta @ x.T
        weights = np.exp(z - z.max(0))
        p = weights / weights.sum(0)
        if p[0].min() >= 0.5:
            return step * rate
        pull = -p
        pull[0] += 1
        theta += rate * (pull if method == "sft" else 2 * p[0] * pull) @ x
    raise ArithmeticError(f"gradient descent did not reach p = 1/2 in {most_steps} steps")


def exact_steps(objective: Objective, p0: float, *, rate: float, group_size: int | None = None, most_steps: int = 10**7) -> int:
    """Steps of gradient ascent with the expected update w(p)·∇p from p0 to 1/2, on two logits: ∇p = p(1 − p)(1, −1).

    group_size  None: the weight's limit; else its exact expectation at that size

    >>> from flatspot.theory.objectives import OBJECTIVES
    >>> [exact_steps(OBJECTIVES[name], 1e-4, rate=0.5) for name in ("reinforce", "grpo", "maxrl")]
    [10022, 202, 10]
    """
    if not 0 < p0 < 0.5:
        raise SettingsError(f"p0 must lie in (0, 1/2), got {p0}")
    gap = float(np.log(p0 / (1 - p0)))
    for step in range(most_steps):
        if gap >= 0:
            return step
        p = float(1 / (1 + np.exp(-gap)))
        weight = objective.limit_weight(p) if group_size is None else objective.weight(p, group_size=group_size)
        gap += 2 * rate * weight * p * (1 - p)
    raise ArithmeticError(f"{objective.name} did not reach p = 1/2 in {most_steps} steps")

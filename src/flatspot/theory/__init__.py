"""Bounds on an expected policy gradient, and its exact value for policies that can be enumerated. Names are imported on first use.

bounds      the inequalities: Theorem 1 and the tighter ones
enumerate   exact gradients of policies small enough to enumerate
surrogate   the clipped surrogate of PPO
objectives  GRPO, RLOO, Dr. GRPO, MaxRL, pass@K as weights on the gradient of p
separation  how long RL and SFT take to learn one answer
gradients   the same quantities estimated on real models (the only module here that uses torch)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

if TYPE_CHECKING:
    from flatspot.theory.bounds import collision_bound as collision_bound
    from flatspot.theory.bounds import lipschitz_bound as lipschitz_bound
    from flatspot.theory.bounds import median_bound as median_bound
    from flatspot.theory.bounds import score_bound as score_bound
    from flatspot.theory.bounds import theorem_1 as theorem_1
    from flatspot.theory.bounds import theorem_1_kl as theorem_1_kl
    from flatspot.theory.enumerate import Enumerated as Enumerated
    from flatspot.theory.enumerate import enumerate_policy as enumerate_policy
    from flatspot.theory.enumerate import one_token_gradient as one_token_gradient
    from flatspot.theory.enumerate import recurrent_policy as recurrent_policy
    from flatspot.theory.objectives import OBJECTIVES as OBJECTIVES
    from flatspot.theory.objectives import Objective as Objective
    from flatspot.theory.objectives import grpo as grpo
    from flatspot.theory.objectives import pass_at_k as pass_at_k
    from flatspot.theory.separation import Separation as Separation
    from flatspot.theory.separation import times_to_half as times_to_half
    from flatspot.theory.surrogate import Surrogate as Surrogate
    from flatspot.theory.surrogate import clipped_surrogate as clipped_surrogate

_HOME = {
    "Enumerated": "enumerate",
    "OBJECTIVES": "objectives",
    "Objective": "objectives",
    "Separation": "separation",
    "Surrogate": "surrogate",
    "clipped_surrogate": "surrogate",
    "collision_bound": "bounds",
    "enumerate_policy": "enumerate",
    "grpo": "objectives",
    "lipschitz_bound": "bounds",
    "median_bound": "bounds",
    "one_token_gradient": "enumerate",
    "pass_at_k": "objectives",
    "recurrent_policy": "enumerate",
    "score_bound": "bounds",
    "times_to_half": "separation",
    "theorem_1": "bounds",
    "theorem_1_kl": "bounds",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = on_first_use(__name__, _HOME)

"""`flatspot.triage`: label every prompt with as few completions as a stated error allows, drawn by a function of the user's."""

from __future__ import annotations

from flatspot.core.errors import SettingsError
from flatspot.core.settings import Advantage
from flatspot.rollouts.rounds import Round, run_rounds
from flatspot.stats.evidence import Floats
from flatspot.stats.triage.decider import Adaptive, finish
from flatspot.stats.triage.draws import Draw, Draws, ask
from flatspot.stats.triage.plan import Plan
from flatspot.stats.triage.result import Triage


def triage(
    draw: Draw,
    n_prompts: int,
    *,
    epsilon: float = 0.05,
    target_error: float = 0.03,
    max_samples: int = 64,
    round_size: int = 1,
    seed: int = 0,
    reward_range: tuple[float, float] | None = None,
    r_star: Floats | None = None,
    top_reachable: bool = False,
    group_size: int = 8,
    advantage: Advantage = "centered",
    max_total: int | None = None,
    worst_case: bool = False,
    resume: Draws | None = None,
) -> Triage:
    """Label prompts 0 .. n_prompts - 1 at a mean error of `target_error`, with as few completions as that takes.

    draw    (indices int [m], k) -> float [m, k] rewards, NaN where the reward failed
    resume  what an earlier call drew before it was interrupted (`DrawError.draws` or `Triage.draws`): used before anything is drawn

    `max_samples` is the most completions of a prompt; the other settings are those of `Plan`. Raises `DrawError`, which carries everything
    drawn so far, and `SettingsError`.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> p = np.repeat([0.0, 0.5, 1.0], 100)
    >>> t = triage(lambda i, k: rng.random((len(i), k)) < p[i, None], 300)
    >>> [int((t.verdict[s : s + 100] == name).sum()) for s, name in [(0, "vanishing"), (100, "learnable"), (200, "solved")]]
    [100, 100, 100]
    >>> round(float(t.n_samples.mean()), 1), round(t.predicted_error, 2)
    (6.4, 0.03)
    """
    if max_samples < 1:
        raise SettingsError(f"max_samples must be at least 1, got {max_samples}")
    plan = Plan(
        n_prompts, epsilon, target_error, max_samples, round_size, seed, reward_range, r_star, max_total, worst_case=worst_case,
        top_reachable=top_reachable, group_size=group_size, advantage=advantage, pilot=2,
    )  # fmt: skip
    decider = Adaptive(plan)

    def rewards(this: Round) -> Floats:
        return ask(draw, decider.state.draws, this.prompts, this.n_completions, reward_range, resume)

    run_rounds(decider, rewards)
    return finish(decider.state)

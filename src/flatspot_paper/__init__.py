"""The paper, repeated: theory, controlled experiments and PPO. Names are imported on first use.

train_ppo, PPOSettings, StepMetrics   the paper's PPO, for causal and encoder–decoder models
reproduce_theory                      every bound against exact gradients of random policies, and RL's time against SFT's
run_controlled, plan_for              SFT against RL with exact gradients, on samples with small and large reward std

Its verbs join `flatspot` through the entry-point group `flatspot.verbs`; flatspot never imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

if TYPE_CHECKING:
    from flatspot_paper.controlled.experiment import Controlled as Controlled
    from flatspot_paper.controlled.experiment import run_controlled as run_controlled
    from flatspot_paper.controlled.plans import Plan as Plan
    from flatspot_paper.controlled.plans import plan_for as plan_for
    from flatspot_paper.ppo.settings import PPOSettings as PPOSettings
    from flatspot_paper.ppo.settings import StepMetrics as StepMetrics
    from flatspot_paper.ppo.train import train_ppo as train_ppo
    from flatspot_paper.theory.run import reproduce_theory as reproduce_theory

_HOME = {
    "Controlled": "controlled.experiment",
    "PPOSettings": "ppo.settings",
    "Plan": "controlled.plans",
    "StepMetrics": "ppo.settings",
    "plan_for": "controlled.plans",
    "reproduce_theory": "theory.run",
    "run_controlled": "controlled.experiment",
    "train_ppo": "ppo.train",
}
_NEEDS = {"Controlled": "torch", "run_controlled": "torch"}
__getattr__, __dir__ = on_first_use(__name__, _HOME, _NEEDS, extra="reproduce")

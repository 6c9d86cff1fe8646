"""Recording a reward under any trainer: every rollout that it scores is written down, before anything is filtered."""

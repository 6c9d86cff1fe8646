"""Each verb of measuring on one page: prompts, policy and reward become rollouts, then verdicts, then a report."""

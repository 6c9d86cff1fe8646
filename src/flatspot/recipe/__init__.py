"""`flatspot run recipe.yaml`: diagnose, plan, warm up, diagnose, RL, diagnose, report; each stage is done once and can be gone on with."""

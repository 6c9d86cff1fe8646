"""flatspot finds the prompts that a reinforcement-finetuning run cannot learn from."""

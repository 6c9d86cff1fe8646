"""GRUE: seven text tasks, their prompts and rewards, and the spread of the reward under a policy before any finetuning."""

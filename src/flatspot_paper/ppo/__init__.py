"""The PPO that the paper trained with, for causal and encoder–decoder models."""

"""Reinforcement finetuning by TRL."""

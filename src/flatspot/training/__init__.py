"""Trainings: watching one (`watch`), SFT on a few labels (`warmup`), and RL through TRL (`rl`)."""

"""Decides, does nothing: what an RL run on the judged prompts would see, and what it would cost."""

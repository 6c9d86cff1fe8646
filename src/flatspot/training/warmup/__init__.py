"""The warm-up: SFT on a few labels that stops by itself once RL can take over."""

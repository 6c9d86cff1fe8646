"""VanishBench: small policies whose every completion is counted, and rules that spend a budget of completions and labels on them."""

from vanishbench.entry import Entry, World
from vanishbench.policy import Group

__all__ = ["Entry", "Group", "World"]

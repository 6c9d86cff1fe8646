"""`flatspot reproduce`: the paper, repeated; a verb of flatspot through the entry-point group `flatspot.verbs`."""

from __future__ import annotations

import click

from flatspot.cli.lazy import LazyGroup

_PARTS = {
    "theory": "flatspot_paper.cli.theory",
    "controlled": "flatspot_paper.cli.controlled",
    "grue": "flatspot_paper.cli.grue",
    "sweep": "flatspot_paper.cli.sweep",
}
_TEXTS = {
    "theory": "The gradient bounds on new enumerable models, and the time that RL and SFT need.",
    "controlled": "SFT against RL with exact gradients, where some samples start with almost no reward std.",
    "grue": "The reward std of each input of seven text tasks, before and after RL and SFT.",
    "sweep": "A grid of finetunings of one text task, as one table.",
}


@click.command("reproduce", cls=LazyGroup, modules=_PARTS, texts=_TEXTS)
def reproduce_command() -> None:
    """Repeat the paper's theory and experiments on this machine."""

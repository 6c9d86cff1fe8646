"""`flatspot reproduce`: the paper, repeated; a verb of flatspot through the entry-point group `flatspot.verbs`."""

from __future__ import annotations

import click

from flatspot.cli.lazy import LazyGroup

_PARTS = {
    "theory": "flatspot_paper.cli.theory",
    "controlled": "flatspot_paper.cli.controlled",
    "grue": "flatspot_paper.cli.grue",
}
_TEXTS = {
    "theory": "The gradient bounds on new enumerable models, and the time that RL and SFT need.",
    "controlled": "SFT against RL with exact gradients, where some samples start with almost no reward std.",
    "grue": "The reward std of each input of seven text tasks under pretrained policies.",
}


@click.command("reproduce", cls=LazyGroup, modules=_PARTS, texts=_TEXTS)
def reproduce_command() -> None:
    """Repeat the paper's theory and experiments on this machine."""

"""Options of the probes and of the stop rule, for the verbs that have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flatspot.cli.renamed import renamed_option

if TYPE_CHECKING:
    from flatspot.training.warmup.probe import ProbeSettings
    from flatspot.training.warmup.stop_rule import StopRule

F = TypeVar("F", bound=Callable[..., Any])
PROBE_OPTIONS = (
    "every",
    "probe_prompts",
    "probe_completions",
    "probe_engine",
    "probe_memory_gib",
    "group_size",
    "patience",
    "budget_worth",
)


def probe_options(command: F) -> F:
    """How closely to look, and when to stop."""
    for option in reversed(
        [
            click.option("--every", type=click.IntRange(1), metavar="N", help="Steps between probes.  [default: a twentieth of all]"),
            click.option(
                "--probe-prompts", type=click.IntRange(1), default=64, show_default=True, help="Prompts that are probed, at most."
            ),
            renamed_option(
                "--probe-completions",
                before="--probe-samples",
                type=click.IntRange(1),
                default=16,
                show_default=True,
                help="Completions of each, at most.",
            ),
            click.option(
                "--probe-engine",
                type=click.Choice(["hf", "vllm"]),
                default="hf",
                show_default=True,
                help="hf: the model itself; vllm: a copy of it, which leaves the GPU between probes.",
            ),
            click.option("--probe-memory-gib", type=float, metavar="GIB", help="Of vLLM's cache, beside its weights.  [default: 4]"),
            click.option(
                "--group-size",
                type=click.IntRange(2),
                metavar="K",
                help="Completions per prompt in the planned RL run.  [default: the run's]",
            ),
            click.option("--patience", type=click.IntRange(1), default=2, show_default=True, help="Probes without gain before it stops."),
            click.option(
                "--budget-worth",
                type=click.FloatRange(0, 1),
                default=0.1,
                show_default=True,
                help="Share of prompts that all steps together are worth: the price of a step.",
            ),
        ]
    ):
        command = option(command)
    return command


def probe_settings(values: Mapping[str, Any]) -> ProbeSettings:
    """The settings of the probes that the options ask for."""
    from flatspot.training.warmup.probe import ProbeSettings

    return ProbeSettings(
        prompts=values["probe_prompts"],
        max_completions=values["probe_completions"],
        every=values["every"],
        group_size=values["group_size"],
        seed=values["seed"],
        engine=values["probe_engine"],
        memory_gib=values["probe_memory_gib"],
    )


def stop_rule(values: Mapping[str, Any]) -> StopRule:
    """The stop rule that the options ask for."""
    from flatspot.training.warmup.stop_rule import StopRule

    return StopRule(budget_worth=values["budget_worth"], patience=values["patience"])

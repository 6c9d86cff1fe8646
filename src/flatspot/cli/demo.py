"""`flatspot demo`: the whole tool on a small real language model, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

# at most 32 samples leave 3% error out of reach for some prompts near a threshold; the demo says 5% and means it
_SETTINGS: dict[str, Any] = {"max_samples": 32, "max_new_tokens": 32, "target_error": 0.05, "group_size": 8}


@click.command("demo")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("flatspot-demo"), show_default=True, help="Run folder."
)
@click.option(
    "--samples", type=click.IntRange(2), default=_SETTINGS["max_samples"], show_default=True, help="Completions per prompt, at most."
)
@click.option("--engine", type=click.Choice(["auto", "hf", "openvino"]), default="auto", show_default=True, help="What draws them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report.")
def demo_command(out: Path, samples: int, engine: str, as_json: bool) -> None:
    """Diagnose SmolLM2-135M-Instruct on reasoning-gym prompts from trivial to impossible.

    Takes about two minutes on two cores the first time; a second call shows the same run at once.
    """
    from flatspot.cli.output import say, show
    from flatspot.cli.progress import progress_bar
    from flatspot.engines.policy import DEFAULT_POLICY
    from flatspot.flow import diagnose
    from flatspot.tasks.demo import demo_prompts

    prompts = demo_prompts()
    say(
        f"{DEFAULT_POLICY} on {len(prompts)} prompts of {len({p.columns['task'] for p in prompts})} tasks, up to {samples} completions each"
    )
    with progress_bar() as on_progress:
        diagnosis = diagnose(
            prompts,
            DEFAULT_POLICY,
            "exact_match",
            on_progress=on_progress,
            say=say,
            **(_SETTINGS | {"max_samples": samples, "out": out, "engine": engine}),
        )
    show(diagnosis, as_json=as_json, fail_above=None)

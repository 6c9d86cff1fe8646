"""What `flatspot demo --train` prints at its end."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatspot.runs.demo_summary import DemoPolicy, DemoResults

WIDTH = 80


def demo_text(results: DemoResults, out: Path) -> str:
    """The table of policies, what it shows, and what to do next: a screen of 80 columns."""
    rows = {row.name: row for row in results.rows}
    warm, n = rows["warm-up"], results.size.prompts
    text = (
        f"The warm-up took {warm.labels} labels, {warm.labels / n:.0%} of the {n} prompts; it stopped because {warm.why}. "
        f"Every RL run drew {rows['RL alone'].generations:,} completions. {_outcome(rows)} {results.seconds:.0f} s in all."
    )
    lines = [
        f"{'':22}{'reward':>7}{'learnable':>11}{'vanishing':>11}{'solved':>8}{'labels':>8}{'SFT':>5}{'time':>8}",
        *(_line(row) for row in results.rows),
        "",
        *textwrap.wrap(text, WIDTH),
        "",
        "Next, with your own model, prompts and reward:",
        "  $ flatspot diagnose PROMPTS --model MODEL --reward REWARD --out RUN",
        "  $ flatspot plan RUN --labels 5%          then fill RUN/labels.jsonl",
        "  $ flatspot warmup RUN --labels RUN/labels.jsonl --out WARM",
        "  $ flatspot train PROMPTS --model WARM/policy --reward REWARD --out RL",
        f"Kept in {out}: results.json, judged/*/report.html",
    ]
    return "\n".join(lines)


def _line(row: DemoPolicy) -> str:
    time = f"{row.seconds:.0f} s" if row.seconds else "-"
    shares = f"{row.learnable:>11.0%}{row.vanishing:>11.0%}{row.solved:>8.0%}"
    return f"{row.name:22}{row.reward:>7.2f}{shares}{row.labels or '-':>8}{row.sft_steps or '-':>5}{time:>8}"


def _outcome(rows: Mapping[str, DemoPolicy]) -> str:
    """Whether RL after the warm-up did better, whichever way it went."""
    best = max((row for name, row in rows.items() if name.startswith("RL")), key=lambda row: row.reward)
    warm = rows["warm-up, then RL"].reward
    if warm > best.reward + 0.1:
        return f"RL from the model as it is reached {best.reward:.2f} at best, after the warm-up {warm:.2f}."
    return f"RL after the warm-up reached {warm:.2f}, no more than {best.name} ({best.reward:.2f}): not what the demo is to show."

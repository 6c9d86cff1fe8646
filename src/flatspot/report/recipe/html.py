"""The report of a recipe as one HTML file: what became of the prompts, the warm-up, RL with and without it, what it cost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.report import blocks, formats, svg
from flatspot.report.json import write_atomically
from flatspot.report.recipe import blocks as recipe_blocks
from flatspot.report.recipe import charts as recipe_charts
from flatspot.report.recipe.paths import largest_std, paths_between
from flatspot.report.run.html import content_policy, date_text, flat_rows, page_script, page_style, template

if TYPE_CHECKING:
    import pyarrow as pa

    from flatspot.runs.recipe_summary import RecipeSummary

_STEPS = (("before", "warmed"), ("warmed", "after"), ("before", "after"), ("before", "after-alone"))


@dataclass(frozen=True, slots=True)
class Way:
    """A chart of the prompts between two diagnoses: its key, its title, from where to where, and how many prompts it leaves out."""

    key: str
    name: str
    where: str
    chart: str
    left: int


def write_recipe_html(summary: RecipeSummary, paths: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write the report, whole or not at all."""
    write_atomically(path, render_recipe_html(summary, paths))


def render_recipe_html(summary: RecipeSummary, paths: pa.Table) -> str:
    """The report as a self-contained page.

    summary  the object that `flatspot run --json` prints
    paths    columns of `core.schema.PATHS`
    """
    ways = _ways(summary, paths)
    curve, checkpoint = (summary.warmup.curve, summary.warmup.chosen_step) if summary.warmup is not None else ((), 0)
    pictures = {
        "verdicts": recipe_charts.verdicts(summary),
        "warmup": recipe_charts.warm_up(curve, checkpoint),
        "warmup-reward": recipe_charts.warm_up_reward(curve, checkpoint, summary.reward_range),
        "rewards": recipe_charts.rewards(summary),
    }
    charts = {name: chart for name, chart in pictures.items() if chart is not None}
    charts |= {f"way:{way.key}": way.chart for way in ways}
    scripts = [page_script("charts.js", "recipe.js")]
    title, tone = recipe_blocks.headline(summary)
    html = template("recipe.html.j2").render(
        title=title,
        tone=tone,
        reason=recipe_blocks.reason(summary),
        created=date_text(str(summary.provenance.get("created") or "")),
        n_prompts=summary.n_prompts,
        key_facts=recipe_blocks.key_facts(summary),
        stages=[recipe_blocks.STAGES[name] for name in summary.policies],
        verdicts=blocks.VERDICTS,
        composition=recipe_blocks.composition_rows(summary),
        composition_note=recipe_blocks.COMPOSITION_NOTE,
        ways=ways,
        warm_up=recipe_blocks.warm_up_sentence(summary),
        compared="train-alone" in summary.rewards,
        costs=recipe_blocks.cost_rows(summary),
        n_stages=len(summary.cost),
        folders=recipe_blocks.stage_folders(summary),
        caveats=[formats.visible(text) for text in summary.caveats],
        tables=[("settings", flat_rows(summary.settings)), ("provenance", flat_rows(summary.provenance))],
        policy=content_policy(scripts),
        scripts=scripts,
        style=page_style(),
        sprite=svg.sprite(),
        charts=charts,
    )
    return html.encode("utf-8", "replace").decode()


def _ways(summary: RecipeSummary, paths: pa.Table) -> list[Way]:
    """The charts of prompts on their way: through the warm-up and RL, and through RL alone where that was run."""
    lo, hi = summary.reward_range
    stages, top, ways = set(summary.policies), largest_std(paths), []
    for first, last in _STEPS:
        if not {first, last} <= stages or ((first, last) == ("before", "after") and "warmed" in stages):
            continue
        shown, left = paths_between(paths, first, last, hi - lo)
        name = "The warm-up" if last == "warmed" else "RL alone" if last == "after-alone" else "RL"
        where = f"{recipe_blocks.STAGES[first]} → {recipe_blocks.STAGES[last]}"
        if (chart := recipe_charts.moves(shown, summary, top, where)) is not None:
            ways.append(Way(f"{first}-{last}", name, where, chart, left))
    return ways

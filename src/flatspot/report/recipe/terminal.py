"""What `flatspot run` prints at its end. No numbers are computed here."""

from __future__ import annotations

import textwrap

from flatspot.report.formats import visible
from flatspot.report.recipe import blocks as recipe_blocks
from flatspot.report.recipe.blocks import Row
from flatspot.runs.recipe_summary import RecipeSummary


def recipe_text(summary: RecipeSummary, *, width: int = 80) -> str:
    """The report of a recipe as lines of at most `width` columns, where its tables allow it."""
    stages = [recipe_blocks.STAGES[name] for name in summary.policies]
    lines = [
        recipe_blocks.headline(summary)[0].upper(),
        *textwrap.wrap(recipe_blocks.reason(summary), width),
        "",
        *_table(("prompts", *(_short(stage) for stage in stages)), recipe_blocks.composition_rows(summary)),
        *textwrap.wrap(recipe_blocks.COMPOSITION_NOTE, width),
    ]
    if text := recipe_blocks.warm_up_sentence(summary):
        lines += ["", *textwrap.wrap(text, width, initial_indent="Warm-up ", subsequent_indent="        ")]
    lines += ["", *_table(("cost", "labels", "steps", "completions", "time"), recipe_blocks.cost_rows(summary))]
    if summary.caveats:
        lines += ["", "Caveats"]
        lines += [
            line
            for text in map(visible, summary.caveats)
            for line in textwrap.wrap(text, width, initial_indent="  - ", subsequent_indent="    ")
        ]
    return "\n".join(lines)


def _short(stage: str) -> str:
    return stage.replace("the ", "")


def _table(head: tuple[str, ...], rows: tuple[Row, ...]) -> list[str]:
    cells = [head, *((row.name, *row.cells) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    return ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]) for line in cells]

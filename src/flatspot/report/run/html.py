"""The report as one HTML file that opens offline and loads nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

from flatspot.core.plain import plain
from flatspot.report import blocks, charts, formats, svg
from flatspot.report.blocks import ReportData
from flatspot.report.gain_chart import gain_chart
from flatspot.report.json import write_atomically
from flatspot.report.marks import Marks, place_marks
from flatspot.report.prompt_line import prompt_line
from flatspot.report.run import next_steps as steps
from flatspot.report.run.gradients import gradient_chart, gradient_facts, gradient_marks
from flatspot.report.run.grid import ROOM, Rows, grid_chart, grid_legend, has_texts, rows_of
from flatspot.report.run.payload import Payload, build_payload, pack
from flatspot.report.run.shown import shown_prompts, with_completions
from flatspot.report.run.states import states_chart
from flatspot.report.run.steps import flat_chart, std_chart
from flatspot.report.run.steps_text import steps_facts
from flatspot.report.theme import DARK, LIGHT, css_variables
from flatspot.runs.by_step import groups_by_step
from flatspot.runs.prompt_steps import prompt_grid

if TYPE_CHECKING:
    import jinja2

    from flatspot.runs.run import Run
    from flatspot.runs.summary import Summary

_STATIC_ROWS = 25  # what a reader without JavaScript sees of the table


def write_report(run: Run, path: str | os.PathLike[str]) -> None:
    """Write the report of a judged run, whole or not at all; of a large one, with some of its prompts and completions."""
    shown = shown_prompts(len(run.verdicts))
    verdicts = run.verdicts.take(shown)
    completions = run.completions(with_completions(verdicts))
    picked = "survivors-only" in run.summary.caveat_codes  # nothing is said of groups that were picked by their rewards
    steps, grid = (None, None) if picked or run.summary.steps is None else (groups_by_step(run), prompt_grid(run))
    write_html(ReportData(run.summary, verdicts, run.prompts.take(shown), completions, run.gradients, steps, grid), path)


def write_html(data: ReportData, path: str | os.PathLike[str]) -> None:
    """Write the report, whole or not at all."""
    write_atomically(path, render_html(data))


def render_html(data: ReportData) -> str:
    """The report as a self-contained page.

    Every text of the data goes through Jinja's escaping, or travels as base64 of gzip and is put in place as text by the page's script.
    """
    payload = build_payload(data)
    rows = payload.rows
    names = [rows["names"][i] for i in rows["verdict"]]
    total = [None] * len(names)
    marks = {"": place_marks(names, rows.get("mean", total), rows.get("std", total))}
    marks |= {name: place_marks(names, part.get("mean", total), part.get("std", total)) for name, part in rows["components"].items()}
    best = place_marks(names, rows.get("mean", total), _within(rows.get("best_of_k", total), data.summary))
    pictures = _charts(data.summary, marks[""], best, rows)
    if (gradients := gradient_chart(gradient_marks(data))) is not None:
        pictures["gradients"] = gradients
    grid = _grid_rows(data)
    pictures |= _over_steps(data, grid)
    # a component's scatter plot replaces the total's when a reader picks it; its range, and so its corner, are not the total's
    components = {name: charts.scatter(place, None) for name, place in marks.items() if name and place.values}
    of_prompt = {"scatter": {name: place.of_prompt for name, place in marks.items()}, "gain": {"": best.of_prompt}}
    page = {"rows": {**rows, "marks": of_prompt}, "components": components}
    scripts = [page_script("unpack.js", "charts.js", "table.js", "page.js")]
    facts = gradient_facts(data)
    html = template("report.html.j2").render(
        **_words(data.summary),
        policy=content_policy(scripts),
        scripts=scripts,
        style=page_style(),
        sprite=svg.sprite(),
        page=pack(page),
        details=pack(payload.details),
        charts=pictures,
        marks=marks[""],
        gain_marks=best,
        gradient_facts=facts,
        steps_facts=steps_facts(data.summary.steps),
        shades=grid_legend(grid),
        glossary=[*blocks.GLOSSARY, *([blocks.GRADIENT_TERM] if facts else [])],
        components=list(components),
        static_rows=_static_rows(payload, names),
        payload=payload,
        n_rows=len(names),
    )
    return html.encode("utf-8", "replace").decode()  # a lone surrogate in the summary must not keep the file from being written


def _grid_rows(data: ReportData) -> Rows | None:
    if data.grid is None:
        return None
    return rows_of(data.grid, _middle(data.summary), binary=data.summary.reward_model == "binary")


def _middle(summary: Summary) -> float:
    lo, hi = summary.reward.range
    return (lo + hi) / 2


def _over_steps(data: ReportData, rows: Rows | None) -> dict[str, str]:
    """The charts of a training's steps, as far as there is something to show."""
    pictures = {}
    if data.summary.steps is not None and (states := states_chart(data.summary.steps)) is not None:
        pictures["states_by_step"] = states
    if data.grid is not None and rows is not None:
        pictures["prompts_by_step"] = grid_chart(data.grid, rows, _row_texts(data, rows), middle=_middle(data.summary))
    if data.steps is not None:
        pictures |= {"flat_by_step": flat_chart(data.steps), "std_by_step": std_chart(data.steps)}
    return pictures


def _row_texts(data: ReportData, rows: Rows) -> list[str]:
    """What stands beside the rows of the prompts; nothing where a row has no room for it."""
    if not has_texts(rows):
        return []
    own = data.prompts.take(rows.prompts).select(["prompt", "is_chat", "prompt_id"]).to_pylist()
    return [prompt_line(row["prompt"], row["is_chat"], ROOM, row["prompt_id"]) for row in own]


def _charts(summary: Summary, marks: Marks, best: Marks, rows: Mapping[str, Any]) -> dict[str, str]:
    """The charts by name; those of which the data has nothing to show are not among them."""
    pictures = {"composition": charts.composition(summary), "forecast": charts.forecast(summary)}
    limits = summary.reward.range if summary.reward.range_known else None
    if marks.values:
        reach = charts.corner_reach(summary.reward_model, summary.reach_threshold)
        pictures["scatter"] = charts.scatter(marks, limits, reach=reach, completions=_fewest(rows))
    if best.values:
        epsilon = summary.epsilon if summary.reward_model == "binary" and limits is not None else None
        pictures["gain"] = gain_chart(best, limits, summary.group_size, summary.gain_threshold or 0.0, epsilon)
    return {name: chart for name, chart in pictures.items() if chart is not None}


def _within(bests: Sequence[float | None], summary: Summary) -> list[float | None]:
    """What the best of a group earns, no more than the top of a known range: mean + gain of a model may lie above it."""
    limits = blocks.range_limits(summary.reward.range) if summary.reward.range_known else None
    return [best if best is None or limits is None else min(best, limits[1]) for best in bests]


def _fewest(rows: Mapping[str, Any]) -> int | None:
    """The fewest scored completions of a prompt that has a std: no std of the chart can lie above the arc for this number."""
    return min((int(n) for n in rows.get("n_scored", ()) if n is not None and n >= 2), default=None)


def _words(summary: Summary) -> dict[str, object]:
    title, tone = blocks.headline(summary)
    return {
        "title": title,
        "tone": tone,
        "reason": formats.visible(summary.reason),
        "rule": formats.visible(summary.rule),
        "created": date_text(str(summary.provenance.get("created") or "")),
        "source": formats.visible(summary.source),
        "steps": steps.next_steps(summary),
        "shares": blocks.shares(summary),
        "key_facts": blocks.key_facts(summary),
        "reward_facts": blocks.reward_facts(summary),
        "component_rows": [(formats.visible(name), row, blocks.vanishing_count(row)) for name, row in summary.components.items()],
        "cost_facts": blocks.cost_facts(summary),
        "health_facts": blocks.health_facts(summary),
        "errors": blocks.errors(summary),
        "forecasts": blocks.forecasts(summary),
        "reach": charts.corner_reach(summary.reward_model, summary.reach_threshold),
        "epsilon": summary.epsilon,
        "population": formats.visible(summary.population),
        "group_size": summary.group_size,
        "advantage": summary.advantage,
        "binary": summary.reward_model == "binary" and summary.reward.range_known,
        "gain_threshold": summary.gain_threshold,
        "mixed_threshold": summary.mixed_threshold,
        "caveats": blocks.caveats(summary),
        "tables": [
            ("sampling", flat_rows(summary.sampling)),
            ("settings", flat_rows(_settings(summary))),
            ("engine", flat_rows(summary.engine)),
            ("provenance", flat_rows(summary.provenance)),
        ],
        "show_command": steps.completions_command(summary),
    }


def _settings(summary: Summary) -> Mapping[str, object]:
    """The settings by name, with what the verdicts are for; the words that resume the run as a shell takes them."""
    resume = summary.settings.resume
    judged = {"group_size": summary.group_size, "advantage": summary.advantage}
    return summary.settings.to_json() | judged | ({} if resume is None else {"resume": shlex.join(resume)})


def date_text(text: str) -> str:
    """An ISO time as people write it; any other text as it came."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return formats.visible(text)
    return f"{time:%d %B %Y, %H:%M}{' UTC' if time.utcoffset() == timedelta(0) else ''}".lstrip("0")


def flat_rows(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """A nested object as (dotted key, text) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat_rows(value, f"{prefix}{key}.")
        else:
            simple = plain(value)
            text = ", ".join(map(str, simple)) if isinstance(simple, list) else formats.MISSING if simple is None else str(simple)
            rows.append((formats.visible(f"{prefix}{key}"), formats.visible(text)))
    return rows


def _static_rows(payload: Payload, names: list[str]) -> list[dict[str, Any]]:
    rows = payload.rows
    return [
        {key: column[i] for key, column in rows.items() if isinstance(column, list) and key != "names"} | {"verdict": names[i]}
        for i in range(min(_STATIC_ROWS, len(names)))
    ]


def page_style() -> str:
    """The style of a page: colors of both schemes, and the sheets."""
    dark = f"@media screen and (prefers-color-scheme: dark){{:root{{{css_variables(DARK)}}}}}"
    return f":root{{{css_variables(LIGHT)}}}{dark}{_resource('report.css')}{_resource('charts.css')}"


def content_policy(scripts: list[str]) -> str:
    """A Content-Security-Policy that runs these scripts and nothing else, and loads nothing at all."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@functools.cache
def template(name: str) -> jinja2.Template:
    """A template of the package, every text escaped."""
    import jinja2

    loader = jinja2.FunctionLoader(lambda name: _resource(name))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    names = ("decimal", "count", "noun", "percent", "fine_percent", "percent_range")
    environment.filters.update({name: getattr(formats, name) for name in names})
    return environment.get_template(name)


def page_script(*names: str) -> str:
    """Scripts of the package as one, in a scope of its own."""
    parts = "\n".join(_resource(name) for name in names)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _resource(name: str) -> str:
    return resources.files("flatspot.report").joinpath("templates", name).read_text(encoding="utf-8")

"""The report's pictures as Vega-Lite specifications, their printed form as SVG, and the script that draws them in a browser.

Vega-Lite because vl-convert ships both as one wheel: a browser bundle that works offline and without `eval`, and a renderer that needs
no browser. Specifications carry no colours; `theme.vega_config` does.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import math
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from flatspot.core.cache import cache_dir
from flatspot.report import blocks
from flatspot.report.formats import count, number, percent
from flatspot.report.json import write_atomically
from flatspot.report.marks import DENSE, Marks
from flatspot.report.theme import LIGHT, SHAPES, vega_config

Spec = dict[str, Any]
_NAMES = [verdict.name for verdict in blocks.VERDICTS]
_PRINT_WIDTH = 640
# the reader's font may be wider than the one the picture was laid out with, and an image shows nothing beyond its edge
_PRINT_PADDING = {"left": 32, "right": 16, "top": 6, "bottom": 6}


def scatter(marks: Marks, summary: blocks.Summary, *, completions: int | None = None) -> Spec:
    """Mean reward against within-prompt std, one mark per place, sized by its prompts.

    `completions` is the fewest scored completions of any prompt, for the arc of the largest std they can have (ddof 1).
    """
    means, stds = [mark["mean"] for mark in marks.values], [mark["std"] for mark in marks.values]
    limits = blocks.range_limits(summary)
    lo, hi = limits or _padded(means)
    stretch = math.sqrt(completions / (completions - 1)) if completions and completions > 1 else 1.0
    top = max([*stds, (hi - lo) / 2 * stretch if limits else 0.0]) * 1.14 or 1.0
    # a little room on each side: marks at the ends of the range are the usual case, and must not be cut
    x_scale = {"domain": [min([lo, *means]) - 0.04 * (hi - lo), max([hi, *means]) + 0.04 * (hi - lo)], "nice": False, "zero": False}
    x = {
        "field": "mean",
        "type": "quantitative",
        "title": "mean reward of the prompt",
        "scale": x_scale,
        "axis": {"grid": False, "tickCount": 6},
    }
    y_scale = {"domain": [-0.04 * top, top], "nice": False}
    y = {"field": "std", "type": "quantitative", "title": "reward std within the prompt", "scale": y_scale, "axis": {"tickCount": 5}}
    layers = [*corner(summary, lo, hi), *(envelope(lo, hi, stretch) if limits else []), _points(marks)]
    return {"height": 380, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def _points(marks: Marks) -> Spec:
    largest = max((mark["count"] for mark in marks.values), default=1)
    dense = len(marks.values) > DENSE
    smallest, most = (9, 150) if dense else (60, 1400)
    sizes = [smallest, max(smallest + 1, min(most, smallest * (1 + math.sqrt(largest))))]
    size_scale = {"type": "sqrt", "domain": [1, max(2, largest)], "range": sizes}
    return {
        "name": "points",
        "data": {"values": marks.values},
        "mark": {"type": "point", "filled": True, "cursor": "pointer"},
        "encoding": {
            "color": {"field": "verdict", "type": "nominal", "scale": {"domain": _NAMES}},
            "shape": {"field": "verdict", "type": "nominal", "scale": {"domain": _NAMES, "range": list(SHAPES)}},
            "size": {"field": "count", "type": "quantitative", "scale": size_scale},
            "opacity": {"value": 0.6 if dense else 0.8},
            "tooltip": [
                {"field": "verdict", "title": "verdict"},
                {"field": "count", "title": "prompts here", "format": ","},
                {"field": "mean", "title": "mean reward", "format": ".3~f"},
                {"field": "std", "title": "reward std", "format": ".3~f"},
            ],
        },
    }


def reach_threshold(summary: blocks.Summary) -> float | None:
    """How many stds a prompt may have to climb before it counts as vanishing: as given, else as epsilon implies it."""
    given = number(summary.get("reach_threshold"))
    epsilon = number(summary.get("epsilon"))
    if given is None and epsilon is not None and 0 < epsilon < 1:
        return math.sqrt((1 - epsilon) / epsilon)
    return given if given is not None and given > 0 else None


def corner(summary: blocks.Summary, lo: float, hi: float) -> list[Spec]:
    """Where a prompt would have to climb more of its own stds than the threshold to reach the top of the range."""
    reach = reach_threshold(summary)
    if reach is None:
        return []
    span = hi - lo
    edge = [{"mean": lo + span * k / 20, "std": (span - span * k / 20) / reach} for k in range(20)]
    low = [{**point, "floor": 0} for point in edge]
    label = [{"mean": lo + 0.2 * span, "std": 0.8 * span / reach * 0.42, "text": "vanishing gradient"}]
    note = {"type": "text", "style": "note", "align": "left", "baseline": "middle", "dx": 4}
    return [
        {"data": {"values": low}, "mark": {"type": "area", "style": "corner", "line": False}, "encoding": {"y2": {"field": "floor"}}},
        {"data": {"values": label}, "mark": note, "encoding": {"text": {"field": "text"}}},
    ]


def envelope(lo: float, hi: float, stretch: float) -> list[Spec]:
    """The largest std a reward in [lo, hi] can have at each mean: sqrt((mean - lo)(hi - mean)), stretched for ddof 1."""
    span = hi - lo
    steps = [(1 - math.cos(math.pi * k / 60)) / 2 for k in range(61)]  # dense at the ends, where the arc is steep
    arc = [{"mean": lo + t * span, "std": stretch * span * math.sqrt(t * (1 - t))} for t in steps]
    label = [{"mean": lo + span / 2, "std": stretch * span / 2, "text": "largest possible std"}]
    return [
        {"data": {"values": arc}, "mark": {"type": "line", "style": "envelope"}},
        {"data": {"values": label}, "mark": {"type": "text", "style": "note", "dy": -18}, "encoding": {"text": {"field": "text"}}},
    ]


def composition(summary: blocks.Summary) -> Spec:
    """The five verdicts' shares as bars, with intervals."""
    found = blocks.shares(summary)
    total = sum(share.count for share in found) or 1
    rows: list[dict[str, Any]] = []
    for share in found:
        mean = share.mean if share.mean is not None else share.count / total
        row = {
            "verdict": share.verdict.name,
            "share": mean,
            "lo": share.lo,
            "hi": share.hi,
            "end": max(mean, share.hi or 0),
            "text": percent(mean),
        }
        rows.append({**row, "count": f"{share.verdict.name} · {count(share.count)}"})
    top = min(1.0, max(row["end"] for row in rows) or 1.0) * 1.22
    x = {"field": "share", "type": "quantitative", "title": None, "scale": {"domain": [0, top], "nice": False}, "axis": None}
    y_axis = {"domain": False, "ticks": False, "labelFontSize": 13, "labelPadding": 10, "labelLimit": 220, "labelOverlap": False}
    y = {"field": "count", "type": "nominal", "title": None, "sort": [row["count"] for row in rows], "axis": y_axis}
    color = {"field": "verdict", "type": "nominal", "scale": {"domain": _NAMES}}
    has_interval = {"filter": "isValid(datum.lo) && isValid(datum.hi)"}
    whisker = {"x": {"field": "lo", "type": "quantitative"}, "x2": {"field": "hi"}}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "height": {"band": 0.56}, "cornerRadiusEnd": 2}, "encoding": {"color": color}},
        {"transform": [has_interval], "mark": {"type": "rule", "style": "whisker"}, "encoding": whisker},
        {
            "mark": {"type": "text", "style": "value", "align": "left", "dx": 10},
            "encoding": {"x": {"field": "end", "type": "quantitative"}, "text": {"field": "text"}},
        },
    ]
    return {"height": 34 * len(rows), "data": {"values": rows}, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def forecast(summary: blocks.Summary) -> Spec | None:
    """The share of groups with a signal against group size, with its interval; None where there is no forecast."""
    found = blocks.forecasts(summary)
    if not found:
        return None
    rows = [
        {"size": str(f.group_size), "share": f.informative, "lo": f.lo, "hi": f.hi, "text": percent(f.informative), "planned": f.planned}
        for f in found
    ]
    x_axis = {"labelAngle": 0, "grid": False, "labelFontSize": 12.5}
    x = {
        "field": "size",
        "type": "ordinal",
        "sort": [row["size"] for row in rows],
        "title": "completions per prompt (group size)",
        "axis": x_axis,
    }
    x |= {"scale": {"type": "point", "padding": 0.35}}
    y = {"field": "share", "type": "quantitative", "title": "groups with a signal", "scale": {"domain": [0, 1]}}
    y |= {"axis": {"format": "%", "tickCount": 5}}
    has_interval = {"filter": "isValid(datum.lo) && isValid(datum.hi)"}
    band = {"y": {"field": "lo", "type": "quantitative"}, "y2": {"field": "hi"}}
    layers: list[Spec] = [
        {"transform": [has_interval], "mark": {"type": "area", "style": "band"}, "encoding": band},
        {"mark": {"type": "line", "style": "trend"}},
        {
            "mark": {"type": "point", "style": "dot", "filled": True, "opacity": 1},
            "encoding": {"size": {"condition": {"test": "datum.planned", "value": 180}, "value": 80}},
        },
        {"mark": {"type": "text", "style": "value", "dy": -16}, "encoding": {"text": {"field": "text"}}},
    ]
    return {"height": 260, "data": {"values": rows}, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def frame() -> Spec:
    """What every picture has around it."""
    return {"width": "container", "autosize": {"type": "fit", "contains": "padding"}, "padding": 6}


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def printed(spec: Spec, width: int = _PRINT_WIDTH) -> str:
    """The picture in the light scheme as a `data:` URL: an SVG, or a PNG where there are too many marks for one.

    As an image it can run nothing, whatever its labels say.
    """
    import vl_convert

    framed = {**spec, "width": width, "padding": _PRINT_PADDING}
    asked: dict[str, Any] = {"vl_spec": framed, "config": vega_config(LIGHT), "allowed_base_urls": []}
    if _n_marks(spec) > DENSE:
        return "data:image/png;base64," + base64.b64encode(vl_convert.vegalite_to_png(**asked, scale=2)).decode()
    svg = vl_convert.vegalite_to_svg(**asked)
    for i, name in enumerate(dict.fromkeys(re.findall(r"clip\d+", svg))):
        svg = svg.replace(f'"{name}"', f'"c{i}"').replace(f"#{name})", f"#c{i})")  # numbered per process: equal input must give equal bytes
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8", "replace")).decode()


def _n_marks(spec: Spec) -> int:
    return max((len(layer.get("data", {}).get("values", ())) for layer in spec["layer"]), default=0)


@functools.cache
def browser_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script of about 0.9 MB; a second of work, kept in the cache folder where there is one."""
    import vl_convert

    kept = cache_dir() / f"vega-bundle-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return kept.read_text("utf-8")
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    with contextlib.suppress(OSError):
        write_atomically(kept, script)
    return script

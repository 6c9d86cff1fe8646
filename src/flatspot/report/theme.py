"""Colours and chart styling, light and dark. The palette starts from Okabe and Ito's, darkened or lightened until each mark has a
contrast of at least 3:1 with its background; text is always in the ink colours, never in a verdict's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one scheme; `verdicts` in the order of `blocks.VERDICTS`."""

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    accent: str
    verdicts: tuple[str, str, str, str, str]


LIGHT = Theme("#ffffff", "#f6f7f9", "#16191d", "#565d66", "#dde1e6", "#0b62a8", ("#00875f", "#d55e00", "#0072b2", "#a8578a", "#737b85"))
DARK = Theme("#121417", "#1b1e23", "#eceef1", "#a5adb7", "#343a42", "#7cc0f5", ("#35c39a", "#ff8b4d", "#5eb5ee", "#de9cc4", "#98a1ac"))
SHAPES = ("circle", "triangle-down", "diamond", "square", "cross")


def vega_config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite config of a scheme; specs name no colour of their own."""
    return {
        "background": theme.paper,
        "font": FONT,
        "view": {"stroke": None},
        "range": {"category": list(theme.verdicts), "symbol": list(SHAPES)},
        "axis": {
            "labelColor": theme.muted,
            "titleColor": theme.ink,
            "gridColor": theme.line,
            "domainColor": theme.line,
            "tickColor": theme.line,
            "labelFontSize": 12,
            "titleFontSize": 13,
            "titleFontWeight": 500,
            "titlePadding": 10,
            "labelPadding": 6,
            "labelOverlap": True,
        },
        "legend": {"disable": True},
        "style": {
            "envelope": {"color": theme.muted, "strokeDash": [3, 4], "strokeWidth": 1, "opacity": 0.8},
            "corner": {"color": theme.verdicts[1], "opacity": 0.13},
            "note": {"color": theme.muted, "fontSize": 11.5},
            "halo": {
                "color": theme.paper,
                "fontSize": 11.5,
                "stroke": theme.paper,
                "strokeWidth": 4,
                "strokeJoin": "round",
                "opacity": 0.85,
            },
            "value": {"color": theme.ink, "fontSize": 12.5, "fontWeight": 500},
            "whisker": {"color": theme.ink, "strokeWidth": 1.5},
            "band": {"color": theme.accent, "opacity": 0.16},
            "trend": {"color": theme.accent, "strokeWidth": 2},
            "dot": {"color": theme.accent},
            "other": {"color": theme.verdicts[1], "strokeWidth": 2, "strokeDash": [6, 4]},
            "other-band": {"color": theme.verdicts[1], "opacity": 0.14},
            "taken": {"color": theme.ink, "strokeDash": [3, 4], "strokeWidth": 1, "opacity": 0.7},
            "part": {"stroke": theme.paper, "strokeWidth": 2},
            "on-part": {"color": theme.paper, "fontSize": 12.5, "fontWeight": 600},
            "bound": {"color": theme.ink},
        },
    }


def css_variables(theme: Theme) -> str:
    """The same colours as CSS custom properties."""
    names = ("learnable", "vanishing", "solved", "undecided", "unscored")
    pairs = [(key, getattr(theme, key)) for key in ("paper", "panel", "ink", "muted", "line", "accent")]
    return "".join(f"--{key}:{value};" for key, value in [*pairs, *zip(names, theme.verdicts, strict=True)])

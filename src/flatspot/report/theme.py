"""The colors of the reports, light and dark. The palette starts from Okabe and Ito's, darkened or lightened until each mark has a
contrast of at least 3:1 with its background; text is always in the ink colors, never in a verdict's."""

from __future__ import annotations

from dataclasses import dataclass

from flatspot.report.blocks import VERDICTS


@dataclass(frozen=True, slots=True)
class Theme:
    """Colors of one scheme; `verdicts` in the order of `blocks.VERDICTS`."""

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    accent: str
    verdicts: tuple[str, str, str, str, str]


LIGHT = Theme("#ffffff", "#f6f7f9", "#16191d", "#565d66", "#dde1e6", "#0b62a8", ("#00875f", "#d55e00", "#0072b2", "#a8578a", "#737b85"))
DARK = Theme("#121417", "#1b1e23", "#eceef1", "#a5adb7", "#343a42", "#7cc0f5", ("#35c39a", "#ff8b4d", "#5eb5ee", "#de9cc4", "#98a1ac"))


def css_variables(theme: Theme) -> str:
    """The colors as CSS custom properties."""
    names = (verdict.name for verdict in VERDICTS)
    pairs = [(key, getattr(theme, key)) for key in ("paper", "panel", "ink", "muted", "line", "accent")]
    return "".join(f"--{key}:{value};" for key, value in [*pairs, *zip(names, theme.verdicts, strict=True)])

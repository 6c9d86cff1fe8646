"""What `flatspot compare` prints. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from flatspot.report.formats import MISSING, count, decimal, noun, number, percent, signed, visible
from flatspot.report.prompt_line import prompt_line

_STATES = ("learnable", "vanishing", "solved", "undecided", "unscored")


def compare_text(found: Mapping[str, Any], *, width: int = 80) -> str:
    """The comparison as lines of at most `width` columns: `found` is the object of --json."""
    width = max(60, min(width, 100))
    return "\n".join(_lines(found, width))


def _lines(found: Mapping[str, Any], width: int) -> Iterator[str]:
    yield from _wrap("Shared", _shared(found["pairs"]), width)
    for name in ("a", "b"):
        yield from _wrap(name.upper(), _run(found[name]), width)
    for i, text in enumerate(found["caveats"]):
        yield from _wrap("" if i else "Caveats", f"- {text}", width, "  ")
    yield ""
    yield f"{'':<22}{'A':>9}{'B':>9}   change [95% limits]"
    yield _change("mean reward", found["mean"], decimal, 2)
    yield _change("reward std", found["std"], decimal, 2)
    least, most = found["sizes"]["smallest"], found["sizes"]["largest"]
    of = f" of {most if least == most else f'{least}–{most}'}" if most else ""
    yield _change(f"mixed groups{of}", found["mixed"], percent, 0)
    yield ""
    yield from _transitions(found["transitions"])
    changed, error = found["changed_verdicts"], number(found["changed_by_error"]) or 0.0
    yield from _wrap(
        "",
        f"{count(changed)} of {noun(found['pairs']['n'], 'verdict')} changed. Wrong verdicts, as the runs expect them, account for "
        f"{'fewer than 1' if error < 1 else 'up to about ' + count(error)} of these.",
        width,
        pad=0,
    )
    yield from _most(found, width)
    for name in ("a", "b"):
        if ids := found["alone"][name]:
            left = found["pairs"][f"only_{name}"] - len(ids)
            more = f" and {count(left)} more" if left > 0 else ""
            yield from _wrap("", f"In {name.upper()} alone: {visible(', '.join(ids))}{more}", width, pad=0)


def _shared(pairs: Mapping[str, Any]) -> str:
    how = [f"{count(pairs[key])} by {word}" for key, word in (("by_id", "id"), ("by_text", "text")) if pairs[key]]
    alone = ", ".join(f"{count(pairs[f'only_{name}'])} in {name.upper()} alone" for name in ("a", "b"))
    return f"{noun(pairs['n'], 'prompt')}, paired {' and '.join(how)}; {alone}"


def _run(run: Mapping[str, Any]) -> str:
    reward = run["reward"] if isinstance(run["reward"], list) else [run["reward"]]
    parts = [run["run"], run["model"] and f"model {run['model']}", reward[0] and f"reward {', '.join(map(str, reward))}"]
    parts += [f"{decimal(run['completions_per_prompt'], 1)} completions per prompt", str(run["verdict"] or "no verdict")]
    return " · ".join(visible(str(part)) for part in parts if part)


def _change(label: str, row: Mapping[str, Any], write: Any, places: int) -> str:
    """One line of numbers; a share's change is in points of a hundred."""
    if not row["n"]:
        return f"{label:<22}{MISSING:>9}{MISSING:>9}   {MISSING}"
    scale, unit = (100.0, " points") if write is percent else (1.0, "")
    change, lo, hi = (signed(scale * row[key], places) for key in ("change", "lo", "hi"))
    limits = f"{change}{unit} [{lo} to {hi}]"
    return f"{label:<22}{write(row['before']):>9}{write(row['after']):>9}   {limits}"


def _transitions(moved: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    columns = [name for name in _STATES if any(moved[row][name] for row in _STATES)]
    yield f"{'verdict in A':<14}→ B{'':<3}" + "".join(f"{name:>11}" for name in columns)
    for row in _STATES:
        if any(moved[row].values()):
            yield f"{row:<20}" + "".join(f"{count(moved[row][name]) if moved[row][name] else '·':>11}" for name in columns)


def _most(found: Mapping[str, Any], width: int) -> Iterator[str]:
    n = found["pairs"]["n"]
    yield from _wrap(
        "",
        f"Mean reward rose on {count(found['rose'])} and fell on {count(found['fell'])} of {noun(n, 'prompt')} by more than each prompt's "
        f"own 95% limits; by chance alone up to about {count(max(1, round(0.05 * n)))} would.",
        width,
        pad=0,
    )
    if not found["most_changed"]:
        return
    yield ""
    yield f"{'mean in A':>9}{'in B':>7}   {'change':<17}{'completions':<13}prompt"
    for row in found["most_changed"]:
        limits = f"{signed(row['change_lo'])} to {signed(row['change_hi'])}"
        drawn = f"{row['n_scored_a']}, {row['n_scored_b']}"
        start = f"{decimal(row['mean_a']):>9}{decimal(row['mean_b']):>7}   {limits:<17}{drawn:<13}"
        yield start + prompt_line(row["prompt"], row["is_chat"], max(12, width - len(start)), row["prompt_id"])


def _wrap(label: str, text: str, width: int, hang: str = "", pad: int = 9) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=f"{label:<{pad}}" if pad else "", subsequent_indent=" " * pad + hang, break_on_hyphens=False
    )

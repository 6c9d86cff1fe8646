"""curve.json of a warm-up: a row per probe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

from flatspot.core.errors import RunFolderError
from flatspot.core.plain import plain
from flatspot.rollouts.store import write_whole


class ShareLimits(TypedDict, total=False):
    """A share of the run's prompts with 95% limits; `sd` is the standard error for the probed prompts themselves."""

    mean: float
    lo: float
    hi: float
    sd: float


class ProbeRow(TypedDict, total=False):
    """A row of curve.json, as documented in docs/reference/json.md; `ready` is pass@K, `kept` the share still learnable."""

    step: int
    labels: int
    elapsed: float
    saved: bool
    generations: int
    seconds: float
    scored: float
    error: str | None
    vanishing: ShareLimits
    learnable: ShareLimits
    solved: ShareLimits
    recovered: ShareLimits
    ready: ShareLimits
    kept: ShareLimits | None
    reward: float
    entropy: float | None
    heldout_loss: float | None
    loss: float
    labels_solved: float | None


def write_curve(out: Path, curve: Sequence[ProbeRow]) -> None:
    """Write curve.json, completely or not at all."""
    with write_whole(out / "curve.json") as file:
        file.write(json.dumps(plain(list(curve)), indent=1, allow_nan=False).encode())


def read_curve(out: Path, *, up_to: int | None = None) -> list[ProbeRow]:
    """The rows of curve.json up to a step, empty if there is none; RunFolderError if it is damaged."""
    file = out / "curve.json"
    if not file.exists():
        return []
    try:
        rows = json.loads(file.read_text("utf-8"))
        return [cast(ProbeRow, dict(row)) for row in rows if up_to is None or int(row["step"]) <= up_to]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunFolderError(f"{file} is damaged ({error}). Move it away, and run the same command again") from error

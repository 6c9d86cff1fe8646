"""Whether a claim holds, from what was observed of many sets: rows of numbers, without a word of presentation.

An error holds where, over the sets whose output does not itself say that it cannot promise, the realized one is at most 1.5 points above
the claim; the limits of anything where they cover it at most 5 points less often than they say; a cost at up to 1.35 of the fewest, where
those are four or more.
"""

from __future__ import annotations

import numpy as np

ERROR_ROOM, COVERAGE_ROOM, COST_ROOM = 0.015, 0.05, 1.35
LEAST_TOLD = 4  # completions, under which no counts tell one population from another: `flatspot.stats.models.identified_set`


def rows_of(observed, about):
    """One dict per number: `about` (set, prompts, …), number, kind, claim, realized, se, said, sets, holds (None: not judged)."""
    return [about | {"number": number} | _judged(number, sets) for number, sets in observed.of.items()]


def _judged(number, sets):
    realized, claim = (np.array([one[name] for one in sets], float) for name in ("realized", "claim"))
    whole = "width" in sets[0] and "tenths" not in sets[0]  # one interval a set: inside or not
    noise = _noise_of_hits(realized) if whole else _noise(realized)
    row = {"sets": len(sets), "claim": float(claim.mean()), "realized": float(realized.mean()), "se": noise}
    if number.startswith("undecided"):
        return row | {"kind": "undecided", "holds": None}
    if number.startswith("completions"):
        ratio = row["realized"] / row["claim"] if row["claim"] > 0 else None  # NaN: no rule within the cap meets the target
        told = not row["claim"] < LEAST_TOLD
        return row | {
            "kind": "cost",
            "ratio": ratio,
            "told": told,
            "holds": bool(ratio <= COST_ROOM) if ratio is not None and told else None,
        }
    if "said" in sets[0]:
        silent = np.array([not one["said"] for one in sets])
        over = (realized - claim)[silent]
        holds = len(over) == 0 or bool(over.mean() <= ERROR_ROOM + 1e-9)
        return row | {
            "kind": "error",
            "said": float(1 - silent.mean()),
            "silent": float(realized[silent].mean()) if len(over) else None,
            "holds": holds,
            "noise": not holds and bool(over.mean() - 2 * _noise(over) <= ERROR_ROOM),
        }
    least = row["claim"] - COVERAGE_ROOM
    holds = bool(row["realized"] >= least - 1e-9)
    width = float(np.mean([one["width"] for one in sets]))
    row |= {"kind": "limits", "width": width if np.isfinite(width) else None}
    row |= {"holds": holds, "noise": not holds and bool(row["realized"] + 2 * row["se"] >= least)}
    if "tenths" in sets[0]:
        row["worst_tenth"] = float(np.mean([one["tenths"] for one in sets], 0).min())
    return row


def _noise(values):
    """Standard error of a mean over the sets."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _noise_of_hits(hits):
    """Standard error of a share of the sets, as if there had been one more of each kind: never 0."""
    share = (hits.sum() + 1) / (len(hits) + 2)
    return float(np.sqrt(share * (1 - share) / len(hits)))

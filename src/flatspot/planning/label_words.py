"""Why a prompt is labeled, trained on, dropped or left for later: one sentence each. No numbers are computed here."""

from __future__ import annotations

from dataclasses import dataclass

_CHOSEN = {
    "random": "drawn at random among the vanishing prompts",
    "hardest": "among the surest to be vanishing, with the lowest mean",
    "cover": "unlike the prompts chosen before it",
    "facility-location": "like most of the failing prompts that the labels before it do not reach",
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a sentence is about: one prompt of the plan."""

    verdict: str
    action: str
    p_vanishing: float | None
    mean: float | None
    n_samples: int
    samples: int | None
    similarity: float | None
    gain: float | None


def reason_of(row: Named, strategy: str) -> str:
    """The sentence of one prompt.

    >>> reason_of(Named("solved", "drop", 0.0, 1.0, 8, None, None, None), "facility-location")
    'solved: mean 1.00 over 8 completions, so its rollouts teach nothing'
    """
    mean = "none" if row.mean is None else f"{row.mean:.2f}"
    if row.action == "label":
        return f"{_CHOSEN.get(strategy, f'chosen by {strategy}')}; vanishing with probability {row.p_vanishing or 0:.2f}, mean {mean}"
    if row.verdict == "vanishing":
        near = "" if row.similarity is None else f"; similarity to the nearest label {row.similarity:.2f}"
        return f"vanishing, not chosen{near}. Diagnose again after the warm-up"
    if row.action == "drop":
        return f"solved: mean {mean} over {row.n_samples} completions, so its rollouts teach nothing"
    if row.action == "train":
        size = f"{row.samples} completions a group" if row.samples else "more completions a group than is usual"
        return f"learnable: {size} make it informative"
    if row.verdict == "undecided":
        return f"undecided after {row.n_samples} completions: sample more, or accept the risk"
    return "no completion has a reward: fix the reward"

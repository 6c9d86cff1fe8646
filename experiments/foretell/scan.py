"""Which constants of the verdict separate best what moves from what does not: chosen on one half of the settings, tried on the other.

python scan.py [--own]

A prompt has a signal where a group of 8 is mixed with a probability above q and, with centered advantages, where the gain is DELTA
epsilon of the scale or more; epsilon follows from q as in `flatspot.stats.zones`. The criterion is the balanced accuracy of "has a signal"
for "moved up by more than noise", the mean of both classes' shares, averaged over the runs in which at least `FEWEST` prompts of each
class are. With --own the runs on one prompt at a time count, else those on all prompts together.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from measures import Floats, share
from numpy.typing import NDArray
from setting import GROUP_SIZE
from summary import RESULTS, Result, column, read
from trainers import TRAINERS

from flatspot.stats.zones import DELTA, epsilon_for_group

Q = 0.34  # of `epsilon_for_group`
QS = tuple(np.round(np.arange(0.1, 0.601, 0.02), 2).tolist())
DELTAS = tuple(np.round(np.arange(0.05, 0.951, 0.05), 2).tolist())
FEWEST = 3


@dataclass(frozen=True)
class Limits:
    """q, and DELTA in epsilons."""

    q: float
    delta: float


def signal(columns: Mapping[str, Floats], limits: Limits, advantage: str, group_size: int = GROUP_SIZE) -> NDArray[np.bool_]:
    """[M] whether the point estimates p_mixed and gain pass the limits, on a scale of 1.

    >>> columns = {"p_mixed": np.array([0.2, 0.9, 0.9]), "gain": np.array([0.1, 0.1, 0.01])}
    >>> signal(columns, Limits(0.34, 0.5), "centered").tolist(), signal(columns, Limits(0.34, 0.5), "normalized").tolist()
    ([False, True, False], [False, True, True])
    """
    mixed = columns["p_mixed"] > limits.q
    if advantage == "normalized":
        return np.asarray(mixed)
    return np.asarray(mixed & (columns["gain"] >= limits.delta * epsilon_for_group(group_size, limits.q)))


def balanced_accuracy(says: NDArray[np.bool_], moved: NDArray[np.bool_]) -> float:
    """Mean of the share of those that moved among which it says so, and of the others among which it does not; NaN without one of them.

    >>> balanced_accuracy(np.array([True, True, False, False]), np.array([True, False, False, False])).__round__(3)
    0.833
    """
    return (share(says, moved) + share(~says, ~moved)) / 2


def of_half(results: Sequence[Result], limits: Limits) -> dict[str, float]:
    """The criterion and the two shares that the verdict promises, over runs of one half."""
    scores, says, moved = [], [], []
    for result in results:
        columns = {name: column([result], name) for name in ("p_mixed", "gain")}
        says.append(signal(columns, limits, result["advantage"], result["group_size"]))
        moved.append(column([result], "moved") > 0)
        if min(moved[-1].sum(), (~moved[-1]).sum()) >= FEWEST:
            scores.append(balanced_accuracy(says[-1], moved[-1]))
    every, rose = np.concatenate(says), np.concatenate(moved)
    return {
        "criterion": float(np.mean(scores)) if scores else float("nan"),
        "runs": len(scores),
        "signal_moved": share(rose, every),
        "flat_moved": share(rose, ~every),
    }


def best(results: Sequence[Result]) -> Limits:
    """The limits with the highest criterion; of equal ones those closest to the ones in use."""
    grid = [Limits(q, delta) for q in QS for delta in DELTAS]
    scores = np.round([of_half(results, limits)["criterion"] for limits in grid], 6)
    distance = [abs(limits.q - Q) / Q + abs(limits.delta - DELTA) / DELTA for limits in grid]
    return grid[min(range(len(grid)), key=lambda i: (-scores[i], distance[i]))]


def lines(results: Sequence[Result]) -> list[str]:
    """A line per half and pair of limits: those in use, and those that the first half chooses."""
    halves = {half: [result for result in results if result["half"] == half] for half in ("choose", "report")}
    if not halves["choose"] or np.isnan(of_half(halves["choose"], Limits(Q, DELTA))["criterion"]):
        return [f"no run of the half to choose on has {FEWEST} prompts that moved and {FEWEST} that did not"]
    written = []
    for name, limits in (("in use", Limits(Q, DELTA)), ("chosen", best(halves["choose"]))):
        for half, group in halves.items():
            if group:
                numbers = of_half(group, limits)
                written.append(
                    f"{name}: q {limits.q:.2f}, DELTA {limits.delta:.2f}, half to {half}: balanced accuracy {numbers['criterion']:.3f} "
                    f"over {numbers['runs']} runs; moved up of those with a signal {numbers['signal_moved']:.0%}, of the others "
                    f"{numbers['flat_moved']:.0%}"
                )
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--own", action="store_true")
    on = "one" if parser.parse_args().own else "all"
    print("\n".join(lines([result for result in read(RESULTS) if TRAINERS[result["trainer"]].on == on])))

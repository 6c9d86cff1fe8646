"""Keep what the arms gave, or hold another summary against it.

    python expected.py record  results/summary.json
    python expected.py compare results/summary.json

An arm agrees if its mean reward lies no farther from the recorded range over the seeds than `FLOOR`, which covers other machines, threads
and versions. Exit code 0: all agree; 1: some do not, each named.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).parents[1] / "expected" / "overcome.json"
FLOOR = 0.05


def expected_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Of each task and arm: the seeds and the spread of the reward after RL."""
    return {
        task: {name: {"seeds": arm["seeds"], **arm["reward"]} for name, arm in tables["arms"].items()} for task, tables in summary.items()
    }


def differences(summary: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Each arm whose reward lies outside the expected range, in words."""
    differing = []
    for task, arms in expected_of(summary).items():
        for name, arm in arms.items():
            limits = expected.get(task, {}).get(name)
            if limits and not limits["min"] - FLOOR <= arm["mean"] <= limits["max"] + FLOOR:
                differing.append(f"{task}, {name}: reward {arm['mean']:.3f}, expected {limits['min']:.3f} to {limits['max']:.3f}")
    return differing


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("summary", type=Path)
    options = parser.parse_args()
    summary = json.loads(options.summary.read_text("utf-8"))
    if options.action == "record":
        EXPECTED.write_text(json.dumps(expected_of(summary), indent=1) + "\n", "utf-8")
        return 0
    differing = differences(summary, json.loads(EXPECTED.read_text("utf-8")))
    print("\n".join(differing) or "all agree")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

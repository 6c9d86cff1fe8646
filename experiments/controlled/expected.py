"""Keep what an experiment gave, or hold another run against it.

    python experiments/controlled/expected.py record  flatspot-controlled/mnist-quick/adam/results.json
    python experiments/controlled/expected.py compare flatspot-controlled/mnist-quick/adam/results.json

A number agrees if it lies no farther from the recorded range over the seeds than three of their stds, or than the floor in `FLOORS`, which
covers other machines, threads and versions. The plans must be equal. Exit code 0: all agree; 1: some do not, each named; 2: not comparable.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).parents[1] / "expected"
FLOORS = {"reward": 0.05, "reward_std": 0.02, "accuracy": 0.05}
GROUPS = ("small_std", "large_std")


def file_for(results: dict[str, Any]) -> Path:
    """Where the expected numbers of an experiment are kept."""
    plan = results["plan"]
    return EXPECTED / f"controlled-{plan['setting']['dataset']}-{plan['scale']}-{results['variant']}.json"


def expected_of(results: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of results.json: the plan, the source, the seeds, and the spread of each number over the seeds."""
    numbers = {
        method: {g: {when: {m: groups[g][when][m] for m in FLOORS} for when in ("start", "end")} for g in GROUPS}
        for method, groups in results["over_seeds"].items()
    }
    seeds = sorted({run["seed"] for run in results["runs"]})
    return {name: results[name] for name in ("variant", "plan", "source")} | {"seeds": seeds, "over_seeds": numbers}


def differences(results: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Each number of a run that lies outside the expected range, in words."""
    differing = []
    for method in sorted(set(results["over_seeds"]) & set(expected["over_seeds"])):
        for group in GROUPS:
            for when in ("start", "end"):
                for metric, floor in FLOORS.items():
                    value = results["over_seeds"][method][group][when][metric]["mean"]
                    spread = expected["over_seeds"][method][group][when][metric]
                    room = max(floor, 3 * (spread["std"] or 0.0))
                    if not spread["min"] - room <= value <= spread["max"] + room:
                        limits = f"{spread['min']:.4f} to {spread['max']:.4f}, give or take {room:.3f}"
                        differing.append(f"{method}, {group}, {when}: {metric} is {value:.4f}, expected {limits}")
    return differing


def main(arguments: list[str] | None = None) -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("results", type=Path, help="results.json of an experiment")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text("utf-8"))
    file = file_for(results)
    if options.action == "record":
        file.write_text(json.dumps(expected_of(results), indent=1) + "\n", encoding="utf-8")
        print(f"recorded {file}")
        return 0
    if not file.exists():
        print(f"nothing is expected yet: there is no {file}", file=sys.stderr)
        return 2
    expected = json.loads(file.read_text("utf-8"))
    if expected["plan"] != results["plan"]:
        print(f"not comparable: the plan differs from that of {file}", file=sys.stderr)
        return 2
    differing = differences(results, expected)
    print("\n".join(differing) if differing else f"all numbers agree with {file}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

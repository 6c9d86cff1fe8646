"""Faults named and false alarms, on real tiny TRL runs and on synthetic reward streams: python benchmarks/watch/faults.py

Prints the tables of README.md beside this file. Every fault is a run of TRL's GRPO or RLOO trainer with one thing wrong; it counts as
named where the first alarm that is raised is the right one.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "faults"))

from streams import false_alarms  # noqa: E402

from runs import FAULTS, HEALTHY, train  # noqa: E402


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    only = sys.argv[1:]
    rows, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for i, case in enumerate(FAULTS + HEALTHY):
            if only and not any(word in case.name for word in only):
                continue
            began = time.perf_counter()
            _, callback, _ = train(case, Path(folder) / str(i))
            causes = [entry["cause"] for entry in callback.history]
            first = callback.history[0] if causes else {"cause": "none", "step": None}
            right = first["cause"] == (case.cause or "none")
            rows.append((case, first, causes[1:], right))
            results[case.name] = {"expected": case.cause, "causes": causes, "step": first["step"], "right": right}
            named, at = ", ".join(causes) or "none", "" if first["step"] is None else first["step"]
            print(f"| {case.name} | {case.cause or 'none'} | {named} | {at} | {'yes' if right else 'NO'} |", flush=True)
            print(f"{time.perf_counter() - began:.1f} s", file=sys.stderr)
    faults = [row for row in rows if row[0].cause]
    print(f"\nNamed right: {sum(row[3] for row in faults)} of {len(faults)} faults.")
    healthy = [row for row in rows if not row[0].cause]
    print(f"False alarms on real healthy runs: {sum(not row[3] for row in healthy)} of {len(healthy)}.")
    if not only:
        wrong, total, causes = false_alarms(1000)
        print(f"False alarms on synthetic healthy runs: {wrong} of {total} ({wrong / total:.1%}) {causes}.")
        (HERE / "results.json").write_text(json.dumps({"runs": results, "synthetic": {"wrong": wrong, "runs": total}}, indent=1) + "\n")


if __name__ == "__main__":
    main()

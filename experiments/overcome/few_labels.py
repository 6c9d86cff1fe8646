"""The validation loss of the oracle's checkpoints on two labels, as many as flatspot's stop holds back of twenty: results/few_labels.json.

    python few_labels.py --work work

The runs measure it on twenty further labels, which is more than a user with twenty labels has.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arms import FIVE_PERCENT, ORACLE_SEEDS
from kinds import loss
from run import RESULTS
from setting import ORACLE_STEPS, TASKS
from steps import random_labels

HELD_BACK = 2


def main() -> None:
    """Read every checkpoint that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work"))
    work = parser.parse_args().work
    losses = {}
    for name, task in TASKS.items():
        for seed in ORACLE_SEEDS:
            labels = random_labels(task, FIVE_PERCENT + HELD_BACK, seed)[FIVE_PERCENT:]
            for steps in ORACLE_STEPS:
                folder = work / name / f"oracle-{seed}" / f"step-{steps}"
                if folder.exists():
                    losses[f"{name} {seed} {steps}"] = loss(folder, labels)
    (RESULTS.parent / "few_labels.json").write_text(json.dumps(losses, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

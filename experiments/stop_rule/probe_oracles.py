"""Probe the oracle's checkpoints of experiments/overcome as a warm-up would have: curves.json, a curve per task and seed.

    python probe_oracles.py [WORK]

WORK holds the checkpoints, made where they are not there; what is in curves.json is skipped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "overcome"))

import kinds  # noqa: E402
from arms import FIVE_PERCENT, ORACLE_SEEDS  # noqa: E402
from setting import MODEL, ORACLE_STEPS, TASKS  # noqa: E402
from steps import loaded_reward, random_labels  # noqa: E402

from flatspot.engines.hf import HfEngine  # noqa: E402
from flatspot.engines.policy import load_policy  # noqa: E402
from flatspot.rollouts.store import prompt_text  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings, probe, probed_prompts  # noqa: E402

CURVES = HERE / "curves.json"


def main() -> None:
    """One curve after the other, each saved when it is whole."""
    work = Path(sys.argv[1] if len(sys.argv) > 1 else "work")
    curves = json.loads(CURVES.read_text()) if CURVES.exists() else {}
    for seed in ORACLE_SEEDS:
        for name, task in TASKS.items():
            if f"{name}-{seed}" in curves:
                continue
            folder, run = kinds.checkpoints(task, seed, work), kinds.judged(task, work)
            labels = [prompt_text(prompt.text) for prompt in random_labels(task, FIVE_PERCENT, seed)]
            probed = probed_prompts(run, ProbeSettings(seed=seed), without=labels)
            curve = []
            for step in (0, *ORACLE_STEPS):
                source = str(folder / f"step-{step}") if step else MODEL
                policy = load_policy(source, dtype="float32", device="cpu")
                curve.append({"step": step} | probe(HfEngine(policy), policy, loaded_reward(task), probed))
            curves[f"{name}-{seed}"] = curve
            CURVES.write_text(json.dumps(curves, indent=1) + "\n")
            print(name, seed, [round(row["ready"]["mean"], 2) for row in curve], flush=True)


if __name__ == "__main__":
    main()

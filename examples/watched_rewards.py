"""Watches the rewards of a training loop: every group is recorded, and the recorded run is judged like any other.

The loop here has six lines and only pretends to learn. In TRL, the trainer runs the loop, with
`reward_funcs=flatspot.watch([correct], out="watched")` and `callbacks=[flatspot.FlatspotCallback()]`, which also raises alarms.
"""

from __future__ import annotations

import random

import flatspot

GROUP = 8
PROMPTS = {"easy": 0.6, "hard": 0.05, "hopeless": 0.0}


def correct(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    return [float(completion == "right") for completion in completions]


def main() -> None:
    random.seed(0)
    [reward] = flatspot.watch([correct], out="watched")
    for step in range(30):
        for prompt, chance in PROMPTS.items():
            better = min(1.0, chance * (1 + step / 10))
            completions = ["right" if random.random() < better else "wrong" for _ in range(GROUP)]
            reward(prompts=[prompt] * GROUP, completions=completions)  # the policy's update would use the result
    run = flatspot.inspect("watched")
    for row in run.to_arrow().sort_by("mean").to_pylist():
        print(
            f"{row['prompt']:<8} {row['verdict']:<10} mean reward {row['mean']:.2f}, std {row['std']:.2f} of {row['n_samples']} completions"
        )


if __name__ == "__main__":
    main()

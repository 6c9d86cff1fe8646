"""Reward std against gradient norm on the letters model: 72 prompts, 64 completions each; about 10 minutes on a busy core.

    python experiments/gradients/letters.py [FOLDER [PROMPTS OF EACH TASK]]

Prints the table of docs/explanation/theory.md, "On a real model". Stopped, it goes on with the next prompt.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pyarrow.parquet as pq

import flatspot
from flatspot.tasks.letters import letters_model, letters_prompts

BANDS = (0.0, 1e-9, 0.02, 0.05, 0.1, 0.25, 1.0)


def agreement(completions, reference, **_):
    """The share of places where the completion has the letter of the reference."""
    return [
        sum(a == b for a, b in zip(c.strip(), r, strict=False)) / max(len(r), len(c.strip()))
        for c, r in zip(completions, reference, strict=True)
    ]


def main() -> None:
    """Measure, then print a line per band of the std; squares are averaged, as only they are unbiased."""
    out, each = (sys.argv[1:] + ["gradients-letters", "24"][len(sys.argv) - 1 :])[:2]
    prompts = [p for task in ("capitals", "brackets", "backward") for p in letters_prompts(task, int(each), 0)]
    settings = {
        "max_completions": 8,
        "fixed_completions": True,
        "max_new_tokens": 13,
        "temperature": 2.0,
        "engine": "hf",
        "reward_range": (0.0, 1.0),
    }
    run = flatspot.diagnose(
        prompts, str(letters_model()), agreement, gradients=True, gradient_completions=64, out=out, say=print, **settings
    )
    table = pq.read_table(run.folder / "gradients.parquet")
    std, norm_sq, second, std_hi = (table[name].to_numpy() for name in ("std", "grad_norm_sq", "score_second_moment", "std_hi"))
    # bounds at the std of the sample, like the bands; those of the table are at its upper limit
    score, theorem = std * np.sqrt(second), table["bound_theorem_1"].to_numpy() * np.cbrt(std / std_hi) ** 2
    print(f"{'std':>14}{'prompts':>9}{'std, rms':>10}{'norm, rms':>11}{'square':>9}{'(error)':>9}{'score bound':>13}{'Theorem 1':>11}")
    for low, high in itertools.pairwise(BANDS):
        own = (std >= low) & (std < high)
        if own.sum() < 2:
            continue
        square, error = norm_sq[own].mean(), norm_sq[own].std(ddof=1) / np.sqrt(own.sum())
        rms = [np.sqrt(max(0.0, (x[own] ** 2).mean())) for x in (std, score, theorem)]
        print(
            f"{low:>7.2g}{high:>7.2g}{own.sum():>9}{rms[0]:>10.4f}{np.sqrt(max(0, square)):>11.2f}{square:>9.3f}{error:>9.3f}"
            f"{rms[1]:>13.1f}{rms[2]:>11.0f}"
        )
    print(run.summary["gradients"])


if __name__ == "__main__":
    main()

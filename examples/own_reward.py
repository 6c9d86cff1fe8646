"""Judges prompts under a policy with a reward of your own, then plans: what an RL run would see, and which prompts to label.

The policy is a table of completion probabilities, so that this runs anywhere in seconds. For a real model, pass its name instead, such as
`flatspot.diagnose(PROMPTS, "Qwen/Qwen2.5-0.5B-Instruct", correct)`, with `pip install 'flatspot[hf]'`.
"""

from __future__ import annotations

import flatspot

PROMPTS = [{"prompt": f"What is {a} * {b}?", "answer": str(a * b)} for a in range(2, 14) for b in range(2, 14)]


def correct(completions: list[str], answer: list[str], **columns: object) -> list[float]:
    """TRL's contract: one number per completion; a column of the prompts is passed by its name."""
    return [float(right == completion) for completion, right in zip(completions, answer, strict=True)]


def policy() -> flatspot.ScriptedEngine:
    """Always right on small products, right half of the time on middling ones, never on large ones."""
    chances = {}
    for row in PROMPTS:
        size = int(row["answer"])
        right = 1.0 if size < 20 else 0.5 if size < 60 else 0.0
        chances[row["prompt"]] = {row["answer"]: right, "?": 1.0 - right} if 0 < right < 1 else {row["answer"] if right else "?": 1.0}
    return flatspot.ScriptedEngine(chances)


def main() -> None:
    run = flatspot.diagnose(PROMPTS, policy(), correct, out="products")
    counts = run.summary.counts
    print(f"{run.summary.verdict}: {counts.learnable} learnable, {counts.vanishing} vanishing, {counts.solved} solved")
    for size, share in run.summary.forecast.items():
        print(f"groups of {size}: {share.informative:.0%} are mixed [{share.lo:.0%} to {share.hi:.0%}]")
    plan = run.plan(labels="5%")
    for label in plan.labels:
        print("to label:", label.prompt.text)
    print("write the answers into", plan.labels_file)


if __name__ == "__main__":
    main()

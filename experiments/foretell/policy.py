"""Train the half-trained policy of the settings `reverse` and `words`: a token per character, stopped long before it is good.

    python policy.py [--out work/policy] [--steps 400] [--seed 0]

The same network and training as `experiments/letters/pretrain.py`, on three commands. Its success on a prompt falls with the length of the
prompt, so that one set has prompts of every success probability from 0 to 1.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "letters"))
from pretrain import pretrain, tokenizer

COMMANDS = ("reverse:", "sort:", "words:")
LENGTH = 52  # the longest line: four words of five letters twice, commas, a command, an equals sign and the end


def line(rng: random.Random) -> tuple[str, str]:
    """A prompt and its answer: 3 to 12 letters reversed or sorted, or 2 to 4 words of 3 to 5 letters sorted."""
    command = rng.choice(COMMANDS)
    if command == "words:":
        words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 5))) for _ in range(rng.randint(2, 4))]
        return f"words:{','.join(words)}=", ",".join(sorted(words))
    text = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 12)))
    return f"{command}{text}=", text[::-1] if command == "reverse:" else "".join(sorted(text))


def half_trained(out: Path, steps: int = 400, seed: int = 0) -> Path:
    """The folder of the policy, trained unless it is there."""
    if not (out / "tokenizer.json").exists():
        pretrain(out, steps, seed, text=line, tokens=tokenizer(COMMANDS, string.ascii_lowercase + "=,"), length=LENGTH)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work/policy"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    half_trained(options.out, options.steps, options.seed)

"""One seed per row, from what the row is and nothing else."""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1


def row_seed(seed: int, prompt_id: str, sample_idx: int) -> int:
    """The 63-bit seed of one completion: BLAKE2b of (run seed, prompt id, index of the completion).

    It does not depend on the batch, the order of prompts or how far an earlier attempt came, so a run that was killed and
    continued draws the rows it would have drawn.

    >>> row_seed(0, "a", 0) != row_seed(0, "a", 1)
    True
    """
    digest = hashlib.blake2b(f"{seed}\x1f{prompt_id}\x1f{sample_idx}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def fold_seed(seed: int, bits: int) -> int:
    """A row's seed folded to so many bits by the finalizer of SplitMix64, so that neighboring seeds start unrelated generators.

    >>> fold_seed(0, 32), fold_seed(1, 32)
    (3793791033, 2433363436)
    """
    x = (seed + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return (x ^ (x >> 31)) >> (64 - bits)

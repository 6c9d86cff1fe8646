"""One seed per row, from what the row is and nothing else."""

from __future__ import annotations

import hashlib


def row_seed(seed: int, prompt_id: str, sample_idx: int) -> int:
    """The 63-bit seed of one completion: BLAKE2b of (run seed, prompt id, index of the completion).

    It does not depend on the batch, the order of prompts or how far an earlier attempt came, so a run that was killed and
    continued draws the rows it would have drawn.

    >>> row_seed(0, "a", 0) != row_seed(0, "a", 1)
    True
    """
    digest = hashlib.blake2b(f"{seed}\x1f{prompt_id}\x1f{sample_idx}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1

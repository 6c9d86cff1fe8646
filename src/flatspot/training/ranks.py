"""The processes of one training run: which of them this is, and what all of them saw."""

from __future__ import annotations

import os
import sys
from typing import Any


def rank() -> int:
    """The number of this process in the run, as its launcher set it; 0 where there is one."""
    return int(os.environ.get("RANK", "0") or 0)


def gather(value: Any) -> list[Any]:
    """What every process passes, in the order of ranks; `[value]` where there is one process.

    Every process must call it equally often and in the same order. A reward function may run on a thread of its own (async ones do),
    where CUDA's current device is not yet that of the process; NCCL would wait forever on the wrong one, so it is set.
    """
    torch = sys.modules.get("torch")
    if torch is None or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    world = torch.distributed.get_world_size()
    if world == 1:
        return [value]
    if torch.distributed.get_backend() == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0") or 0))
    found: list[Any] = [None] * world
    torch.distributed.all_gather_object(found, value)
    return found

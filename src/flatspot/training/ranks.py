"""The processes of a distributed training: the rank of this one, and values gathered from all."""

from __future__ import annotations

import os
import sys
from typing import TypeVar

T = TypeVar("T")


def rank() -> int:
    """The rank of this process, as set by the launcher; 0 for a single process."""
    return int(os.environ.get("RANK", "0") or 0)


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of ranks; `[value]` for a single process.

    Every process must call it equally often and in the same order. A reward function may run on another thread (async ones do), where
    CUDA's current device is not yet that of the process; NCCL would wait forever on the wrong one, so it is set.
    """
    torch = sys.modules.get("torch")
    if torch is None or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    world = torch.distributed.get_world_size()
    if world == 1:
        return [value]
    if torch.distributed.get_backend() == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0") or 0))
    values = [value] * world  # replaced by the values of all processes
    torch.distributed.all_gather_object(values, value)
    return values

"""The processes of a distributed training: the rank of this one, values gathered from all, and failures that all of them end with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

from flatspot.core.errors import OtherProcessError

T = TypeVar("T")


def rank() -> int:
    """The rank of this process, as set by the launcher; 0 for a single process."""
    return int(os.environ.get("RANK", "0") or 0)


def launched() -> int:
    """How many processes the launcher started, whether or not they have found one another."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1)


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of ranks; `[value]` for a single process.

    Every process must call it equally often and in the same order. A reward function may run on another thread (async ones do), where
    CUDA's current device is not yet that of the process; NCCL would wait forever on the wrong one, so it is set.
    """
    torch = _joined()
    if torch is None:
        return [value]
    world = torch.distributed.get_world_size()
    if world == 1:
        return [value]
    if torch.distributed.get_backend() == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0") or 0))
    values = [value] * world  # replaced by the values of all processes
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def together(*kinds: type[Exception]) -> Iterator[None]:
    """Run a block that every process runs, and let all of them fail if one does: none is left waiting for the others.

    kinds  the exceptions that are shared, any `Exception` by default

    The process that failed raises its own exception, the others `OtherProcessError` with its message. If the processes exchange values
    inside the block, name the kinds that come after that: any other must end its process at once, since nobody listens. Before the
    trainer has joined the processes each one fails alone, and the launcher ends the others.
    """
    own: Exception | None = None
    shared = kinds or (Exception,)
    try:
        yield
    except shared as error:
        own = error
    failed = [(i, text) for i, text in enumerate(gather(None if own is None else str(own) or type(own).__name__)) if text is not None]
    if own is not None:
        raise own
    if failed:
        first, text = failed[0]
        raise OtherProcessError(f"process {first} of {launched()}, counted from 0: {text}")


def leave() -> None:
    """Wait for all processes, then end their group; every process must call it, as the last thing it does with the others.

    A process that ends with its group alive can be aborted on its way out, and the launcher then ends those that still work.
    """
    torch = _joined()
    if torch is not None:
        gather(None)
        torch.distributed.destroy_process_group()


def _joined() -> ModuleType | None:
    """torch, if this process has joined others."""
    torch = sys.modules.get("torch")
    if torch is None or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch

"""Sample a model that is being trained, and leave no trace of it: modes, random numbers and weights are as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.engines.decode import Mode
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import Policy, load_policy


class LivePolicy:
    """A (model, tokenizer) pair in training, to be looked at now and then.

    Raises SettingsError where a process holds only a part of the weights (FSDP, DeepSpeed ZeRO-3): nothing can be sampled from a part.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if how := _sharded(model):
            raise SettingsError(
                f"the model is spread over processes ({how}), so no process can sample it alone. Save checkpoints, and look at them from "
                "outside: flatspot watch-checkpoints DIR --run RUN"
            )
        self._pair = (model, tokenizer)
        self._policy: Policy | None = None
        self._mode: Mode | None = None

    @contextmanager
    def engine(self) -> Iterator[HfEngine]:
        """An engine on the weights as they are now; good inside the block only."""
        model, tokenizer = self._pair
        with as_it_was(model):
            if self._policy is None:
                self._policy = load_policy((model, tokenizer))
            model.eval()
            # made anew each time, so that no copy of old weights lives on; how to decode is checked once
            engine = HfEngine(self._policy, mode=self._mode)
            self._mode = engine.mode
            yield engine

    def save(self, folder: Any) -> None:
        """Write model and tokenizer as `from_pretrained` reads them; of a PEFT model, the adapter."""
        model, tokenizer = self._pair
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """Afterwards every module is in the mode it was in, and every generator of random numbers where it was."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _sharded(model: Any) -> str:
    names = {type(module).__name__ for module in model.modules()}
    if "FullyShardedDataParallel" in names or any(name.startswith("FSDP") for name in names):
        return "FSDP"
    if any(type(parameter).__name__ == "DTensor" for parameter in model.parameters()):
        return "FSDP"
    return "DeepSpeed ZeRO-3" if any(hasattr(parameter, "ds_id") for parameter in model.parameters()) else ""

"""Sample a model during its training without side effects: modes, random states and weights are restored."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.leftovers import scratch_folder
from flatspot.core.plain import Json
from flatspot.core.protocols import Engine
from flatspot.engines.decode import Mode
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import Policy, load_policy
from flatspot.training.parallel import sharded_error
from flatspot.training.warmup.probe_engine import SleepingVllm

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LivePolicy:
    """A (model, tokenizer) pair in training, to be sampled from time to time.

    template_kwargs  values for its chat template
    vllm             what samples it, from a copy of the weights on disk; None: the model itself, with the hf engine

    Raises SettingsError if a process has only a part of the weights (FSDP, DeepSpeed ZeRO-3), from which nothing can be sampled.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template_kwargs: Mapping[str, Json] | None = None,
        vllm: SleepingVllm | None = None,
    ) -> None:
        if how := _sharded(model):
            raise sharded_error(how)
        self._pair, self._values, self._vllm = (model, tokenizer), template_kwargs, vllm
        self._policy: Policy | None = None
        self._mode: Mode | None = None

    @contextmanager
    def engine(self) -> Iterator[tuple[Engine, Policy]]:
        """An engine on the current weights, and the policy that has them; valid inside the block only."""
        model, tokenizer = self._pair
        with state_restored(model):
            if self._policy is None:
                self._policy = load_policy((model, tokenizer), template_kwargs=self._values)
            model.eval()
            if self._vllm is not None:
                with scratch_folder() as folder:
                    self.save(folder)
                    with self._vllm.awake(self._policy, folder) as vllm:
                        yield vllm, self._policy
                return
            # created for each probe, so that no copy of old weights remains; the decoding mode is checked once
            engine = HfEngine(self._policy, mode=self._mode)
            self._mode = engine.mode
            yield engine, self._policy

    def save(self, folder: Path) -> None:
        """Write model and tokenizer for `from_pretrained`; for a PEFT model, the adapter."""
        model, tokenizer = self._pair
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


@contextmanager
def state_restored(model: Module) -> Iterator[None]:
    """Restore the mode of every module and the state of every random generator after the block."""
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


def _sharded(model: Module) -> str:
    names = {type(module).__name__ for module in model.modules()}
    if "FullyShardedDataParallel" in names or any(name.startswith("FSDP") for name in names):
        return "FSDP"
    if any(type(parameter).__name__ == "DTensor" for parameter in model.parameters()):
        return "FSDP"
    return "DeepSpeed ZeRO-3" if any(hasattr(parameter, "ds_id") for parameter in model.parameters()) else ""

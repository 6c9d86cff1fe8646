"""vLLM for the probes of a warm-up: asleep while the training goes on, awake with the weights of the step that is probed."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import SettingsError
from flatspot.core.leftovers import scratch_folder
from flatspot.core.records import PromptText
from flatspot.engines.model_folder import is_adapter
from flatspot.engines.policy import Policy, resolve_dtype
from flatspot.engines.prompts import encode
from flatspot.training.ranks import launched
from flatspot.training.warmup.checkpoints import merge_adapter
from flatspot.training.warmup.probe import Probed

if TYPE_CHECKING:
    from flatspot.engines.vllm import VllmEngine

_CACHE_GIB = 4.0


class SleepingVllm:
    """vLLM on a policy whose weights change from probe to probe, on the GPU only while it samples.

    Opened at the first probe, so that its first weights are those of the first probe, too. Each time it is checked to sample what the
    policy's own forward pass computes. `others` are prompts that are sampled beside the probed ones. Raises MissingExtra where vLLM is not
    installed, SettingsError in a training on several processes.
    """

    def __init__(self, probed: Probed, others: Sequence[PromptText] = ()) -> None:
        from flatspot.engines.vllm import vllm_device

        if launched() > 1:
            raise SettingsError(
                "vLLM's processes and those of the launcher would take one another for their own: probe with --probe-engine hf, or train "
                "with --no-stop and --save_strategy steps, and probe in a separate process: flatspot watch-checkpoints DIR --run RUN"
            )
        self._dtype = resolve_dtype("auto", vllm_device())
        self._memory_gib = probed.settings.memory_gib or _CACHE_GIB
        self._texts = [*(prompt.text for prompt in probed.prompts), *others]
        self._max_new_tokens = probed.sampling.max_new_tokens
        self._engine: VllmEngine | None = None

    @contextmanager
    def awake(self, policy: Policy, files: Path) -> Iterator[VllmEngine]:
        """The engine with the weights of a policy, which are in the folder `files`, too (an adapter is merged first); asleep afterwards."""
        _free_unused()
        with scratch_folder() as scratch:
            if is_adapter(files):
                merge_adapter(files, scratch / "merged")
                files = scratch / "merged"
            try:
                yield self._with_weights(policy, files)
            except BaseException:
                with suppress(Exception):  # it may have died, of which the first error tells
                    self._asleep()
                raise
            self._asleep()

    def _with_weights(self, policy: Policy, files: Path) -> VllmEngine:
        from flatspot.engines.vllm import VllmEngine

        if self._engine is None:
            longest = max(len(encode(policy, text)) for text in self._texts) + self._max_new_tokens  # a cache must hold all of a context
            self._engine = VllmEngine(policy, dtype=self._dtype, memory_gib=self._memory_gib, context=longest, files=files)
        else:
            self._engine.wake_up(policy, files)
        return self._engine

    def _asleep(self) -> None:
        if self._engine is not None:
            self._engine.sleep()

    def close(self) -> None:
        """End vLLM and its processes."""
        self._engine = None
        gc.collect()


def _free_unused() -> None:
    """Give back what torch keeps of the GPU for later: vLLM sees free memory only."""
    import torch

    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()

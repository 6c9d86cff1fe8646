"""The engine on transformers: any architecture it loads, causal or encoder–decoder, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens
from flatspot.core.records import Completion, PromptRequest, Sampling
from flatspot.engines.decode import Mode
from flatspot.engines.memory import Footprint, budget_bytes, footprint
from flatspot.engines.notes import log_notes, note_misfit
from flatspot.engines.onednn import OneDnnLinears
from flatspot.engines.policy import Policy
from flatspot.engines.prompts import encode, misfit, no_completion, to_completion
from flatspot.engines.sequences import draw_batch
from flatspot.engines.verify import Check, choose_mode


@dataclass(frozen=True, slots=True)
class _Item:
    """A prompt's ids and its rows: each row's place in the result (request, completion), and its seed."""

    ids: tuple[int, ...]
    rows: tuple[tuple[int, int, int], ...]


class HfEngine:
    """Samples a policy with flatspot's own decode loop around the transformers model.

    A row's tokens come from Philox numbers keyed by its seed, so they do not depend on the other rows of a batch, apart from float
    rounding, which varies with the batch's shape. `memory_gib` bounds caches and logits, in addition to the weights (default: half of
    the memory free at the start). If memory runs out regardless, the batch is halved and its rows are drawn again.

    notes  messages for the caller to print: a slower way of decoding, a halved batch
    """

    name = "hf"

    def __init__(self, policy: Policy, *, memory_gib: float | None = None, mode: Mode | None = None) -> None:
        self.policy = policy
        self.notes = list(policy.notes)
        self.mode: Mode
        self.check: Check | None = None
        self._onednn = OneDnnLinears(policy.model)
        if mode is None:
            self.mode, self.check = self._checked()
        else:
            self.mode = mode
        cuda = policy.device.startswith("cuda")
        self.rows_per_call = 1024 if cuda else 512
        # on a CPU a prompt token costs about as much as a token of a full batch; on a GPU many times less
        self.prompt_token_cost = 0.1 if cuda else 1.0
        # on a CPU more rows are not faster: 64, 128 and 256 gave 576, 622 and 552 tokens a second
        self._rows_in_flight = 1024 if cuda else 128
        self._budget = budget_bytes(memory_gib, policy.device)
        self._footprint = footprint(policy)

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests; one with an error for a prompt that does not fit the context."""
        items = []
        completions: dict[tuple[int, int], Completion] = {}
        for i, request in enumerate(requests):
            ids = encode(self.policy, request.text)
            if (problem := misfit(self.policy, request.text, ids, sampling)) is not None:
                note_misfit(self.notes, problem)
                completions |= {(i, j): no_completion(problem) for j in range(len(request.seeds))}
                continue
            items.append(_Item(tuple(ids), tuple((i, j, seed) for j, seed in enumerate(request.seeds))))
        if not self.policy.fingerprint_of_files:  # a model in memory may have been trained since the last call
            self._onednn.refresh()
        # longest first: a lack of memory shows at once
        waiting = sorted((item for item in items if item.rows), key=lambda item: len(item.ids), reverse=True)
        while waiting:
            batch, rest = take_batch(waiting, sampling.max_new_tokens, self._rows_in_flight, self._budget, self._footprint)
            try:
                completions.update(self._draw(batch, sampling, on_tokens))
            except (RuntimeError, MemoryError) as error:
                self._halve(error, sum(len(item.rows) for item in batch))
                continue
            waiting = rest
        return [[completions[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]

    def describe(self) -> Mapping[str, Json]:
        """Policy, dtype, device kind, package versions, and the check of the decode loop; equal at every start."""
        return {
            "engine": self.name,
            **self.policy.describe(),
            "dtype": self.policy.dtype,
            "device": self.policy.device.split(":")[0],
            "mode": self.mode,
            "versions": {package: version(package) for package in ("torch", "transformers")},
            "check": self.check.describe() if self.check else None,
        }

    def _checked(self) -> tuple[Mode, Check]:
        """The decoding mode, checked with oneDNN's products, which are dropped if no mode agrees with them."""
        try:
            return choose_mode(self.policy, self.notes, self._onednn.in_use)
        except EngineError:
            if not len(self._onednn):
                raise
            self._onednn.drop()
            self.notes.append(
                f"decoding {self.policy.name} without oneDNN linear layers, whose outputs differ from the model's on this machine"
            )
            return choose_mode(self.policy, self.notes)

    def _draw(self, batch: Sequence[_Item], sampling: Sampling, on_tokens: OnTokens | None) -> Iterator[tuple[tuple[int, int], Completion]]:
        rows = [row for item in batch for row in item.rows]
        prompts, copies, seeds = [item.ids for item in batch], [len(item.rows) for item in batch], [seed for _, _, seed in rows]
        try:
            with self._onednn.in_use():
                drawn = draw_batch(self.policy, prompts, seeds, sampling, self.mode, copies=copies, on_tokens=on_tokens)
        except FloatingPointError as error:
            raise EngineError(f"{self.policy.name} cannot be sampled: {error}. Try --dtype float32, or fix its weights") from error
        for (i, j, _), row in zip(rows, drawn, strict=True):
            yield (i, j), to_completion(self.policy, row.ids, sampling.max_new_tokens, row.logprob)

    def _halve(self, error: Exception, rows: int) -> None:
        """Halve the rows in progress after running out of memory; any other error is raised, and so is this one at a single row."""
        if not out_of_memory(error):
            raise error
        if rows <= 1:
            raise EngineError(
                f"out of memory with a single row in progress ({error}). Lower --max-new-tokens or use a smaller dtype"
            ) from error
        self._rows_in_flight = max(1, rows // 2)
        self.notes.append(f"out of memory with {rows} rows in progress; continuing with {self._rows_in_flight}")
        log_notes(self.notes[-1:])
        if self.policy.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


def take_batch(waiting: Sequence[_Item], new: int, most_rows: int, budget: float, needs: Footprint) -> tuple[list[_Item], list[_Item]]:
    """The items of the next batch, at least one row, and the rest. An item with more rows than fit is split."""
    longest = len(waiting[0].ids)
    free = budget
    batch: list[_Item] = []
    n_rows = 0
    for place, item in enumerate(waiting):
        free -= needs.prompt(longest)
        fits = min(most_rows - n_rows, int(free // needs.row(longest, new)))
        if not batch:
            fits = max(1, fits)
        if fits < len(item.rows):
            if fits > 0:
                batch.append(_Item(item.ids, item.rows[:fits]))
                return batch, [_Item(item.ids, item.rows[fits:]), *waiting[place + 1 :]]
            return batch, list(waiting[place:])
        batch.append(item)
        n_rows += len(item.rows)
        free -= len(item.rows) * needs.row(longest, new)
    return batch, []


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of the several that torch raises when memory runs out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate" in text or "cannot allocate" in text or "bad_alloc" in text

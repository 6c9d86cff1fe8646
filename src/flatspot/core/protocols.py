"""What an engine and a reward are. Implementations are plain classes; nobody inherits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from flatspot.core.records import Completion, Prompt, PromptRequest, Sampling, Score

OnTokens = Callable[[int], None]
"""Told of so many new tokens; one with a method `completed(n)` is told there of n completions that are whole."""

Say = Callable[[str], None]
"""Takes a note to the user, a sentence at a time."""


def tell_completed(on_tokens: OnTokens | None, n: int) -> None:
    """Tell whoever counts tokens, if they count completions too, that n more are whole."""
    completed = getattr(on_tokens, "completed", None)
    if n and completed is not None:
        completed(n)


@runtime_checkable
class Engine(Protocol):
    """Policy → completions.

    name           "scripted", "hf", "openvino", "vllm", "openai", "ray"
    rows_per_call  how many completions one `sample` call should ask for to run at full speed; more is never wrong

    An engine may also have `prompt_token_cost`: what reading a prompt's token in another call costs, in generated tokens; 0 if absent.
    One that remembers prompts from call to call has `recall(calls, sampling)`: be where these calls of `sample`
    would have left it, drawing nothing.
    One that is slow where few rows are left has `sample_parts(parts, sampling, on_tokens)`: an iterator over what `sample` of each part
    gives, in order, that begins further parts meanwhile; it reads `parts` where it is iterated, and has `close`.
    One on several machines has `spread(load, calls)`: a list of what `load()(*call)` gives for each of some calls, made on them.
    One that knows its model by name alone has `model_signs()`, JSON that tells it from another one of that name, for model.json of a run,
    and `differs_from(signs)`: why the model that answers now is another than the one these are of; None where it is not.
    """

    name: str
    rows_per_call: int

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One list of completions per request, one completion per seed, in the order asked.

        A prompt that cannot be answered, as it does not fit the context, gets completions with an `error`; the others are drawn.

        Equal (text, seed, sampling) give equal completions, but for the float rounding that another composition of a batch brings: a
        caller that wants the same rows again asks for the same batches. `on_tokens(n)` is told of n newly generated tokens as they come,
        and by `tell_completed` of completions that are whole.
        """
        ...

    def describe(self) -> Mapping[str, object]:
        """What the rows depend on, for run.json: model, dtype, device, how it was verified. Plain JSON values."""
        ...


class MakeEngine(Protocol):
    """What an entry point of `flatspot.engines` is: a function that makes an `Engine`, for `--engine NAME`.

    model       what the user gave: a name, a path, or a pair (model, tokenizer)
    dtype       auto, float32, bfloat16 or float16
    device      auto, cpu, cuda, cuda:1, …
    memory_gib  bound of what is taken beside the weights; None where the user set none
    """

    def __call__(self, model: str | Path | tuple[object, object], *, dtype: str, device: str, memory_gib: float | None) -> Engine:
        """The engine. Raises `EngineError` for what the user can fix."""
        ...


class RewardFunction(Protocol):
    """What an entry point of `flatspot.rewards` is: a reward function as TRL calls it, for `--reward NAME` or `--reward NAME[key=value]`.

    It is called in a process of its own, under the time limit, with the prompts' further columns by name and the parameters between the
    brackets as text: those that it names, so that a misspelled one is refused, and before a prompt column of the same name. One value per
    completion; None where it does not apply. An attribute `reward_range = (low, high)` of the function says what it can return.
    """

    def __call__(self, prompts: Sequence[object], completions: Sequence[object], **columns: object) -> Sequence[float | None]:
        """The rewards."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Completion → score. Never raises for a bad completion: the failure is the row's `error`."""

    names: tuple[str, ...]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Score]:
        """One score per (prompt, completion) pair, in the order given."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What the scores depend on, for run.json: names, weights, a hash of the source. Plain JSON values."""
        ...

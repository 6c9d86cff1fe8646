"""Call a reward function the way its trainer would, and get one `Value` per row.

A scorer takes prompts and completions of equal length. It raises what the function raises, so that its caller can find out
which row was the cause; an answer of the wrong shape comes back as errors on every row.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Progress, Prompt
from flatspot.rewards.spec import Shape
from flatspot.rewards.values import Value, as_value, as_values

Scorer = Callable[[Sequence[Prompt], Sequence[Completion]], list[Value]]

# the names TRL gives a meaning of its own; a prompt column of the same name gives way
_RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")


def scorer_for(function: Callable[..., Any], shape: Shape, name: str) -> Scorer:
    """The scorer that calls `function` under the convention `shape` names.

    Raises `RewardLoadError` where a function given as TRL's has verl's parameters: its adapter has to be named.
    """
    if shape == "verl":
        return verl_scorer(function)
    if shape == "openrlhf":
        return openrlhf_scorer(function)
    if {"data_source", "solution_str"} <= _parameters(function).keys():
        raise RewardLoadError(
            f"the reward {name!r} takes data_source and solution_str, as verl calls it, not prompts and completions: "
            f"write verl: before its address, as in verl:file.py:{name}"
        )
    return trl_scorer(function)


def trl_scorer(function: Callable[..., Any]) -> Scorer:
    """Call `f(prompts, completions, **columns) -> list[float | None]` as TRL's GRPO trainer does, sync or async.

    Everything goes by keyword: prompts, completions (message lists where the prompt is chat, text otherwise), completion_ids,
    every prompt column as a list by its name (None where a row lacks it), the prompt ids as `id`, and stand-ins for
    log_extra, log_metric and, outside a training, trainer_state. Unlike TRL, a function without **kwargs gets only the parameters it names.
    """
    accepted = _parameters(function)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    needed = {n for n, p in accepted.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        arguments = trl_arguments(prompts, completions)
        missing = sorted(needed - arguments.keys())
        if missing:
            columns = ", ".join(sorted(arguments.keys() - set(_RESERVED))) or "none"
            return [Value(error=f"needs {', '.join(missing)}, which no prompt column gives (columns: {columns})")] * len(prompts)
        if accepted and not takes_any:
            arguments = {key: value for key, value in arguments.items() if key in accepted}
        return as_values(_finished(function(**arguments)), len(prompts))

    return score


def verl_scorer(function: Callable[..., Any]) -> Scorer:
    """Call verl's `compute_score(data_source, solution_str, ground_truth, extra_info)` once per row.

    The columns data_source and extra_info are passed where the prompts have them, ground_truth from the column of that name,
    else from verl's reward_model column, else from the row's references. A returned dict counts by its "score".
    """
    accepted = _parameters(function)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        values = []
        for prompt, completion in zip(prompts, completions, strict=True):
            arguments = {
                "data_source": prompt.columns.get("data_source"),
                "solution_str": completion.text,
                "ground_truth": _ground_truth(prompt),
                "extra_info": prompt.columns.get("extra_info"),
            }
            if accepted and not takes_any:
                arguments = {key: value for key, value in arguments.items() if key in accepted}
            raw = _finished(function(**arguments))
            if isinstance(raw, dict) and "score" not in raw:
                values.append(Value(error=f"returned a dict without 'score' (keys: {', '.join(map(str, raw))})"))
            else:
                values.append(as_value(raw["score"] if isinstance(raw, dict) else raw))
        return values

    return score


def openrlhf_scorer(function: Callable[..., Any]) -> Scorer:
    """Call OpenRLHF's `reward_func(queries, prompts, labels)`, a query being the prompt and the response together.

    Chat prompts are joined as the messages' contents, one per line, because the model's template is not known here. Labels are
    the column `label`, else the row's first reference. A returned dict counts by its "rewards"; "scores" and logs are not used.
    """

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        texts = [prompt.text if isinstance(prompt.text, str) else "\n".join(m["content"] for m in prompt.text) + "\n" for prompt in prompts]
        queries = [text + completion.text for text, completion in zip(texts, completions, strict=True)]
        labels = [prompt.columns.get("label", next(iter(prompt.references), None)) for prompt in prompts]
        raw = _finished(function(queries, texts, labels))
        if isinstance(raw, dict):
            if "rewards" not in raw:
                return [Value(error=f"returned a dict without 'rewards' (keys: {', '.join(map(str, raw))})")] * len(prompts)
            raw = raw["rewards"]
        if len(prompts) == 1 and getattr(raw, "ndim", None) == 0:
            raw = [raw]  # a single row may come back as a tensor without an axis
        return as_values(raw, len(prompts))

    return score


def row_scorer(score_row: Callable[[Prompt, str], float]) -> Scorer:
    """A scorer of a function that looks at one prompt and one completion's text at a time."""

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        return [as_value(score_row(prompt, completion.text)) for prompt, completion in zip(prompts, completions, strict=True)]

    return score


def trl_arguments(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> dict[str, Any]:
    """The keyword arguments TRL passes for these rows.

    >>> rows = trl_arguments([Prompt("a", "2+2=", {"answer": "4"})], [Completion("5", 1, False)])
    >>> rows["prompts"], rows["completions"], rows["answer"]
    (['2+2='], ['5'], ['4'])
    """
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    arguments: dict[str, Any] = {"id": [prompt.id for prompt in prompts]}
    arguments |= {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
    given = (prompt.columns.get("trainer_state") for prompt in prompts)
    now = next((state for state in given if isinstance(state, Progress)), Progress())
    return arguments | {
        "prompts": [prompt.text if isinstance(prompt.text, str) else [dict(message) for message in prompt.text] for prompt in prompts],
        "completions": [
            [{"role": "assistant", "content": completion.text}] if prompt.is_chat else completion.text
            for prompt, completion in zip(prompts, completions, strict=True)
        ],
        "completion_ids": [list(completion.token_ids) for completion in completions],
        "trainer_state": SimpleNamespace(**asdict(now), num_train_epochs=1, log_history=[]),
        "log_extra": _ignore,
        "log_metric": _ignore,
    }


def _ignore(*_: Any, **__: Any) -> None:
    return None


def _ground_truth(prompt: Prompt) -> Any:
    if prompt.columns.get("ground_truth") is not None:
        return prompt.columns["ground_truth"]
    reward_model = prompt.columns.get("reward_model")
    if isinstance(reward_model, Mapping) and reward_model.get("ground_truth") is not None:
        return reward_model["ground_truth"]
    references = prompt.references
    return references[0] if len(references) == 1 else list(references) or None


def _finished(raw: Any) -> Any:
    if not inspect.isawaitable(raw):
        return raw
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(raw))
    with ThreadPoolExecutor(1) as thread:  # a notebook's loop runs already, and a thread has one of its own
        return thread.submit(asyncio.run, _awaited(raw)).result()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables of C extensions have no signature: they get everything
        return {}

"""Rubrics of verifiers: reward functions with weights, called by the names of their parameters.

This is the rubric of its first stack (verifiers 0.1 to 0.3; `verifiers.legacy` in 0.3). verifiers 0.4 has none: its rewards score a trace.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.scorers import Scorer, finished, ground_truth, parameters_of
from flatspot.rewards.values import Value, as_value, as_values, describe_exception

_OF_GROUP = frozenset(("states", "prompts", "completions", "answers", "tasks", "infos"))
_SINGULAR = {"states": "state", "prompts": "prompt", "completions": "completion", "answers": "answer", "tasks": "task", "infos": "info"}


def _functions(rubric: object) -> tuple[list[Callable[..., object]], list[float]] | None:
    """Its functions (`funcs`, before 0.1.6 `reward_funcs`) and their weights; None where it is no rubric."""
    for funcs, weights in (("funcs", "weights"), ("reward_funcs", "reward_weights")):
        functions, factors = getattr(rubric, funcs, None), getattr(rubric, weights, None)
        if isinstance(functions, list) and isinstance(factors, list) and len(functions) == len(factors) and all(map(callable, functions)):
            return functions, [float(factor) for factor in factors]
    return None


def rubric_scorer(rubric: object, name: str) -> Scorer:
    """The scorer of a rubric's total: Σ weight · value over its functions; one of weight 0 is a metric, and not called.

    A function gets what it names of prompt, completion (messages, or text where the prompt is text), answer, info, task, state, the
    prompt's columns and the rubric's own objects (parser); with plural names, the rows of a call at once. What it raises is an error of its
    rows, where verifiers gives 0. Raises `RewardLoadError` where the object is no rubric, or has no function that counts.
    """
    found = _functions(rubric)
    if found is None:
        raise RewardLoadError(
            f"{name} is no rubric of verifiers (it has no funcs and weights). Give the object: rubric = environment.rubric in its file. "
            "verifiers 0.4 has no rubrics; write a reward function that does what its @vf.reward does"
        )
    counted = [(function, weight) for function, weight in zip(*found, strict=True) if weight]
    if not counted:
        raise RewardLoadError(f"the rubric {name} has no function with a weight other than 0, so every completion would earn the same")
    own: Mapping[str, Any] = getattr(rubric, "class_objects", None) or {}
    own = own if "parser" in own or not hasattr(rubric, "parser") else {**own, "parser": rubric.parser}

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        rows = [_objects(prompt, completion, own) for prompt, completion in zip(prompts, completions, strict=True)]
        parts = [(_values(function, rows), weight) for function, weight in counted]
        return [_total([(values[i], weight) for values, weight in parts]) for i in range(len(rows))]

    return score


def _objects(prompt: Prompt, completion: Completion, own: Mapping[str, Any]) -> dict[str, Any]:
    text = prompt.text if isinstance(prompt.text, str) else [dict(message) for message in prompt.text]
    said: object = completion.text
    if completion.messages is not None:
        said = [dict(message) for message in completion.messages]
    elif prompt.is_chat:
        said = [{"role": "assistant", "content": completion.text}]
    columns = dict(prompt.columns)
    answer = columns.get("answer")
    answer = ground_truth(prompt) if answer is None else answer
    row = {"prompt": text, "completion": said, "answer": "" if answer is None else answer, "info": columns.get("info") or {}}
    row["task"] = columns.get("task", "default")
    return {**columns, **row, **own, "state": {**columns, **row}}


def _values(function: Callable[..., object], rows: Sequence[dict[str, Any]]) -> list[Value]:
    accepted = parameters_of(function)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())

    def picked(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if takes_any or name in accepted}

    if _OF_GROUP & accepted.keys():
        several = {plural: [row[single] for row in rows] for plural, single in _SINGULAR.items()}
        own = {name: value for name, value in rows[0].items() if name not in _SINGULAR.values()}
        return as_values(finished(function(**picked({**own, **several}))), len(rows))
    values = []
    for row in rows:
        try:
            values.append(as_value(finished(function(**picked(row)))))
        except Exception as error:
            values.append(Value(error=f"{getattr(function, '__name__', 'a function')}: {describe_exception(error)}"))
    return values


def _total(parts: Sequence[tuple[Value, float]]) -> Value:
    wrong = next((value for value, _ in parts if value.error is not None), None)
    if wrong is not None:
        return wrong
    numbers = [weight * value.number for value, weight in parts if value.number is not None]
    return Value(math.fsum(numbers)) if numbers else Value()

"""Prompts of a run as rows of the data set that a trainer reads, each with a weight for a sampler."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flatspot.core.answers import answers_in, names_beside
from flatspot.core.errors import SettingsError
from flatspot.core.plain import JsonObject
from flatspot.core.protocols import Say
from flatspot.core.records import Prompt

Row = tuple[Prompt, Mapping[str, Any]]
"""A prompt, and its row of verdicts."""


def rows_for(trainer: str, prompts: Sequence[Row], say: Say) -> list[JsonObject]:
    """The rows that `trainer` reads, one per prompt: its own columns of the file go along, and `weight` is added.

    `weight` is the probability that a group of the planned size is not all equal (`p_mixed`): with a sampler that draws prompts by it,
    completions go where they are expected to teach something. A prompt without one has the mean weight of the others.

    Raises `SettingsError` for another trainer, and where a prompt lacks what the trainer cannot do without.
    """
    if trainer not in TRAINERS:
        raise SettingsError(f"there is no trainer {trainer!r} to export for; there are: {', '.join(TRAINERS)}")
    weights = _weights([verdict["p_mixed"] for _, verdict in prompts], say)
    rows = TRAINERS[trainer](prompts, say)
    return [_with_weight(row, weight) for row, weight in zip(rows, weights, strict=True)]


def _weights(chances: Sequence[float | None], say: Say) -> list[float]:
    known = [chance for chance in chances if chance is not None and chance == chance]
    if len(known) == len(chances):
        return known
    mean = sum(known) / len(known) if known else 1.0
    say(f"{len(chances) - len(known)} prompts have no chance of a mixed group: their weight is {mean:.3g}, the mean of the others")
    return [mean if chance is None or chance != chance else chance for chance in chances]


def _with_weight(row: JsonObject, weight: float) -> JsonObject:
    names = names_beside(row, ["weight"])
    return {names[name]: value for name, value in row.items()} | {"weight": weight}


def _trl(prompts: Sequence[Row], _: Say) -> list[JsonObject]:
    """`prompt` as text or messages; every other column reaches the reward functions by its name."""
    return [{**_beside(prompt, "prompt"), "prompt": prompt.text} for prompt, _ in prompts]


def _verl(prompts: Sequence[Row], say: Say) -> list[JsonObject]:
    """The five columns of verl's data sets; those that the file has stay what they are."""
    rows = []
    for index, (prompt, _) in enumerate(prompts):
        own = _beside(prompt, "prompt")
        rows.append(
            {
                "data_source": own.pop("data_source", None) or "flatspot",
                "prompt": _messages(prompt),
                "ability": own.pop("ability", None) or "",
                "reward_model": own.pop("reward_model", None) or {"style": "rule", "ground_truth": _answer(prompt, "verl")},
                "extra_info": _extra_info(own.pop("extra_info", None), prompt.id, index),
            }
            | own
        )
    if any(row["data_source"] == "flatspot" for row in rows):
        say("data_source is 'flatspot', which none of verl's own rewards is for: name yours with custom_reward_function.path")
    return rows


def _prime_rl(prompts: Sequence[Row], _: Say) -> list[JsonObject]:
    """`prompt` as messages and `answer` as text, as an environment of verifiers loads them."""
    return [
        {**_beside(prompt, "prompt", "answer"), "prompt": _messages(prompt), "answer": _as_text(_answer(prompt, "prime-rl"))}
        for prompt, _ in prompts
    ]


TRAINERS: Mapping[str, Callable[[Sequence[Row], Say], list[JsonObject]]] = {"trl": _trl, "verl": _verl, "prime-rl": _prime_rl}
"""The trainers that rows can be written for."""


def _beside(prompt: Prompt, *ours: str) -> dict[str, Any]:
    """The file's own columns but those that ours replace."""
    return {name: value for name, value in prompt.columns.items() if name not in ours}


def _messages(prompt: Prompt) -> list[Any]:
    return list(prompt.text) if not isinstance(prompt.text, str) else [{"role": "user", "content": prompt.text}]


def _answer(prompt: Prompt, trainer: str) -> Any:
    """The prompt's right answer: text, or what its column holds."""
    answers = answers_in(prompt.columns)
    nested = answers.get("reward_model")
    if isinstance(nested, dict) and "ground_truth" in nested:
        return nested["ground_truth"]
    if not answers:
        raise SettingsError(
            f"{trainer} needs the right answer of each prompt, and prompt {prompt.id!r} has none: give the prompts a column such as answer"
        )
    first = next(iter(answers.values()))
    return first if isinstance(first, str | list | dict) else str(first)


def _as_text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _extra_info(own: Any, prompt_id: str, index: int) -> dict[str, Any]:
    return {"index": index, "flatspot_id": prompt_id} | own if isinstance(own, dict) else {"index": index, "flatspot_id": prompt_id}

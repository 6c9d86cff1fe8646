"""What a trainer passes to a reward, and what comes back, as rows of a recording: verl, OpenRLHF, and those that pass `completions`.

None of them passes all that a row should have: verl has no prompt and no step, OpenRLHF no step. What is not there stays null.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flatspot.core.content import content_text
from flatspot.core.media import named_with_media
from flatspot.core.records import prompt_content
from flatspot.rewards.scorers import openrlhf_values, verl_value
from flatspot.rewards.values import Value, as_values

Trainer = Literal["verl", "openrlhf", "ms-swift", "trl"]
Call = Mapping[str, Any]
"""The arguments of a call, by name."""

TELLING = {"solution_str": "verl", "solution_strs": "verl", "queries": "openrlhf", "completions": "trl"}
"""The parameters by which a reward is known as one of a trainer's; ms-swift's are those of TRL."""
IN_ORDER: Mapping[Trainer, tuple[str, ...]] = {
    "verl": ("data_source", "solution_str", "ground_truth", "extra_info"),
    "openrlhf": ("queries", "prompts", "labels"),
    "ms-swift": ("completions",),
    "trl": ("prompts", "completions", "completion_ids"),
}
"""What a trainer passes by place."""

_QUESTIONS = ("question", "problem", "prompt", "raw_prompt", "query", "instruction")
_INDEX = ("index", "id", "uid", "unique_id", "question_id", "problem_id")
_OF_ROLLOUT = ("num_turns", "rollout_reward_scores", "reward_scores", "tool_extra_fields")  # verl adds these to what the data set has
_EVALUATIONS = ("test", "val", "valid", "validation", "eval", "evaluation", "dev")
_OF_TRL = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
_OF_SWIFT = (
    "messages",
    "prompt_id",
    "request_id",
    "finish_reason",
    "is_truncated",
    "rollout_infos",
    "response_token_ids",
    "trajectory_inputs",
)
_NOT_COLUMNS = frozenset((*_OF_TRL, *_OF_SWIFT))


@dataclass(frozen=True, slots=True)
class Asked:
    """One completion as a trainer hands it to a reward: the members of its row that are known before the reward is."""

    members: dict[str, Any] = field(default_factory=dict)

    @property
    def unnamed(self) -> bool:
        """Whether its prompt is known by its right answer alone."""
        return bool(self.members.get("unnamed"))


def asked_of(call: Call) -> list[Asked]:
    """The completions of a call as they are now, whatever a reward makes of them. Raises TypeError where no known trainer calls so.

    >>> [row] = asked_of({"data_source": "gsm8k", "solution_str": "4", "ground_truth": "4", "extra_info": {"index": 7, "split": "train"}})
    >>> row.members["completion"], row.members["split"], row.unnamed
    ('4', 'train', False)
    """
    copies: dict[int, object] = {}
    return [Asked({name: _copied(value, copies) for name, value in row.members.items()}) for row in _rows_of(call)]


def _copied(value: object, copies: dict[int, object]) -> object:
    """A value with lists and dicts of its own; whatever else it holds is shared.

    copies  by the identity of a list or dict, for rows share theirs, and one may hold itself
    """
    if not isinstance(value, dict | list):
        return tuple(_copied(item, copies) for item in value) if type(value) is tuple else value
    if id(value) not in copies:
        made: Any = {} if isinstance(value, dict) else []
        copies[id(value)] = made
        if isinstance(value, dict):
            made.update((key, _copied(item, copies)) for key, item in value.items())
        else:
            made.extend(_copied(item, copies) for item in value)
    return copies[id(value)]


def _rows_of(call: Call) -> list[Asked]:
    if "solution_str" in call:
        return [_of_verl(call.get("data_source"), call["solution_str"], call.get("ground_truth"), call.get("extra_info"))]
    if "solution_strs" in call:
        n = len(call["solution_strs"])
        names = ("data_sources", "solution_strs", "ground_truths", "extra_infos")
        columns = [call[name] if call.get(name) is not None else [None] * n for name in names]
        return [_of_verl(*row) for row in zip(*columns, strict=True)]
    if "queries" in call:
        n = len(call["queries"])
        prompts, labels = (call[name] if call.get(name) is not None else [None] * n for name in ("prompts", "labels"))
        return [_of_openrlhf(*row) for row in zip(call["queries"], prompts, labels, strict=True)]
    if "completions" in call:
        return _of_completions(call)
    raise TypeError(f"a call with {', '.join(call) or 'nothing'} is none of verl's, OpenRLHF's, ms-swift's or TRL's")


def values_of(call: Call, result: object, n: int) -> list[tuple[Value, object]]:
    """(number or error, what came beside a number) of each of the n completions of a call, of what the reward returned."""
    if "solution_str" in call:
        return [(verl_value(result), _beside(result))]
    if "solution_strs" in call:
        items = list(result) if isinstance(result, list | tuple) else None
        if items is not None and len(items) == n:
            return [(verl_value(item), _beside(item)) for item in items]
        return [(value, None) for value in as_values(result, n)]
    if "queries" in call:
        return [(value, None) for value in openrlhf_values(result, n)]
    return [(value, None) for value in as_values(result, n)]


def _beside(result: object) -> object:
    return result if isinstance(result, dict) else None


def _of_verl(source: object, solution: object, truth: object, extra_info: object) -> Asked:
    extra = {key: value for key, value in extra_info.items() if key not in _OF_ROLLOUT} if isinstance(extra_info, Mapping) else {}
    text = next((extra[name] for name in _QUESTIONS if isinstance(extra.get(name), str | list | tuple) and len(extra[name])), None)
    index = next((extra[name] for name in _INDEX if not _is_missing(extra.get(name))), None)
    split = extra.get("split")
    if index is not None:  # further keys may be of the rollout: tools add what they like
        known: dict[str, object] = {"data_source": source, "split": split, "index": index, "ground_truth": truth, "question": text}
    elif text is not None:
        known = {"data_source": source, "split": split, "ground_truth": truth, "question": text}
    else:
        known = {"data_source": source, "ground_truth": truth, **extra}
    known = {name: value for name, value in known.items() if value is not None}
    members = {
        "trainer": "verl",
        "unnamed": (text is None and index is None) or None,
        "id": hashlib.sha256(content_text(known, sort_keys=True)[0].encode("utf-8", "backslashreplace")).hexdigest()[:16],
        "prompt": content_text(known)[0] if text is None else text,
        "completion": solution,
        "split": _split(split),
        "columns": {"data_source": source, "ground_truth": truth, "extra_info": extra},
    }
    return Asked(members)


def _is_missing(value: object) -> bool:
    """Whether a cell is empty: pandas makes NaN of those in a column of numbers."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _split(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    return "eval" if name.lower() in _EVALUATIONS else name


def _of_openrlhf(query: object, prompt: object, label: object) -> Asked:
    completion = query
    if isinstance(query, str) and isinstance(prompt, str) and (at := query.find(prompt)) >= 0:
        completion = query[at + len(prompt) :]  # a tokenizer may put its first token before the prompt
    text = query if prompt is None else prompt
    return Asked(
        {
            "trainer": "openrlhf",
            "id": prompt_content(text)[0],
            "prompt": text,
            "completion": completion,
            "columns": {} if label in (None, "") else {"label": label},  # "" is OpenRLHF's for data without a label
        }
    )


def _of_completions(call: Call) -> list[Asked]:
    completions = call["completions"]
    n = len(completions)
    columns = {
        name: values
        for name, values in call.items()
        if name not in _NOT_COLUMNS and isinstance(values, Sequence) and not isinstance(values, str) and len(values) == n
    }
    step = getattr(call.get("trainer_state"), "global_step", None)
    prompts = call.get("prompts")
    if prompts is None:  # ms-swift: messages, the last of which is the completion
        prompts = [_before_answer(messages) for messages in call.get("messages") or [None] * n]
    asked = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        own = {name: values[i] for name, values in columns.items()}
        text = content_text(own, sort_keys=True)[0] if prompt is None else prompt
        name = named_with_media(prompt_content(text)[0], prompt, own)[0]
        tokens = _at(call, "completion_ids", i) or _at(call, "response_token_ids", i)
        asked.append(
            Asked(
                {
                    "trainer": "trl" if "prompts" in call else "ms-swift",
                    "unnamed": prompt is None or None,
                    "id": name,
                    "prompt": text,
                    "completion": completion,
                    "step": None if step is None else int(step),
                    "group": _at(call, "prompt_id", i),
                    "truncated": _at(call, "is_truncated", i),
                    "n_tokens": _length(tokens),
                    "columns": own,
                }
            )
        )
    return asked


def _at(call: Call, name: str, row: int) -> Any:
    values = call.get(name)
    return values[row] if isinstance(values, Sequence) and len(values) > row else None


def _length(tokens: object) -> int | None:
    """How many ids of tokens there are, of one turn or of several."""
    if not isinstance(tokens, Sequence) or not tokens:
        return None
    return sum(len(turn) if isinstance(turn, Sequence) else 1 for turn in tokens)


def _before_answer(messages: object) -> object:
    if not isinstance(messages, Sequence) or not messages:
        return None
    last = messages[-1]
    return list(messages[:-1]) if isinstance(last, Mapping) and last.get("role") == "assistant" else list(messages)

"""Call a reward once before anything is drawn: what no completion could fix is reported then, and the rest is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.load import LoadedReward
from flatspot.rewards.values import Value

_MADE_UP = ("", "1", "Yes.", "The answer is 42.", "<think>hm</think><answer>7</answer>", "\\boxed{3}", "no " * 40, "a b c d e")
_AT_ONCE = 64


def check_reward(reward: LoadedReward, prompts: Sequence[Prompt], say: Callable[[str], None] = lambda _: None) -> None:
    """Score an empty completion of the first prompt, `say` what came, and call the reward once more with a group of made-up completions.

    Raises `RewardLoadError` for what no other completion would fix: a missing column, module or argument, an answer of the wrong shape,
    prompts of which none has an answer to compare with, a reward that compares the completions of a call where they come in no groups.
    An exception of the reward's own is only said: it may be right to fail on an empty text.
    """
    if not prompts:
        return
    first = [value for [value] in _values(reward, prompts[:1], [""])]
    lines = []
    for name, value in zip(reward.names, first, strict=True):
        if value.error is not None and value.broken:
            raise RewardLoadError(f"{name}: {value.error}{_remedy(value.error)}")
        if value.unanswered:
            _look_for_answers(reward, name, prompts)
        lines.append(f"reward {name}: {_shown(value)} for an empty completion of prompt 1")
    late = any("TimeoutError" in (value.error or "") for value in first)
    own = [not component.by_row for component in reward.components]  # what a built-in one gives is known
    if any(own) and not late:
        size = reward.group_size or len(_MADE_UP)
        texts = [*prompts[0].references, *_MADE_UP]
        group = [texts[i % len(texts)] + " " * (i // len(texts)) for i in range(size)]
        for place, (name, values) in enumerate(zip(reward.names, _values(reward, [prompts[0]] * size, group), strict=True)):
            if all(value.broken for value in values):
                raise RewardLoadError(f"{name}: {values[0].error}{_remedy(str(values[0].error))}")
            if prompts[0].references and not reward.compares:
                lines[place] += f", {_shown(values[0])} for its reference"
    for line, is_own in zip(lines, own, strict=True):
        if is_own:
            say(line)


def _values(reward: LoadedReward, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[list[Value]]:
    return reward.values(prompts, [Completion(text, 0, False) for text in texts])


def _look_for_answers(reward: LoadedReward, name: str, prompts: Sequence[Prompt]) -> None:
    """Raise where no prompt has what the reward compares with; a reward looks for it before it does anything else."""
    place, values = reward.names.index(name), list[Value]()
    for start in range(0, len(prompts), _AT_ONCE):
        rows = prompts[start : start + _AT_ONCE]
        values = _values(reward, rows, [""] * len(rows))[place]
        if not all(value.unanswered for value in values):
            return
    raise RewardLoadError(
        f"{name}: {values[0].error}, and no other prompt has one. Call the column with the right answers 'reference', or write a reward "
        f"that reads it by its own name"
    )


def _remedy(error: str) -> str:
    if "which no prompt column gives" not in error:
        return ""
    return (
        ". Add the column to the prompts, or give the parameter a default; a reward is called as f(prompts, completions, **columns), with "
        "lists, and returns a list"
    )


def _shown(value: Value) -> str:
    if value.error is not None:
        return f"no value ({value.error})"
    return "None" if value.number is None else f"{value.number:g}"

"""What real answers earn: the best that a prompt can be expected to give, where somebody names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flatspot.core.errors import PromptFileError, RewardLoadError
from flatspot.core.protocols import Reward
from flatspot.core.records import Completion, Prompt, answers_of

if TYPE_CHECKING:
    from flatspot.rewards.load import LoadedReward


@dataclass(frozen=True, slots=True)
class AnswerRewards:
    """What the real answers of prompts earn.

    mean        per prompt; None where it has none, or none is scored
    n           answers
    n_unscored  those that have no reward
    reason      the most frequent one for that; "" where all are scored
    """

    mean: tuple[float | None, ...]
    n: int = 0
    n_unscored: int = 0
    reason: str = ""


_COMPARES = "the reward compares the completions of a group, of which an answer is none"
_OWN = "a metric compares with references, of which the answer is one, and the rewards beside it need them all"


def answer_rewards(reward: LoadedReward, prompts: Sequence[Prompt], answer_col: str | None = None) -> AnswerRewards:
    """The mean reward of each prompt's real answers, scored as if the policy had given them.

    answer_col  the column with the answers, a text or a list; None: the references of a built-in metric, where a prompt has several

    A metric compares with references, and an answer that is one of them is compared with the others: against itself it earns the top,
    which no other text does; beside other rewards it is not scored. Where the reward compares the completions of a group, of
    which no answer is one, all are None. Raises `PromptFileError` where no prompt has an answer in `answer_col`.

    >>> from flatspot.rewards import load_reward
    >>> references = {"references": ["the cat sat", "the cat sat", "a cat sat down"]}
    >>> [round(r, 2) for r in answer_rewards(load_reward("rouge_l"), [Prompt("a", "?", references)]).mean if r]
    [0.86]
    >>> answer_rewards(load_reward("exact_match"), [Prompt("a", "2+2=", {"reference": "4"}), Prompt("b", "?")]).mean
    (None, None)
    """
    answers = _answers(reward, prompts, answer_col)
    rows = _rows(reward, prompts, answers)
    n = sum(map(len, answers))
    unscored = Counter({_OWN: n - len(rows)})
    totals: list[list[float]] = [[] for _ in prompts]
    try:
        if compares(reward):
            return no_answer_rewards(reward, prompts, answer_col)
        # an answer is text, so its length in tokens is unknown here; no reward may depend on it
        scores = reward.score([prompt for _, prompt, _ in rows], [Completion(text, 0, False) for _, _, text in rows])
    except RewardLoadError:
        if compares(reward) and reward.group_size is not None:
            return no_answer_rewards(reward, prompts, answer_col)
        raise
    for (i, _, _), score in zip(rows, scores, strict=True):
        if score.reward is not None:
            totals[i].append(score.reward)
        else:
            unscored[score.error or ""] += 1
    [(reason, most)] = unscored.most_common(1)
    means = tuple(sum(earned) / len(earned) if earned else None for earned in totals)
    return AnswerRewards(means, n, unscored.total(), reason if most else "")


def no_answer_rewards(reward: LoadedReward, prompts: Sequence[Prompt], answer_col: str | None) -> AnswerRewards:
    """What real answers earn under a reward that compares the completions of a group: nothing is known of it."""
    n = sum(map(len, _answers(reward, prompts, answer_col)))
    return AnswerRewards((None,) * len(prompts), n, n, _COMPARES if n else "")


def has_answers(reward: LoadedReward, prompts: Sequence[Prompt], answer_col: str | None) -> bool:
    """Whether `answer_rewards` has an answer to score."""
    return any(_answers(reward, prompts, answer_col))


def _answers(reward: LoadedReward, prompts: Sequence[Prompt], answer_col: str | None) -> list[tuple[str, ...]]:
    """The real answers of each prompt."""
    if answer_col is None:
        return [prompt.references if reward.is_metric and len(prompt.references) > 1 else () for prompt in prompts]
    answers = [answers_of(prompt.columns.get(answer_col)) for prompt in prompts]
    if prompts and not any(answers):
        columns = ", ".join(sorted({str(name) for prompt in prompts for name in prompt.columns})) or "none"
        raise PromptFileError(f"no prompt has an answer in the column {answer_col!r} (columns: {columns}): set --answer-col to another")
    return answers


def _rows(reward: LoadedReward, prompts: Sequence[Prompt], answers: Sequence[tuple[str, ...]]) -> list[tuple[int, Prompt, str]]:
    """(place of the prompt, the prompt as it is scored, the answer) of every answer that can be."""
    metric, some_metric = reward.is_metric, any(component.kind == "metric" for component in reward.components)
    if some_metric and not metric:  # other rewards need the very references that a metric must not see: such an answer stays unscored
        answers = [tuple(text for text in texts if text not in prompts[i].references) for i, texts in enumerate(answers)]
    return [(i, _without(prompts[i], text) if metric else prompts[i], text) for i, texts in enumerate(answers) for text in texts]


def _without(prompt: Prompt, answer: str) -> Prompt:
    """The prompt with the references other than this answer, once; one that is left with none cannot be compared, and stays unscored."""
    others = list(prompt.references)
    if answer in others:
        others.remove(answer)
    columns = {name: value for name, value in prompt.columns.items() if name not in ("reference", "references")}
    return replace(prompt, columns={**columns, "references": others})


def compares(reward: Reward) -> bool:
    """Whether a reward was seen to compare the completions of a call."""
    return bool(getattr(reward, "compares", False))

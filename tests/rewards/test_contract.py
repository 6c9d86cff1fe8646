"""Functions written for TRL, verl and OpenRLHF get what those trainers would give them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import load_reward
from flatspot.rewards.scorers import openrlhf_scorer, trl_scorer, verl_scorer
from flatspot.tasks import load_prompts

ROWS = [Prompt("a", "2+2=", {"answer": "4", "level": 1}), Prompt("b", "3+3=", {"answer": "6"})]
ANSWERS = [Completion("4", 1, False, (7,)), Completion("5", 1, False, (8, 9))]


def test_everything_trl_passes_is_there_by_keyword() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
        seen.update(kwargs, prompts=prompts, completions=completions)
        kwargs["log_extra"]("column", ["x", "y"])
        kwargs["log_metric"]("name", 0.5)
        return [kwargs["trainer_state"].global_step / kwargs["trainer_state"].max_steps] * 2

    assert [value.number for value in trl_scorer(reward)(ROWS, ANSWERS)] == [0.0, 0.0]
    assert seen["prompts"] == ["2+2=", "3+3="] and seen["completions"] == ["4", "5"]
    assert seen["completion_ids"] == [[7], [8, 9]]
    assert seen["answer"] == ["4", "6"] and seen["level"] == [1, None]  # a column that a row lacks is None there
    assert seen["id"] == ["a", "b"]


def test_chat_prompts_bring_message_lists() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: Any, completions: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions)
        return [1.0]

    trl_scorer(reward)([Prompt("a", [{"role": "user", "content": "hi"}])], [Completion("yo", 1, False)])
    assert seen["prompts"] == [[{"role": "user", "content": "hi"}]]
    assert seen["completions"] == [[{"role": "assistant", "content": "yo"}]]


def test_a_function_without_kwargs_gets_what_it_names() -> None:
    assert [
        v.number for v in trl_scorer(lambda completions, answer: [c == a for c, a in zip(completions, answer, strict=True)])(ROWS, ANSWERS)
    ] == [1, 0]


def test_a_parameter_no_column_gives_is_named_with_the_columns_there_are() -> None:
    value = trl_scorer(lambda completions, solution: [1.0, 1.0])(ROWS, ANSWERS)[0]
    assert value.number is None
    assert value.error == "needs solution, which no prompt column gives (columns: answer, id, level)"


def test_a_prompt_column_does_not_displace_the_completions() -> None:
    row = Prompt("a", "q", {"completions": "column", "prompts": "column", "trainer_state": "column"})
    assert trl_scorer(lambda completions, prompts, **kw: [completions == ["4"] and prompts == ["q"]])([row], ANSWERS[:1])[0].number == 1.0


def test_an_async_function_is_awaited_once_for_all_rows() -> None:
    async def reward(completions: list[str], **kwargs: Any) -> list[float]:
        return list(await asyncio.gather(*(asyncio.sleep(0, result=float(len(c))) for c in completions)))

    assert [value.number for value in trl_scorer(reward)(ROWS, ANSWERS)] == [1.0, 1.0]

    async def in_a_notebook() -> list[Any]:  # where a loop runs already
        return [value.number for value in trl_scorer(reward)(ROWS, ANSWERS)]

    with ThreadPoolExecutor(1) as thread:  # the browser's tests leave a loop running in this one
        assert thread.submit(lambda: asyncio.run(in_a_notebook())).result() == [1.0, 1.0]


@pytest.mark.parametrize("raw", [0.5, {"score": 0.5, "acc": 1}, True])
def test_verl_scores_one_row_at_a_time(raw: Any) -> None:
    seen: list[Any] = []

    def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> Any:
        seen.append((data_source, solution_str, ground_truth, extra_info))
        return raw

    rows = [
        Prompt("a", "q", {"data_source": "gsm8k", "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"k": 1}}),
        Prompt("b", "q", {"reference": "6"}),
    ]
    assert [value.number for value in verl_scorer(compute_score)(rows, ANSWERS)] == [0.5 if raw is not True else 1.0] * 2
    assert seen == [("gsm8k", "4", "4", {"k": 1}), (None, "5", "6", None)]


def test_verl_dict_without_score_is_an_error() -> None:
    assert (
        verl_scorer(lambda solution_str, **kw: {"acc": 1})(ROWS[:1], ANSWERS[:1])[0].error == "returned a dict without 'score' (keys: acc)"
    )


def test_openrlhf_queries_are_prompt_and_response() -> None:
    seen: dict[str, Any] = {}

    def reward_func(queries: list[str], prompts: list[str], labels: list[str], **kwargs: Any) -> Any:
        seen.update(queries=queries, prompts=prompts, labels=labels)
        return {"rewards": [1.0, 0.0], "scores": [1.0, 0.0], "extra_logs": {}}

    rows = [Prompt("a", "2+2=", {"label": "4"}), Prompt("b", [{"role": "user", "content": "3+3="}], {"reference": "6"})]
    assert [value.number for value in openrlhf_scorer(reward_func)(rows, ANSWERS)] == [1.0, 0.0]
    assert seen == {"queries": ["2+2=4", "3+3=\n5"], "prompts": ["2+2=", "3+3=\n"], "labels": ["4", "6"]}


def test_adapters_load_by_prefix_and_are_never_guessed(tmp_path: Path) -> None:
    file = tmp_path / "rewards.py"
    file.write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n    return {'score': solution_str == ground_truth}\n"
        "def reward_func(queries, prompts, labels):\n    return {'rewards': [q == p + l for q, p, l in zip(queries, prompts, labels)]}\n"
    )
    row = [Prompt("a", "2+2=", {"reference": "4"})]
    for spec in (f"verl:{file}:compute_score", f"openrlhf:{file}:reward_func"):
        with load_reward(spec) as reward:
            assert reward.score(row, ANSWERS[:1])[0].reward == 1.0
    with pytest.raises(RewardLoadError, match="write verl: before its address"):
        load_reward(f"{file}:compute_score")


def test_a_column_that_any_prompt_has_is_there_for_every_row(tmp_path: Path) -> None:
    """Whether a row's column is None or absent does not hang on what else is in its batch."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "2 + 2 =", "reference": "4"}\n{"prompt": "17 * 23 ="}\n')
    rows = load_prompts(file)
    assert [dict(row.columns) for row in rows] == [{"reference": "4"}, {"reference": None}]

    def right(completions: list[str], reference: list[str | None], **columns: Any) -> list[float]:
        return [float(r is not None and c == r) for c, r in zip(completions, reference, strict=True)]

    def strict(completions: list[str], reference: list[str], **columns: Any) -> list[float]:
        return [float(c == r.strip()) for c, r in zip(completions, reference, strict=True)]

    four = Completion("4", 1, False)
    for batch in ([0, 1], [1], [1, 1, 0], [1, 1]):
        given = [rows[i] for i in batch], [four] * len(batch)
        with load_reward(right, isolate=False) as reward:
            assert [score.reward for score in reward.score(*given)] == [1.0 - i for i in batch]
        with load_reward(strict, isolate=False) as reward:
            errors = [score.error for score in reward.score(*given)]
        assert [error is None for error in errors] == [i == 0 for i in batch]
        assert {error for error in errors if error} == {"strict: AttributeError: 'NoneType' object has no attribute 'strip'"}
    assert trl_scorer(right)(load_prompts([ROWS[1], Prompt("c", "q", {"reference": "4"})])[:1], [four])[0].number == 0.0

"""What is said before anything is drawn: rewards that cannot work, and what the first row earns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flatspot.core.answers import answers_in
from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import check_reward, load_reward
from flatspot.rewards.scorers import ground_truth, label, openrlhf_scorer, verl_scorer
from flatspot.rewards.values import as_values

PROMPTS = [Prompt("a", "2+2=", {"reference": "4", "answer": None}), Prompt("b", "3+3=", {"reference": None, "answer": "6"})]


class Judge:
    def __call__(self, completions: list[str], **_: Any) -> list[float]:
        return [1.0] * len(completions)


def make_reward(threshold: float = 0.5, **_: Any) -> Any:
    def reward(completions: list[str]) -> list[float]:
        return [threshold] * len(completions)

    return reward


async def judged(text: str) -> float:
    return float(len(text))


def lazy_import(completions: list[str], **_: Any) -> list[float]:
    import a_package_that_nobody_has  # type: ignore[import-not-found]

    return [a_package_that_nobody_has.score(text) for text in completions]


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (Judge, "'Judge' is a class; give an instance or a function"),
        (make_reward, r"returned a function \(make_reward.<locals>.reward\): give that as the reward"),
        (lazy_import, "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        (lambda completions, solution: [1.0], "needs solution, which no prompt column gives.*Add the column"),
        (lambda completions, **_: None, "returned nothing where a list of 1 numbers was expected"),
        (lambda completions, **_: 1.0, "returned 1.0 .a float. where a list"),
        (lambda completions, **_: {0.0}, "returned {0.0} .a set. where a list"),
        (lambda completions, **_: {"score": 1.0}, "returned {'score': 1.0} .a dict. where a list"),
        (lambda completions, **_: ([1.0], {"why": "tuple"}), "returned 2 values for 1 completions"),
        (lambda completions, **_: [judged(text) for text in completions], "returned a coroutine.*await it"),
        (lambda prompts, completions, /: [1.0] * len(completions), "by place alone"),
        (lambda data_sources, solution_strs, ground_truths, extra_infos: [1.0], "as verl calls it.*write verl: before its address"),
        (lambda queries, prompts, labels: [1.0], "as openrlhf calls it.*write openrlhf: before its address"),
        (lambda completions, **_: [1.0 for text in completions if text], "returned 0 values for 1 completions"),
    ],
)
def test_what_no_completion_would_mend_is_refused(reward: Any, says: str) -> None:
    with pytest.raises(RewardLoadError, match=says):
        check_reward(load_reward(reward, isolate=False), PROMPTS)


def test_a_class_in_a_file_is_refused_by_the_worker_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Judge:\n    def __call__(self, completions, **_):\n        return [1.0] * len(completions)\njudge = Judge()\n")
    with pytest.raises(RewardLoadError, match="is a class; give an instance"):
        load_reward(f"{file}:Judge")
    with load_reward(f"{file}:judge") as reward:
        assert reward.score(PROMPTS[:1], [Completion("", 0, False)])[0].reward == 1.0


def test_an_adapter_that_does_not_fit_is_named() -> None:
    for spec, says in (("verl", "leave out verl:"), ("openrlhf", "leave out openrlhf:")):
        from flatspot.rewards.scorers import scorer_for

        with pytest.raises(RewardLoadError, match=says):
            scorer_for(lambda prompts, completions, **_: [1.0], spec, "mine")  # type: ignore[arg-type]
    value = verl_scorer(lambda model_output, ground_truth: 1.0)(PROMPTS[:1], [Completion("4", 1, False)])[0]
    assert value.broken and "cannot be called as verl calls it: missing a required argument: 'model_output'" in str(value.error)


def test_what_the_first_row_earns_is_said() -> None:
    said: list[str] = []

    def correct(completions: list[str], reference: list[str], **_: Any) -> list[float]:
        return [float(text == right) for text, right in zip(completions, reference, strict=True)]

    def fails_on_nothing(completions: list[str], **_: Any) -> list[float]:
        return [1 / len(text) for text in completions]

    rewards = [correct, fails_on_nothing, "exact_match", lambda completions: [None] * len(completions)]
    check_reward(load_reward(rewards, isolate=False), PROMPTS, said.append)
    failed = "no value (ZeroDivisionError: division by zero) for an empty completion of prompt 1"
    assert said == [
        "reward correct: 0 for an empty completion of prompt 1, 1 for its reference",
        f"reward fails_on_nothing: {failed}, 1 for its reference",
        "reward lambda: None for an empty completion of prompt 1, None for its reference",
    ]


def test_prompts_without_any_answer_are_refused_and_some_without_are_rows_with_an_error() -> None:
    def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
        return float(solution_str == ground_truth)

    def reward_func(queries: list[str], prompts: list[str], labels: list[str]) -> list[float]:
        return [float(query == prompt + label) for query, prompt, label in zip(queries, prompts, labels, strict=True)]

    four = [Completion("4", 1, False)] * 2
    for scorer, lacks in ((verl_scorer(compute_score), "no ground truth"), (openrlhf_scorer(reward_func), "no label")):
        values = scorer(PROMPTS, four)
        assert values[0].number == 1.0 and values[1].number is None and lacks in str(values[1].error)
    none = [Prompt(str(i), "q", {"answer": "4"}) for i in range(100)]
    with pytest.raises(RewardLoadError, match=r"no other prompt has one\. Call the column with the right answers 'reference'"):
        check_reward(load_reward("exact_match"), none)
    check_reward(load_reward("exact_match"), [*none, PROMPTS[0]])  # the last one has


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan"), [], [""]])
def test_a_blank_answer_is_none(nothing: Any) -> None:
    own, verl = {"ground_truth": nothing, "label": nothing}, {"reward_model": {"ground_truth": nothing}}
    for columns in (own, verl):
        assert ground_truth(Prompt("a", "q", columns)) is None and label(Prompt("a", "q", columns)) is None
        assert (
            ground_truth(Prompt("a", "q", {**columns, "reference": "4"})) == label(Prompt("a", "q", {**columns, "reference": "4"})) == "4"
        )
    assert ground_truth(Prompt("a", "q", {"ground_truth": nothing, "reward_model": {"ground_truth": "5"}})) == "5"
    assert answers_in({"solution": nothing, "answer": 0}) == {"answer": 0}


def test_a_reward_that_speaks_as_ours_do_is_not_taken_for_one_without_answers() -> None:
    def strict(completions: list[str], **_: Any) -> list[float]:
        if "" in completions:
            raise ValueError("this prompt has no completion")
        return [1.0] * len(completions)

    said: list[str] = []
    check_reward(load_reward(strict, isolate=False), PROMPTS, said.append)
    assert "no value (ValueError: this prompt has no completion)" in said[0]


def test_verls_batch_convention() -> None:
    seen: list[Any] = []

    def compute_score(data_sources: list[str], solution_strs: list[str], ground_truths: list[str], extra_infos: list[Any]) -> list[Any]:
        seen.append((data_sources, solution_strs, ground_truths, extra_infos))
        return [{"score": float(text == truth)} for text, truth in zip(solution_strs, ground_truths, strict=True)]

    rows = [Prompt("a", "q", {"ground_truth": "4", "data_source": "x"}), Prompt("b", "q", {"reference": "6"})]
    values = verl_scorer(compute_score)(rows, [Completion("4", 1, False), Completion("5", 1, False)])
    assert [value.number for value in values] == [1.0, 0.0]
    assert seen == [(["x", None], ["4", "5"], ["4", "6"], [None, None])]


def test_a_column_of_numbers_counts_and_a_generator_does() -> None:
    assert [value.number for value in as_values(np.array([[0.5], [1.0]]), 2)] == [0.5, 1.0]
    assert [value.number for value in as_values((x for x in (0.5, 1.0)), 2)] == [0.5, 1.0]
    assert all(value.broken for value in as_values({0.5, 1.0}, 2))


def test_the_command_line_says_it_on_standard_error_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "2 + 2 =", "reference": "4"}\n')
    (tmp_path / "r.py").write_text("def make(k=1, **columns):\n    return lambda completions: [k] * len(completions)\n")
    command = [sys.executable, "-m", "flatspot.cli", "diagnose", "p.jsonl", "--model", "no/such-model", "--reward", "r.py:make"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "returned a function" in done.stderr and "such-model" not in done.stderr and done.stdout == ""

"""reasoning-gym as a source of prompts."""

from __future__ import annotations

import json

import pytest

from flatspot.core.errors import PromptFileError
from flatspot.tasks import load_prompts
from flatspot.tasks.demo import DEMO_TASKS, demo_prompts
from flatspot.tasks.gym import INSTRUCTION, GymTask, gym_prompts, parse_gym


def test_the_spec_keeps_commas_and_plus_signs_inside_values() -> None:
    spec = 'reasoning-gym:basic_arithmetic[operators=["+","-"],size=2]+reasoning-gym:gcd[seed=3,chat=false]+lcm[x=plain text]'
    assert parse_gym(spec) == [
        GymTask("basic_arithmetic", size=2, config={"operators": ["+", "-"]}),
        GymTask("gcd", seed=3, chat=False),
        GymTask("lcm", config={"x": "plain text"}),
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("reasoning-gym:basic_arithmetics", "no task 'basic_arithmetics'; did you mean basic_arithmetic"),
        ("reasoning-gym:gcd[max_valu=3]", "gcd has no setting 'max_valu'; its settings are max_numbers, max_value"),
        ("reasoning-gym:gcd[min_value=9,max_value=3]", "refuses these settings (min_value=9, max_value=3)"),
        ("reasoning-gym:gcd[size=0]", "size must be a whole number, 1 or more"),
        ("reasoning-gym:gcd[size=1000000,shots=1]", "at most 1,000,000 together, got 1,000,000 and 1"),
        ("reasoning-gym:gcd[size=true]", "size must be a whole number"),
        ("reasoning-gym:gcd[chat=1]", "chat must be true or false"),
        ("reasoning-gym:gcd[size]", "expected key=value"),
        ("reasoning-gym:gcd[size=2,size=3]", "'size' is given twice"),
        ("reasoning-gym:gcd[size=2", "expected reasoning-gym:TASK"),
        ("reasoning-gym:", "expected reasoning-gym:TASK"),
        ("reasoning-gym:propositional_logic[shots=2,size=1]", "gives no answers to show"),
    ],
)
def test_wrong_specs_say_what_there_is(spec: str, expected: str) -> None:
    with pytest.raises(PromptFileError) as raised:
        gym_prompts(spec)
    assert expected in str(raised.value)


def test_prompts_are_stable_and_plain() -> None:
    spec = "reasoning-gym:time_intervals[size=3,seed=2]+arc_1d[size=2]"  # time_intervals holds dates
    first, second = load_prompts(spec), load_prompts(spec)
    assert first == second and len(first) == 5 == len({p.id for p in first})
    assert first[0].id.startswith("time_intervals-2-0000-")
    for prompt in first:
        assert json.loads(json.dumps(prompt.columns)) == prompt.columns
        assert prompt.references == (prompt.columns["entry"]["answer"],)


def test_shots_are_other_questions_with_their_answers() -> None:
    plain, shown = gym_prompts("reasoning-gym:gcd[size=3]"), gym_prompts("reasoning-gym:gcd[size=3,shots=2]")
    assert [p.text[-1] for p in plain] == [p.text[-1] for p in shown]
    assert [m["role"] for m in shown[0].text] == ["user", "assistant"] * 2 + ["user"]  # type: ignore[index]
    five = gym_prompts("reasoning-gym:gcd[size=5]")
    assert shown[0].text[:4] == [m for p in five[3:] for m in (p.text[0], {"role": "assistant", "content": p.references[0]})]


def test_text_prompts_end_where_the_answer_begins() -> None:
    text = gym_prompts("reasoning-gym:gcd[size=1,chat=false,shots=1]")[0].text
    assert isinstance(text, str) and text.endswith(f"{INSTRUCTION}\nAnswer:") and text.count("Answer:") == 2


def test_equal_tasks_twice_still_have_different_ids() -> None:
    assert len({p.id for p in gym_prompts("reasoning-gym:gcd[size=2]+gcd[size=2]")}) == 4


def test_the_demo_is_what_was_measured() -> None:
    prompts = demo_prompts()
    assert len(prompts) == 59 == len({p.id for p in prompts})
    assert len({spec.partition("[")[0] for spec in DEMO_TASKS}) >= 5
    assert all(len(p.references) == 1 for p in prompts)

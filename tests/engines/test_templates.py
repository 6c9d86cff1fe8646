"""Chat templates that reject messages, fail, drop text or loop: an error that names the prompt, never a traceback or a hang."""

from __future__ import annotations

import time

import pytest
from tiny_policies import tiny_model, tiny_policy, word_tokenizer

from flatspot.core.errors import EngineError
from flatspot.engines import load_policy, templates
from flatspot.engines.prompts import encode

USER, ANSWER, SYSTEM = ({"role": role, "content": text} for role, text in (("user", "w9"), ("assistant", "w10"), ("system", "w8")))
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{{ m['content'] }} {% endfor %}"
)


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def ids(model, template, *messages):
    return encode(load_policy((model, word_tokenizer(template))), list(messages))


def test_messages_are_encoded_by_the_template(model):
    policy = tiny_policy("llama")
    assert encode(policy, [SYSTEM, USER]) == policy.tokenizer("w8 w9 w9")["input_ids"]  # the template opens the turn with w9
    assert ids(model, GEMMA, USER, ANSWER, USER) == [9, 10, 9]


def test_a_template_without_a_system_role_is_an_error_with_the_fix(model):
    with pytest.raises(EngineError, match=r"'w8 \| w9' has a system message.*rejects it: System role not supported.*first user message"):
        ids(model, GEMMA, SYSTEM, USER)


def test_a_template_that_drops_the_system_text_is_refused(model):
    """Without it the policy would answer another prompt."""
    dropping = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }} {% endif %}{% endfor %}"
    with pytest.raises(EngineError, match=r"omits its text.*first user message"):
        ids(model, dropping, SYSTEM, USER)
    assert ids(model, "{% for m in messages %}{{ m['content'] | trim }} {% endfor %}", {"role": "system", "content": " w8\nw7 "}, USER) == [
        8,
        7,
        9,
    ]


def test_strict_alternation_names_the_roles(model):
    with pytest.raises(EngineError, match=r"fails on the prompt 'w9 \| w9', whose roles are user, user: Conversation roles must alternate"):
        ids(model, GEMMA, USER, USER)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for", "TemplateSyntaxError"),
        ("{{ nothing.here }}", "UndefinedError: 'nothing' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0]['content'] + 1 }}", "TypeError"),
        ("{% for i in range(1000000) %}{% endfor %}", "Range too big"),
        ("{{ messages[7]['content'] }}", "has no element 7"),
    ],
)
def test_a_template_that_fails_is_an_engine_error(model, template, reason):
    with pytest.raises(EngineError, match=f"(?s)chat template of .*{reason}.*chat_template.jinja"):
        ids(model, template, USER)


def test_a_template_that_loops_ends(model, monkeypatch):
    monkeypatch.setattr(templates, "LIMIT_S", 0.3)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"did not end within 0.3 s on the prompt 'w9': it loops"):
        ids(model, loop, USER)
    assert time.monotonic() - start < 30


def test_work_that_took_too_long_is_stopped():
    going: list[int] = []

    def never():
        while True:
            going.append(1)

    with pytest.raises(TimeoutError):
        templates.within(0.05, never)
    for _ in range(200):  # the thread ends soon after
        before = len(going)
        time.sleep(0.02)
        if len(going) == before:
            return
    pytest.fail("the thread still runs")

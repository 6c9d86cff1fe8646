"""Plain text for a policy with a chat template is a caveat of the run; chat messages, and policies without a template, have none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import flatspot
from flatspot.engines.scripted import ScriptedEngine

TEXT = [{"prompt": "2+2=", "reference": "4"}]
CHAT = [{"prompt": [{"role": "user", "content": "2+2="}], "reference": "4"}]


@pytest.mark.parametrize(
    ("prompts", "template", "said"), [(TEXT, "{{ messages }}", True), (TEXT, None, False), (CHAT, "{{ messages }}", False)]
)
def test_plain_text_for_a_policy_with_a_chat_template_is_a_caveat(tmp_path, prompts, template, said):
    engine = ScriptedEngine({"2+2=": {"4": 0.5, "5": 0.5}})
    engine.policy = SimpleNamespace(tokenizer=SimpleNamespace(chat_template=template))
    run = flatspot.diagnose(prompts, engine, "exact_match", out=tmp_path / "run", max_completions=4, fixed_completions=True)
    assert any("has a chat template, which they did not go through" in caveat for caveat in run.summary.caveats) is said


def test_text_among_chat_messages_is_counted(tmp_path):
    engine = ScriptedEngine({text: {"4": 0.5, "5": 0.5} for text in ("2+2=", "1+3=", "3+1=")})
    engine.policy = SimpleNamespace(tokenizer=SimpleNamespace(chat_template="{{ messages }}"))
    rows = [*CHAT, {"prompt": "1+3=", "reference": "4"}, {"prompt": "3+1=", "reference": "4"}]
    run = flatspot.diagnose(rows, engine, "exact_match", out=tmp_path / "run", max_completions=4, fixed_completions=True)
    assert any(caveat.startswith("2 of 3 prompts are plain text") for caveat in run.summary.caveats)

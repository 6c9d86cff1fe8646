"""Values for a chat template, `--chat-template-kwargs`: engines that apply one pass them on, others refuse; they are part of the run."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
from tiny_policies import tiny_model, word_tokenizer

import flatspot
from flatspot.cli.main import cli
from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.settings import Settings
from flatspot.engines.prompts import encode
from flatspot.engines.registry import load_engine
from flatspot.engines.scripted import ScriptedEngine
from flatspot.report.run.next_steps import diagnose_command, train_command

# as Qwen3's: an empty thought, where thinking is switched off
THINKS = (
    "{% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w9 "
    "{% if enable_thinking is defined and not enable_thinking %}w50 w51 {% endif %}{% endif %}"
)
VALUES = {"enable_thinking": False}
CHAT = [{"role": "user", "content": "w7"}]


@pytest.fixture(scope="module")
def pair():
    return tiny_model("llama"), word_tokenizer(THINKS)


def test_the_template_gets_the_values_and_the_run_is_another(pair):
    plain, without = load_engine("hf", pair), load_engine("hf", pair, template_kwargs=VALUES)
    assert encode(plain.policy, CHAT) == [7, 9] and encode(without.policy, CHAT) == [7, 9, 50, 51]
    assert without.describe()["chat_template_kwargs"] == VALUES and "chat_template_kwargs" not in plain.describe()
    drawn = [engine.sample([PromptRequest(CHAT, tuple(range(8)))], Sampling(max_new_tokens=4)) for engine in (plain, without)]
    by_hand = plain.sample([PromptRequest("w7 w9 w50 w51", tuple(range(8)))], Sampling(max_new_tokens=4))
    assert drawn[1] == by_hand and drawn[0] != drawn[1]


def test_a_run_keeps_its_values_and_another_start_with_others_is_refused(pair, tmp_path):
    def diagnose(out, **settings):
        rows = [{"prompt": [{"role": "user", "content": f"w{i}"}]} for i in range(10, 14)]
        options = {"engine": "hf", "max_completions": 4, "fixed_completions": True, "max_new_tokens": 3}
        return flatspot.diagnose(rows, pair, "regex[pattern=w5]", out=out, **options, **settings)

    run, plain = diagnose(tmp_path / "run", chat_template_kwargs=VALUES), diagnose(tmp_path / "plain")
    stored = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert stored["identity"]["engine"]["chat_template_kwargs"] == VALUES == run.record.chat_template_kwargs
    resume = stored["request"]["resume"]
    assert json.loads(resume[resume.index("--chat-template-kwargs") + 1]) == VALUES
    assert diagnose(run.folder, chat_template_kwargs=VALUES).verdicts.equals(run.verdicts)
    for other in ({}, {"chat_template_kwargs": {"enable_thinking": True}}):
        with pytest.raises(RunFolderError, match="chat_template_kwargs"):
            diagnose(run.folder, **other)
    assert "--chat-template-kwargs '{\"enable_thinking\": false}'" in diagnose_command(run.summary)
    assert train_command(run.summary, "m", "out").endswith("--chat_template_kwargs '{\"enable_thinking\": false}'")
    assert "template" not in diagnose_command(plain.summary) + train_command(plain.summary, "m", "out")
    from flatspot.training.warmup.probe import ProbeSettings, probed_prompts

    assert probed_prompts(run, ProbeSettings()).template_kwargs == VALUES
    assert probed_prompts(plain, ProbeSettings(), template_kwargs={}).template_kwargs == {}
    with pytest.raises(
        SettingsError, match=r"was drawn with --chat-template-kwargs '\{\"enable_thinking\": false\}', .*leave the option out"
    ):
        probed_prompts(run, ProbeSettings(), template_kwargs={"enable_thinking": True})
    with pytest.raises(SettingsError, match="was drawn without --chat-template-kwargs"):
        probed_prompts(plain, ProbeSettings(), template_kwargs=VALUES)


@pytest.mark.parametrize("name", ["scripted", "another"])
def test_an_engine_that_applies_no_template_refuses_them(name, tmp_path, monkeypatch):
    (tmp_path / "answers.json").write_text('{"w7": {"a": 1.0}}', "utf-8")
    with pytest.raises(EngineError, match=f"the engine '{name}' applies none that flatspot could give values"):
        load_engine(name, str(tmp_path / "answers.json"), template_kwargs=VALUES)
    with pytest.raises(EngineError, match="the engine 'scripted' applies none"):
        load_engine("auto", ScriptedEngine({"w7": {"a": 1.0}}), template_kwargs=VALUES)


def test_prompts_in_plain_text_go_through_no_template(pair, tmp_path):
    with pytest.raises(SettingsError, match="is for chat messages, and the prompts are plain text"):
        flatspot.diagnose(["w7"], pair, "regex[pattern=w5]", out=tmp_path / "run", chat_template_kwargs=VALUES)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["enable_thinking"], "expects a JSON object"),
        ({"a b": 1}, "expects a JSON object"),
        ({1: 2}, "expects a JSON object"),
        ({"x": {1, 2}}, "not JSON serializable"),
        ({"x": float("nan")}, "Out of range float"),
        ({"tokenize": False}, "and tokenize is none of these"),
        ({"messages": [], "add_generation_prompt": False}, "and add_generation_prompt, messages is none"),
    ],
)
def test_what_is_no_object_of_values_is_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        Settings(chat_template_kwargs=values)


def test_an_empty_object_is_none_and_values_are_plain_json():
    assert Settings(chat_template_kwargs={}) == Settings() and Settings(chat_template_kwargs={"a": (1, 2)}).chat_template_kwargs == {
        "a": [1, 2]
    }


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "is no JSON object"), ('{"tokenize": 1}', "is none of these")])
def test_the_option_is_read_as_json(text, message):
    done = CliRunner().invoke(cli, ["diagnose", "x.jsonl", "--model", "m", "--reward", "regex[pattern=w5]", "--chat-template-kwargs", text])
    told = done.output if isinstance(done.exception, SystemExit) else str(done.exception)
    assert isinstance(done.exception, SystemExit | SettingsError) and message in " ".join(told.split())


def test_where_a_template_fails_on_its_values_they_are_named():
    pair = tiny_model("llama"), word_tokenizer("{{ messages[0]['content'] }} {{ 1 // zero }}")
    engine = load_engine("hf", pair, template_kwargs={"zero": 0})
    with pytest.raises(EngineError, match=r"ZeroDivisionError.*Give other --chat-template-kwargs, write the messages"):
        encode(engine.policy, CHAT)

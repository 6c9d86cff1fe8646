"""Servers of a policy whose folder is at hand: token ids, its chat template, and a check against transformers."""

from __future__ import annotations

import json
import math
import random
import shutil
from functools import cache

import pytest

pytest.importorskip("torch")
from safetensors.torch import load_file, save_file
from stub_server import Stub, Ways

from flatspot.core.errors import EngineError
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.policy import load_policy
from flatspot.engines.registry import load_engine
from flatspot.engines.server import check
from flatspot.engines.server.fleet import ServerOptions
from flatspot.engines.verify import forward_log_probs
from flatspot.tasks.letters import letters_model


@pytest.fixture(scope="module")
def policy():
    return load_policy(letters_model(), device="cpu")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(check, "DRAWS", 64)


class LettersStub(Stub):
    """Draws the letters model's own tokens: by its forward pass, as a real server does."""

    policy = None
    gives_ids = True

    def complete(self, body):
        ids = body["prompt"] if isinstance(body["prompt"], list) else self.policy.tokenizer(body["prompt"])["input_ids"]
        rng, drawn = random.Random(body["seed"]), []
        while len(drawn) < body["max_tokens"] and (not drawn or drawn[-1] not in self.policy.eos_ids):
            law = self.law((*ids, *drawn))
            drawn.append(max(range(len(law)), key=law.__getitem__) if self.ways.greedy else rng.choices(range(len(law)), law)[0])
        ended = drawn[-1] in self.policy.eos_ids
        choice = {"text": self.policy.tokenizer.decode(drawn, skip_special_tokens=True), "finish_reason": "stop" if ended else "length"}
        choice |= {"token_ids": drawn} if self.gives_ids else {}
        if body.get("logprobs") and self.ways.logprobs:
            law = self.law(tuple(ids))
            likely = sorted(range(len(law)), key=law.__getitem__, reverse=True)[: body["logprobs"]]
            choice["logprobs"] = {"tokens": [f"token_id:{drawn[0]}"], "top_logprobs": [{f"token_id:{i}": math.log(law[i]) for i in likely}]}
        return {"choices": [choice], "usage": {"completion_tokens": len(drawn)}}

    @cache  # noqa: B019
    def law(self, ids):
        return forward_log_probs(self.policy, list(ids), [0])[0].exp().tolist()

    __hash__ = object.__hash__


def stub_of(policy, gives_ids=True, **ways):
    stub = LettersStub(ways=Ways(models=("served",), **ways))
    stub.policy, stub.gives_ids = policy, gives_ids
    return stub


def engine(stub, folder=None, **options):
    return load_engine("openai", folder or letters_model(), servers=ServerOptions((stub.url,), concurrency=4, **options), device="cpu")


REQUEST = [PromptRequest("copy:abc=", tuple(range(6)))]


@pytest.mark.parametrize("gives_ids", [True, False])
@pytest.mark.parametrize("takes_ids", [True, False])
def test_rows_are_those_of_the_policy_by_ids_or_text(policy, gives_ids, takes_ids):
    with stub_of(policy, gives_ids, takes_ids=takes_ids) as stub:
        loaded = engine(stub)
        [rows] = loaded.sample(REQUEST, Sampling(max_new_tokens=13))
        sent = {type(body["prompt"]) for body in stub.rows()}
    assert sent == {list if takes_ids else str} and {body["model"] for body in stub.rows()} == {"served"}
    assert all(body["stop_token_ids"] == list(policy.eos_ids) for body in stub.rows())
    assert [row.n_tokens for row in rows] == [len(row.text) for row in rows], "a token is a letter, and the end is none"
    assert all(row.token_ids == (tuple(policy.tokenizer(row.text)["input_ids"]) if gives_ids else ()) for row in rows)
    assert any("token ids" in note for note in loaded.notes) is not takes_ids
    assert loaded.describe()["fingerprint"] == policy.fingerprint and loaded.describe()["check"] == {"passed": True, "weights": True}


def test_without_log_probabilities_the_draws_are_compared_with_transformers(policy):
    with stub_of(policy, logprobs=False) as stub:
        assert engine(stub).fleet.checks.popitem()[1].against == "transformers"
        stub.ways.greedy = True
        with pytest.raises(EngineError, match=r"greedily, or takes one seed for all .* against transformers"):
            engine(stub)


@pytest.mark.parametrize("logprobs", [True, False])
def test_other_weights_than_those_of_the_folder_are_refused(policy, tmp_path, logprobs):
    other = shutil.copytree(letters_model(), tmp_path / "letters")
    tensors = load_file(other / "model.safetensors")
    save_file({name: tensor * (1.6 if "layers.3.mlp" in name else 1) for name, tensor in tensors.items()}, other / "model.safetensors")
    with stub_of(policy, logprobs=logprobs) as stub:
        with pytest.raises(EngineError, match="does not serve the model of --model" if logprobs else "against transformers"):
            engine(stub, other)
        assert not stub.rows()


def test_several_listed_models_need_a_name(policy):
    with stub_of(policy) as stub:
        stub.ways.models = ("one", "served")
        with pytest.raises(EngineError, match="give --served-name one of these"):
            engine(stub)
        assert engine(stub, served_name="served").sample(REQUEST, Sampling(max_new_tokens=4))


def test_chat_prompts_need_a_chat_template(policy):
    """The letters model has none."""
    with stub_of(policy) as stub:
        options = ServerOptions((stub.url,), concurrency=4)
        way = r"has no chat template\. Use prompts in plain text, or set .*; or give the servers' name of the model as --model"
        with pytest.raises(EngineError, match=way):
            load_engine("openai", letters_model(), servers=options, device="cpu", chat=True)
        with pytest.raises(EngineError, match=way):
            engine(stub).sample([PromptRequest([{"role": "user", "content": "a"}], (1,))], Sampling())


def test_without_log_probabilities_a_server_is_checked_again_before_each_call(policy):
    with stub_of(policy, logprobs=False) as stub:
        loaded = engine(stub)
        assert loaded.sample(REQUEST, Sampling(max_new_tokens=13))[0][0].error is None
        n = len(stub.rows())
        stub.ways.greedy = True
        with pytest.raises(EngineError, match=r"no server is left: .* greedily, or takes one seed for all"):
            loaded.sample(REQUEST, Sampling(max_new_tokens=13))
        assert len(stub.rows()) == n


def test_a_token_beyond_the_vocabulary_is_an_error_of_its_row(policy):
    with stub_of(policy) as stub:
        loaded = engine(stub)
        complete = stub.complete

        def beyond(body):
            reply = complete(body)
            if body["max_tokens"] > 1:
                reply["choices"][0]["token_ids"][0] = policy.vocabulary
            return reply

        stub.complete = beyond
        [rows] = loaded.sample(REQUEST, Sampling(max_new_tokens=13))
    assert all("the vocabulary of" in row.error and row.text == "" for row in rows)


def test_a_prompt_beyond_the_context_is_not_sent(policy):
    with stub_of(policy) as stub:
        loaded = engine(stub)
        [[long], [short]] = loaded.sample(
            [PromptRequest("a" * policy.context, (1,)), PromptRequest("copy:a=", (2,))], Sampling(max_new_tokens=8)
        )
        assert len(stub.rows()) == 1
    assert "does not fit" in long.error and short.error is None
    assert json.dumps(loaded.notes).count("its rows have this error") == 1

"""The engine on servers, against a stub with exact laws that misbehaves in every way that servers do."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace

import pytest
from stub_server import Stub, Ways, law_of

from flatspot.core.errors import EngineError, SettingsError
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.seeds import fold_seed
from flatspot.engines.registry import load_engine
from flatspot.engines.server import check
from flatspot.engines.server.connection import checked_url
from flatspot.engines.server.engine import ServerEngine
from flatspot.engines.server.fleet import ServerOptions
from flatspot.engines.server.server import Server

ANSWERS = {"2+2=": {"4": 0.5, "5": 0.3, "6 or 7": 0.2}, "say": {"one two three four": 1.0}}
PLAIN = Sampling()
REQUESTS = [PromptRequest("2+2=", tuple(range(40))), PromptRequest("say", (7,))]


def engine(*stubs, sampling=PLAIN, chat=False, concurrency=16, give_up_s=600.0):
    options = ServerOptions(tuple(stub.url for stub in stubs), concurrency=concurrency)
    return ServerEngine("letters", options, sampling, chat=chat, give_up_s=give_up_s)


@pytest.fixture(autouse=True)
def few_draws(request, monkeypatch):
    """Tests of what is not the law draw fewer first tokens for it."""
    if "whole_check" not in request.keywords:
        monkeypatch.setattr(check, "DRAWS", 32)


def texts(completions):
    return [[completion.text for completion in several] for several in completions]


def test_a_row_is_a_request_in_which_everything_is_said():
    with Stub(ANSWERS) as stub:
        drawn = engine(stub).sample(REQUESTS, Sampling(max_new_tokens=8))
        rows = stub.rows()
    assert len(rows) == 41 and all("n" not in body for body in stub.requests)
    said = {
        "model": "letters", "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "repetition_penalty": 1.0, "repeat_penalty": 1.0, "max_tokens": 8, "stream": False,
    }  # fmt: skip
    assert all(said.items() <= body.items() for body in rows)
    seeds = [body["seed"] for body in rows if body["prompt"] == "2+2="]
    assert sorted(seeds) == sorted(fold_seed(seed, 31) for seed in range(40)) and max(seeds) < 2**31
    assert {one.text for one in drawn[0]} == {"4", "5", "6 or 7"}
    [whole] = drawn[1]
    assert (whole.text, whole.n_tokens, whole.truncated, whole.error) == ("one two three four", 4, False, None)


def test_rows_depend_neither_on_servers_nor_on_batches():
    with Stub(ANSWERS) as one, Stub(ANSWERS) as other, Stub(ANSWERS) as third:
        alone = engine(one).sample(REQUESTS, Sampling())
        together = engine(one, other, third, concurrency=3).sample(REQUESTS, Sampling())
        by_row = [engine(one).sample([PromptRequest("2+2=", (seed,))], Sampling())[0][0] for seed in range(3)]
        assert other.rows() and third.rows()
    assert alone == together and alone[0][:3] == by_row


def test_chat_prompts_go_to_the_chat_path_and_are_cut_at_the_limit():
    with Stub(ANSWERS) as stub:
        chat = PromptRequest([{"role": "user", "content": "say"}], (1,))
        [[cut]] = engine(stub, chat=True).sample([chat], Sampling(max_new_tokens=3))
        assert stub.rows()[0]["messages"] == [{"role": "user", "content": "say"}]
    assert (cut.text, cut.n_tokens, cut.truncated) == ("one two three", 3, True)


def test_values_for_the_chat_template_go_with_messages_and_are_needed():
    chat, values = PromptRequest([{"role": "user", "content": "say"}], (1,)), {"enable_thinking": False}
    with Stub(ANSWERS) as stub:
        loaded = load_engine("openai", "letters", servers=ServerOptions((stub.url,)), chat=True, template_kwargs=values)
        loaded.sample([chat, PromptRequest("2+2=", (1,))], Sampling())
        assert all((body.get("chat_template_kwargs") == values) == ("messages" in body) for body in stub.requests)
    assert loaded.describe()["chat_template_kwargs"] == values
    with (
        Stub(ANSWERS, Ways(rejects=frozenset({"chat_template_kwargs"}))) as stub,
        pytest.raises(EngineError, match="rejects what is asked"),
    ):
        load_engine("openai", "letters", servers=ServerOptions((stub.url,)), chat=True, template_kwargs=values)


def test_another_sampling_than_that_of_the_load_is_checked_first():
    with Stub(ANSWERS, Ways(change=lambda s: Sampling(1.0, s.top_p, s.top_k, s.max_new_tokens))) as stub:
        loaded = engine(stub)
        with pytest.raises(EngineError, match="improbable tokens come too often"):
            loaded.sample(REQUESTS, Sampling(temperature=0.5))
        assert not stub.rows()


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize(
    ("ways", "sampling", "message"),
    [
        (Ways(greedy=True), Sampling(), "greedily, or takes one seed for all"),
        (Ways(seed_of=lambda seed: 7), Sampling(), "greedily, or takes one seed for all"),
        (Ways(change=lambda s: replace(s, top_k=0)), Sampling(top_k=3), "tokens that --top-k or --top-p excludes"),
        (Ways(change=lambda s: replace(s, top_p=1.0)), Sampling(top_p=0.6), "tokens that --top-k or --top-p excludes"),
        (Ways(logprobs=False), Sampling(), "gives no log-probabilities"),
        (Ways(finish="content_filter"), Sampling(), "ended for the reason 'content_filter'"),
        (Ways(models=("other", "more")), Sampling(), "does not list the model 'letters', but other, more: give --model"),
        (Ways(rejects=frozenset({"top_k"})), Sampling(top_k=3), "rejects what is asked"),
        (Ways(rejects=frozenset({"temperature"})), Sampling(), "rejects what is asked"),
        (Ways(key="secret"), Sampling(), "refuses the key"),
        (Ways(down=True), Sampling(), "no server answers"),
    ],
)
def test_a_server_that_cannot_sample_as_asked_is_refused_at_load(ways, sampling, message, chat):
    with Stub(ANSWERS, ways) as stub, pytest.raises(EngineError, match=message):
        engine(stub, sampling=sampling, chat=chat)
    assert not stub.rows()


@pytest.mark.thorough
@pytest.mark.whole_check
@pytest.mark.parametrize(
    ("ways", "sampling", "message"),
    [
        (Ways(change=lambda s: replace(s, temperature=0.8)), Sampling(), "its temperature is lower, or filters"),
        (Ways(change=lambda s: replace(s, temperature=1.0, top_p=0.9)), Sampling(), "does not sample as asked"),
        (Ways(change=lambda s: replace(s, top_k=20)), Sampling(), "does not sample as asked"),
        (Ways(change=lambda s: replace(s, temperature=1.25)), Sampling(), "its temperature is higher"),
    ],
)
def test_a_server_of_another_law_is_refused_at_load(ways, sampling, message):
    with Stub(ANSWERS, ways) as stub, pytest.raises(EngineError, match=message):
        engine(stub, sampling=sampling)
    assert not stub.rows()


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.6), Sampling(temperature=1.4), Sampling(top_k=5), Sampling(0.7, 0.8, 20)]
)
def test_a_server_that_samples_as_asked_passes_without_a_note(sampling):
    with Stub(ANSWERS) as stub:
        loaded = engine(stub, sampling=sampling)
    assert isinstance(loaded, Engine) and loaded.notes == []
    assert loaded.describe() == {"engine": "openai", "policy": "letters", "check": {"passed": True, "weights": False}}
    [first, *_] = loaded.model_signs()["first_tokens"]
    law = law_of(first["prompt"])
    likely = sorted(law, key=law.__getitem__, reverse=True)[:20]
    assert first["top"] == pytest.approx({word: math.log(law[word]) for word in likely})


def test_fields_that_a_server_rejects_are_left_out_and_noted():
    with Stub(ANSWERS, Ways(rejects=frozenset({"repeat_penalty", "min_p", "return_token_ids"}))) as stub:
        loaded = engine(stub)
        loaded.sample(REQUESTS, Sampling())
        assert all(not {"repeat_penalty", "min_p"} & body.keys() and "top_p" in body for body in stub.rows())
    assert [note.partition(" does ")[2] for note in loaded.notes] == [
        f"not take {name}: left out" for name in ("min_p", "repeat_penalty", "return_token_ids")
    ]


@pytest.mark.whole_check
def test_a_field_left_out_that_turns_a_filter_on_is_found():
    """Without top_k the stub keeps 20 tokens."""
    with Stub(ANSWERS, Ways(rejects=frozenset({"top_k"}))) as stub, pytest.raises(EngineError, match="does not sample as asked"):
        engine(stub)


def test_a_server_that_ignores_seeds_is_noted():
    count = Counter()

    def stream(seed):
        count["n"] += 1
        return count["n"]

    with Stub(ANSWERS, Ways(seed_of=stream)) as stub:
        assert any("does not give equal completions for equal seeds" in note for note in engine(stub).notes)


def test_a_model_that_is_replaced_between_two_calls_is_found(monkeypatch):
    import stub_server

    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        loaded.sample(REQUESTS, Sampling())
        law_of = stub_server.law_of
        monkeypatch.setattr(stub_server, "law_of", lambda text: law_of(text + "!"))
        stub.cache.clear()
        before = len(stub.rows())
        with pytest.raises(EngineError, match=r"no server is left: .* serves another model than before"):
            loaded.sample(REQUESTS, Sampling())
        assert len(stub.rows()) == before


@pytest.mark.parametrize("fault", ["429", "500", "cut", "text", "empty"])
def test_rows_that_fail_are_asked_for_again_with_their_seed_and_none_is_there_twice(fault):
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        whole = loaded.sample(REQUESTS, Sampling())
        start = len(stub.requests)
        stub.ways.faults = lambda number, body: fault if body["max_tokens"] > 1 and number % 3 == 0 and number - start < 60 else None
        told = []
        again = loaded.sample(REQUESTS, Sampling(), told.append)
        asked = Counter(body["seed"] for body in stub.requests[start:] if body["max_tokens"] > 1)
    assert again == whole and len(told) == 41
    assert sum(asked.values()) > 41 and set(asked) == {fold_seed(seed, 31) for seed in range(40)}


def test_faults_during_the_check_are_waited_out():
    with Stub(ANSWERS, Ways(faults=lambda number, body: ("429", "cut", "500")[number // 7 % 3] if number % 7 == 0 else None)) as stub:
        assert engine(stub).notes == []


def test_a_row_that_a_server_fails_on_again_and_again_is_an_error_of_its_row():
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        stub.ways.faults = lambda number, body: "500" if body["max_tokens"] > 1 and body["prompt"] == "say" else None
        drawn = loaded.sample(REQUESTS, Sampling())
    assert drawn[1][0].error == "out of memory (HTTP 500), 6 times"
    assert all(one.error is None for one in drawn[0])


def test_a_prompt_that_a_server_rejects_is_an_error_of_its_rows():
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        stub.ways.faults = lambda number, body: "too long" if body["prompt"] == "say" else None
        drawn = loaded.sample(REQUESTS, Sampling())
    assert drawn[1][0].error == "the server rejects it: the prompt is longer than the context of 4096 tokens (HTTP 400)"
    assert all(one.error is None for one in drawn[0])


def test_a_server_that_goes_away_is_left_out_and_the_others_go_on():
    with Stub(ANSWERS) as whole, Stub(ANSWERS) as broken:
        expected = engine(whole).sample(REQUESTS, Sampling())
        loaded = engine(whole, broken, give_up_s=0.2, concurrency=2)
        broken.ways.down = True
        whole.ways.faults = lambda number, body: time.sleep(0.1)  # so that the other's time runs out before the rows do
        assert loaded.sample(REQUESTS, Sampling()) == expected
        assert any(f"{broken.url} is left out: it has not answered for" in note for note in loaded.notes)
        assert loaded.sample(REQUESTS, Sampling()) == expected


def test_a_server_that_comes_back_goes_on():
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        stub.ways.down = True
        began = time.monotonic()
        stub.ways.faults = lambda number, body: None
        import threading

        threading.Timer(0.6, lambda: setattr(stub.ways, "down", False)).start()
        assert texts(loaded.sample(REQUESTS, Sampling()))[1] == ["one two three four"]
        assert time.monotonic() - began > 0.5 and loaded.notes == []


def test_a_server_that_comes_back_with_another_model_is_left_out(monkeypatch):
    import stub_server

    law_of = stub_server.law_of
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        start = len(stub.requests)

        def replaced(number, body):
            """The fifth request of the call, which is a row, is cut; what answers from then on is another model."""
            if number == start + 5:
                monkeypatch.setattr(stub_server, "law_of", lambda text: law_of(text + "!"))
                stub.cache.clear()
                return "cut"
            return None

        stub.ways.faults = replaced
        with pytest.raises(EngineError, match=r"no server is left: .* serves another model than before"):
            loaded.sample([PromptRequest("2+2=", tuple(range(2000)))], Sampling())


def test_a_server_that_comes_back_without_log_probabilities_is_checked_as_a_new_one():
    """A greedy one answers the probe, and its answer says nothing."""
    with Stub(ANSWERS) as stub:
        loaded = engine(stub)
        stub.ways.logprobs, stub.ways.greedy = False, True
        with pytest.raises(EngineError, match=r"no server is left: .* gives no log-probabilities, so whether it samples as asked"):
            loaded.sample(REQUESTS, Sampling())
        assert not stub.rows()


@pytest.mark.parametrize(
    ("limit", "message"),
    [(lambda n: 10, "it cut the completion at 10 tokens, and max_tokens is 256"), (lambda n: 2 * n, "counts 512 tokens")],
    ids=["lower", "longer"],
)
def test_a_server_with_a_limit_of_its_own_is_an_error_of_its_rows(limit, message):
    """The check asks for one token, and sees nothing of it."""

    def change(sampling):
        return replace(sampling, max_new_tokens=limit(sampling.max_new_tokens) if sampling.max_new_tokens > 1 else 1)

    answers = ANSWERS | {"say": {" ".join(["word"] * 599): 1.0}}
    with Stub(answers, Ways(change=change)) as stub:
        drawn = engine(stub).sample(REQUESTS, Sampling())
    assert message in drawn[1][0].error and (drawn[1][0].text, drawn[1][0].truncated) == ("", False)
    assert all(one.error is None for one in drawn[0])


def test_a_list_of_models_of_another_shape_is_none():
    with Stub(ANSWERS) as stub:
        for data, names in ((5, []), ({"id": "letters"}, []), ("letters", []), ([5, {"id": 7}, {}], ["7"]), (None, [])):
            stub.listed = {"data": data}
            server = Server(stub.url, "letters", None, 5.0, stop_ids=())
            assert server.models() == names
            server.close()


def test_where_no_server_is_left_the_call_ends_in_an_error():
    with Stub(ANSWERS) as stub:
        loaded = engine(stub, give_up_s=0.5)
        stub.ways.down = True
        with pytest.raises(EngineError, match=r"no server is left: .* has not answered for .* run the same command to resume"):
            loaded.sample(REQUESTS, Sampling())


def test_servers_of_two_models_are_refused(monkeypatch):
    class Other(Stub):
        def complete(self, body):
            return super().complete(body | {"prompt": body["prompt"] + "!"})

    with Stub(ANSWERS) as one, Other(ANSWERS) as other, pytest.raises(EngineError, match=f"{other.url} serves another model"):
        engine(one, other)


def test_a_file_of_servers_is_read_again(tmp_path, monkeypatch):
    from flatspot.engines.server import fleet

    monkeypatch.setattr(fleet, "_REREAD_S", 0.0)
    file = tmp_path / "servers.txt"
    with Stub(ANSWERS) as first, Stub(ANSWERS) as second:
        expected = engine(first).sample(REQUESTS, Sampling())
        file.write_text(f"# ours\n{first.url}\n\n", "utf-8")
        loaded = ServerEngine("letters", ServerOptions((str(file),), concurrency=2), Sampling())
        file.write_text(f"{second.url}\n", "utf-8")
        before = len(first.rows())
        assert loaded.sample(REQUESTS, Sampling()) == expected
        file.write_text("no address", "utf-8")
        assert loaded.sample(REQUESTS, Sampling()) == expected and "the servers stay as they were" in loaded.notes[-1]
        file.write_text("", "utf-8")
        with pytest.raises(EngineError, match="no server is left: none is named any more"):
            loaded.sample(REQUESTS, Sampling())
        assert len(first.rows()) == before and len(second.rows()) == 82  # checked first: the stub answers one-token requests too


def test_a_key_comes_from_the_environment_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with Stub(ANSWERS, Ways(key="sk-right")) as stub:
        with pytest.raises(EngineError, match="refuses the key: Incorrect API key: Bearer …") as told:
            engine(stub)
        assert "sk-wrong" not in str(told.value)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
        assert engine(stub).sample(REQUESTS, Sampling())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host", "expects http"),
        ("http://", "expects http"),
        ("http://me:secret@host/v1", "OPENAI_API_KEY"),
        ("http://host/v1?key=secret", "OPENAI_API_KEY"),
        ("http://host:port/v1", "is no address"),
    ],
)
def test_an_address_is_plain(url, message):
    with pytest.raises(SettingsError, match=message) as told:
        checked_url(url)
    assert "secret" not in str(told.value)


def test_by_name_it_needs_an_address():
    with pytest.raises(EngineError, match="--base-url"):
        load_engine("openai", "letters")
    with pytest.raises(EngineError, match=r"nor a file of addresses"):
        load_engine("openai", "letters", servers=ServerOptions(("none.txt",)))

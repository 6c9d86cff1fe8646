"""Rewards by HTTP against servers that answer, fail, hang, or send what no reward is."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import flatspot
from flatspot.core import bounded
from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import servers as module
from flatspot.rewards.load import load_reward
from flatspot.rewards.servers import RewardServers, server_scorer


def length(query, prompt, label):
    return float(len(query) - len(prompt)) if label is None else float(query == prompt + label)


@contextlib.contextmanager
def server(answer=lambda rows: {"rewards": [length(*row) for row in rows]}):
    """A server of rewards; `answer` gives an object, bytes, or (status, object), of the rows asked. Yields (address, the requests)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            status, value = 200, answer(list(zip(body["query"], body["prompts"], body["labels"], strict=True)))
            if isinstance(value, tuple):
                status, value = value
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/get_reward", asked
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "_WAITS_S", (0.01, 0.02, 0.03))


def score(urls, texts, *, labels=None, timeout_s=5.0):
    prompts = [Prompt(str(i), f"p{i} ", {} if labels is None else {"label": labels[i]}) for i in range(len(texts))]
    return server_scorer(RewardServers(tuple(urls), timeout_s))(prompts, [Completion(text, 1, False) for text in texts])


def test_rows_are_posted_as_openrlhf_posts_them_and_labels_may_be_null():
    with server() as (url, asked):
        values = score([url], ["a", "bb"], labels=[None, "bb"])
    assert [value.number for value in values] == [1.0, 1.0]
    assert asked == [{"query": ["p0 a", "p1 bb"], "prompts": ["p0 ", "p1 "], "labels": [None, "bb"]}]


def test_several_servers_share_the_rows_and_one_that_is_gone_is_passed_over():
    with server() as (first, asked), server() as (second, more):
        texts = ["x" * (i % 7) for i in range(100)]
        assert [value.number for value in score([first, second], texts)] == [float(len(text)) for text in texts]
        assert asked and more and sum(len(body["query"]) for body in asked + more) == 100
        gone = "http://127.0.0.1:9/get_reward"  # a port where nothing listens
        assert [value.number for value in score([gone, first], texts)] == [float(len(text)) for text in texts]


def test_a_server_that_fails_now_and_then_is_asked_again():
    calls = []

    def now_and_then(rows):
        calls.append(1)
        return (503, {"detail": "busy"}) if len(calls) % 3 else {"rewards": [length(*row) for row in rows]}

    with server(now_and_then) as (url, _):
        assert [value.number for value in score([url], ["a", "bb"])] == [1.0, 2.0]


@pytest.mark.parametrize("status", [400, 500])
def test_only_the_rows_at_fault_stay_without_a_reward(status):
    def fails_on_x(rows):
        if any("x" in row[0] for row in rows):
            return status, {"error": {"message": "x is not allowed"}}
        return {"rewards": [length(*row) for row in rows]}

    with server(fails_on_x) as (url, _):
        values = score([url], ["a", "x", "bb", "ccc"])
    assert [value.number for value in values] == [1.0, None, 2.0, 3.0]
    assert f"status {status}: x is not allowed" in values[1].error and not values[1].broken


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"scores": [1.0]}, "without 'rewards'"),
        ({"rewards": [1.0, 2.0]}, "2 values for 1"),
        (b"<html>busy</html>", "no JSON"),
        ({"rewards": [float("nan")]}, "not a finite number"),
        ({"rewards": ["good"]}, "the text 'good'"),
        ({"rewards": [None]}, None),
        ((302, {}), "status 302"),
    ],
)
def test_what_is_no_reward_is_an_error_of_its_rows(answer, words):
    with server(lambda rows: answer) as (url, _):
        [value] = score([url], ["a"])
    assert value.number is None and (words is None or words in value.error)


def test_a_reply_without_an_end_is_cut(monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 1 << 20)
    with server(lambda rows: b"[" + b"1," * (1 << 20)) as (url, _):
        [value] = score([url], ["a"])
    assert "longer than" in value.error


def test_a_server_that_hangs_ends_in_time_and_is_given_up():
    stop = threading.Event()
    with server(lambda rows: stop.wait(60) and {"rewards": []}) as (url, asked):
        began = time.monotonic()
        values = score([url], ["a"] * 400, timeout_s=0.1)
        took = time.monotonic() - began
        stop.set()
    assert {value.number for value in values} == {None} and len(values) == 400
    assert took < 10 and len(asked) < 80
    assert "--reward-timeout" in values[0].error and "not tried" in values[-1].error


def test_a_hanging_server_beside_one_that_answers_costs_no_row():
    stop = threading.Event()
    with server(lambda rows: stop.wait(60) and {"rewards": []}) as (slow, _), server() as (url, _):
        values = score([slow, url], ["a"] * 8, timeout_s=0.2)
        stop.set()
    assert [value.number for value in values] == [1.0] * 8


def test_an_address_is_checked_before_anything_is_asked():
    for text, words in [
        ("http://user:secret@host/get_reward", "a name, a password or a query"),
        ("http://", "expects http://host:port"),
        ("http://a/get_reward,ftp://b", "expects http"),
    ]:
        with pytest.raises(RewardLoadError, match=words) as error:
            load_reward(text)
        assert "secret" not in str(error.value)


def test_diagnose_and_rescore_by_a_server(tmp_path):
    engine = flatspot.ScriptedEngine({"2 + 2 =": {"4": 0.5, "5": 0.5}, "1 + 1 =": {"3": 1.0}})
    rows = [{"prompt": "2 + 2 =", "label": "4"}, {"prompt": "1 + 1 =", "label": "2"}]
    with server() as (url, asked):
        run = flatspot.diagnose(rows, engine, url, reward_range=(0, 1), max_completions=16, fixed_completions=True, out=tmp_path / "run")
        assert run.rollouts["reward"].to_pylist() == [float(r["completion"] == "4") for r in run.rollouts.to_pylist()]
        assert {name for row in run.rollouts.to_pylist() for name, _ in row["rewards"]} == {"get_reward"}
        before = len(asked)
        again = flatspot.rescore(tmp_path / "run", url, out=tmp_path / "again")
        assert again.rollouts["reward"].to_pylist() == run.rollouts["reward"].to_pylist() and len(asked) > before
    with pytest.raises(RewardLoadError, match="no reward from the server"):
        flatspot.diagnose(rows, engine, url, out=tmp_path / "other")  # nobody listens there any more


def rank(rows):
    """The place of each completion among those of its prompt in the request, from 0 to 1."""
    texts = {prompt: sorted(query for query, other, _ in rows if other == prompt) for _, prompt, _ in rows}
    return {"rewards": [texts[prompt].index(query) / max(1, len(texts[prompt]) - 1) for query, prompt, _ in rows]}


@pytest.mark.parametrize("size", [4, 32])
def test_a_rank_by_a_server_gets_whole_groups(tmp_path, size):
    """Also where a group has more rows than a request otherwise would."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    engine = flatspot.ScriptedEngine({name: {name + c: 1 / 36 for c in letters} for name in ("a", "b")})
    with server(rank) as (url, _):
        prompts = [{"prompt": "a"}, {"prompt": "b"}]
        run = flatspot.diagnose(
            prompts, engine, url, max_completions=2 * size, fixed_completions=True, group_size=size, out=tmp_path / "run"
        )
    rows = run.rollouts.to_pylist()
    for name in ("a", "b"):
        own = sorted((row for row in rows if row["prompt"] == name), key=lambda row: row["sample_idx"])
        for group in (own[:size], own[size:]):
            texts = sorted(row["completion"] for row in group)
            assert [row["reward"] for row in group] == [texts.index(row["completion"]) / (size - 1) for row in group]


def test_a_rank_that_fails_on_a_row_is_not_taken_from_smaller_requests():
    def fails_on_x(rows):
        return (500, {}) if any("x" in row[0] for row in rows) else rank(rows)

    prompts = [Prompt("1", "p ")] * 5
    with server(fails_on_x) as (url, _):
        values = server_scorer(RewardServers((url,), 5.0))(prompts, [Completion(text, 1, False) for text in "abxcd"])
    assert {value.number for value in values} == {None} and "compares the completions" in values[0].error

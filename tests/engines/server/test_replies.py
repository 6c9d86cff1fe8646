"""One connection against a server that writes what no HTTP server would: endless, huge, or malformed replies."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

from flatspot.core import bounded
from flatspot.core.connection import Connection, NoReply
from flatspot.core.errors import SettingsError
from flatspot.engines.server.connection import checked_key, checked_url

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def raw_server(*pieces, again=0.0, every=0.02):
    """A server that answers each connection's first request with these bytes; with `again`, the last piece for so many seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            for piece in pieces:
                connection.sendall(piece)
            end = time.monotonic() + again
            while time.monotonic() < end and not stop.is_set():
                time.sleep(every)
                connection.sendall(pieces[-1])

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        listener.close()


def ask(url, *, key=None, timeout_s=0.4):
    connection = Connection(url, key, timeout_s, "lower --concurrency or --max-new-tokens, or add servers")
    try:
        return connection.post("/completions", {})
    finally:
        connection.close()


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
        (OK + b"\r\n", b" "),
        (OK, b"X: y\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"H",),
    ],
    ids=["chunks", "body", "until closed", "headers", "continue", "status line"],
)
def test_a_reply_that_never_ends_is_given_up_at_the_time_limit(pieces):
    with raw_server(*pieces, again=5.0) as url:
        began = time.monotonic()
        with pytest.raises(NoReply) as told:
            ask(url)
    assert time.monotonic() - began < 2.0 and told.value.reached
    # the standard library counts header lines itself
    assert "no whole reply within 0.4 s: lower --concurrency or --max-new-tokens" in str(told.value) or pieces[0] in (OK, b"H")


def test_a_reply_is_cut_at_a_size(monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 1 << 20)
    for pieces in ((OK + b"\r\n", b" " * 65536), (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n")):
        with raw_server(*pieces, again=30.0, every=0.0) as url, pytest.raises(NoReply, match="its reply is longer than"):
            ask(url, timeout_s=20.0)
    with raw_server(OK + b"Content-Length: 999999999999999999\r\n\r\n") as url, pytest.raises(NoReply, match="longer than"):
        ask(url)


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
        b"HTTP/1.1 OK\r\n\r\n{}",
        b"SSH-2.0\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"9" * 100_000,
    ],
)
def test_a_malformed_reply_is_no_reply(content):
    with raw_server(content) as url, pytest.raises(NoReply):
        ask(url)


def test_an_error_nested_without_end_has_a_message():
    nested = b'{"error":' * 500 + b"1" + b"}" * 500
    with raw_server(b"HTTP/1.1 500 no\r\nContent-Length: %d\r\n\r\n" % len(nested) + nested) as url:
        assert len(ask(url).text) <= 300


@pytest.mark.parametrize("key", ["sk-secret", 'sk-"quoted\\key', "sk-'quoted'"])
def test_a_key_that_a_server_repeats_is_not_shown(key):
    for content in (
        json.dumps({"error": {"message": f"no such key: {key}"}}),
        json.dumps({"detail": [{"input": key}]}),
        f"<b>{key}</b>",
        key,
    ):
        data = content.encode()
        with raw_server(b"HTTP/1.1 401 no\r\nContent-Length: %d\r\n\r\n" % len(data) + data) as url:
            text = ask(url, key=key).text
            assert key not in text and "…" in text and "quoted" not in text
        with raw_server(OK + b"\r\n" + data[:-1]) as url, pytest.raises(NoReply) as told:
            ask(url, key=key[:-1])
        assert "quoted" not in str(told.value) and "secre" not in str(told.value)


def test_white_space_around_a_key_is_none_of_it():
    assert checked_key("  sk-1\r\n") == "sk-1" and checked_key("\n") is None and checked_key(None) is None and checked_key("") is None


@pytest.mark.parametrize("key", ["sk-se\ncret", "sk-sé-cret", "sk-se cret", "sk-se\x00cret", "sk-\u2028cret", "“sk-cret”"])
def test_a_key_that_no_request_can_carry_is_refused_unseen(key):
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY is no key.* Set it to the key alone") as told:
        checked_key(key)
    assert "cret" not in str(told.value) and "sk-" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://bücher.example:8000/v1", "http://xn--bcher-kva.example:8000/v1"),
        ("http://host/modèle 1/v1/", "http://host/mod%C3%A8le%201/v1"),
        ("http://host/a%20b", "http://host/a%20b"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        (" http://my_host.local. ", "http://my_host.local./v1"),
    ],
)
def test_an_address_is_written_as_requests_carry_it(text, url):
    assert checked_url(text) == url == checked_url(url)


@pytest.mark.parametrize(
    "text", ["http://a..b/", "http://ho st/", f"http://{'a' * 70}.org", "http://host:0/v1", "http://h,i/v1", "http://[::zz]/"]
)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(SettingsError, match="is no address"):
        checked_url(text)

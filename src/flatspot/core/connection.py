"""One HTTP request with JSON to a server, by the standard library: a connection per thread, kept open between requests."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlsplit

from flatspot.core.bounded import MOST_BYTES, BoundedResponse, TooLong, read_whole
from flatspot.core.plain import Json

CONNECT_S = 10.0
_SHOWN = 300  # characters of what a server says


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: its status, its body as JSON (None where it is none), its message, and the seconds to wait, if it says so."""

    status: int
    content: object
    text: str
    retry_after: float | None


class NoReply(Exception):
    """No completion came, and the same request may be sent again: refused, cut, too slow, too many requests, or a fault of the server.

    reached      whether the server had the request in hand, so that the request itself may be the reason
    retry_after  seconds to wait, where the server says so
    late         whether it was in hand, and took too long
    """

    def __init__(self, reason: str, *, reached: bool = False, retry_after: float | None = None, late: bool = False) -> None:
        super().__init__(reason)
        self.reached, self.retry_after, self.late = reached, retry_after, late


def checked_address(text: str, option: str, *, path: str = "", keys: str = "") -> str:
    """A server's address as requests use it: without a slash at its end, with `path` where it has none of its own.

    International host names become their ASCII form (IDNA), other characters of the path percent codes.

    option  what the user gave it as, in messages
    keys    where keys come from, in messages

    Raises ValueError for what is no http address, or holds a name, a password or a query.

    >>> checked_address("http://bücher.example/modèle", "--base-url")
    'http://xn--bcher-kva.example/mod%C3%A8le'
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{option} {text!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{option} expects http://host:port{path} or https://…, got {text!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            f"{option} must be a plain address, as http://host:port{path}, got one for {parts.hostname} with a name, a password or a "
            f"query{keys}"
        )
    if port == 0:
        raise ValueError(f"{option} {text!r} is no address: no server listens on port 0")
    own = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return f"{parts.scheme}://{_host(parts.hostname, text, option)}{f':{port}' if port else ''}{own or path}"


def _host(name: str, text: str, option: str) -> str:
    """A host as requests write it; raises ValueError where it can be none."""
    try:
        if ":" in name:
            return f"[{ipaddress.IPv6Address(name)}]"
        ascii_name = name.encode("idna").decode("ascii")
    except ValueError as error:
        raise ValueError(f"{option} {text!r} is no address: {name!r} is no host name ({error})") from None
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", ascii_name):
        raise ValueError(f"{option} {text!r} is no address: {name!r} is no host name")
    return ascii_name


class Connection:
    """A connection to a server; not to be shared between threads.

    key        sent as a bearer token; None: none
    timeout_s  seconds that the server may take for a whole reply
    slow       what a user can do where it takes longer, in messages
    """

    def __init__(self, url: str, key: str | None, timeout_s: float, slow: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=CONNECT_S)
        self._connection.response_class = partial(BoundedResponse, seconds=timeout_s)  # type: ignore[assignment]
        self._path, self._key, self._timeout_s = parts.path, key, timeout_s
        self._slow, self._used = slow, False

    def get(self, path: str) -> Reply:
        """The reply to a GET; raises NoReply."""
        return self._request("GET", path, None)

    def post(self, path: str, body: Mapping[str, Json]) -> Reply:
        """The reply to a POST of a JSON object; raises NoReply."""
        return self._request("POST", path, json.dumps(body).encode())

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._connection.close()
        self._used = False

    def _request(self, method: str, path: str, body: bytes | None) -> Reply:
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        headers |= {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        while True:
            reused, reached = self._used, False
            try:
                self._open()
                reached = True
                self._connection.request(method, self._path + path, body, headers)
                response = self._connection.getresponse()
                with response:  # closed also where the time is over in the middle of it
                    content = read_whole(response)
            except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a length that is no number
                self.close()
                # a server closes a connection that was idle: only a new one that is cut says something about it
                if reused and isinstance(error, ConnectionError):
                    continue
                late = reached and isinstance(error, TimeoutError)
                raise NoReply(self._hidden(self._reason(error, reached)), reached=reached, late=late) from None
            self._used = not response.will_close
            return self._reply(response, content)

    def _open(self) -> None:
        if self._connection.sock is None:
            self._connection.connect()  # within CONNECT_S
        self._connection.sock.settimeout(self._timeout_s)

    def _reply(self, response: http.client.HTTPResponse, content: bytes) -> Reply:
        text = self._hidden(content[: 100 * _SHOWN].decode("utf-8", "replace"))
        seconds = None
        with contextlib.suppress(TypeError, ValueError):
            seconds = max(0.0, float(response.headers.get("Retry-After", "")))
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            if response.status == 200:
                raise NoReply(f"its reply is no JSON: {text[:80]!r}", reached=True) from None
            value = None
        return Reply(response.status, value, self._hidden(_message(value) or " ".join(text.split()))[:_SHOWN], seconds)

    def _reason(self, error: Exception, reached: bool) -> str:
        """Why there is no reply, and what can be done about it, where the user can do something."""
        if isinstance(error, TimeoutError):
            return f"no whole reply within {self._timeout_s:g} s: {self._slow}" if reached else f"no connection within {CONNECT_S:g} s"
        if isinstance(error, TooLong):
            return f"its reply is longer than {MOST_BYTES >> 20} MiB"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message}); name its authority's file in SSL_CERT_FILE"
        return f"{type(error).__name__}: {error}".rstrip(": ")

    def _hidden(self, text: str) -> str:
        """The text without the key, which a server may repeat in a message, or in JSON within one."""
        for form in (self._key, json.dumps(self._key)[1:-1]) if self._key else ():
            text = text.replace(form, "…")
        return text


def _message(value: object, depth: int = 4) -> str:
    """The message in a server's error object: OpenAI's `error.message`, FastAPI's `detail`; empty where there is none."""
    if isinstance(value, dict) and depth:
        for name in ("error", "message", "detail"):
            if value.get(name):
                inner = value[name]
                return _message(inner, depth - 1) or (inner if isinstance(inner, str) else json.dumps(inner))
    return ""

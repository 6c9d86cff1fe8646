"""One server: which fields and forms of a prompt it takes, and whether it answers."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flatspot.core.connection import Connection, NoReply, Reply
from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.records import PromptText, Sampling
from flatspot.engines.server.connection import KEY
from flatspot.engines.server.wire import Answer, Asked, check_fits, needed, read_answer, request_body

_SLOW = "lower --concurrency or --max-new-tokens, or add servers"
_BUSY = (429, 503)
_TRANSIENT = (404, 408, 409, 425, *_BUSY)  # 404: behind a proxy, while a server restarts
_LONGEST_WAIT_S = 30.0
_PATIENCE_S = (0.1, 0.5, 2.0)
_LOGPROBS = (20, 5, 0)  # asked for in turn: vLLM gives at most 20, OpenAI's /completions 5


@dataclass(frozen=True, slots=True)
class Forms:
    """A prompt in the forms that a server may take: its text or messages, and its token ids where a tokenizer is at hand."""

    text: PromptText
    ids: tuple[int, ...] | None = None

    def asked(self, takes_ids: bool) -> Asked:
        """The form to send."""
        if takes_ids and self.ids is not None:
            return Asked(ids=self.ids)
        return Asked(text=self.text) if isinstance(self.text, str) else Asked(messages=tuple(self.text))


class Rejected(Exception):
    """The server refuses this request, and would again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message or 'no reason given'} (HTTP {status})")
        self.status, self.message = status, message


class Server:
    """A server, its ways, and its state. Requests may come from several threads; each has a connection of its own.

    name       what requests call the model
    takes_ids  whether it takes prompts as token ids
    dropped    fields that it rejects, and that are not sent to it
    logprobs   how many log-probabilities it gives
    admitted   whether its distribution was checked
    left_out   whether it is not asked any more
    suspect    whether a request to it failed, or a call begins: it must answer a probe before it gets rows
    """

    def __init__(
        self, url: str, name: str, key: str | None, timeout_s: float, *, stop_ids: Sequence[int], values: Mapping[str, Json] | None = None
    ) -> None:
        self.url, self.name = url, name
        self.takes_ids, self.dropped, self.logprobs = True, set[str](), _LOGPROBS[0]
        self.admitted = self.left_out = self.suspect = False
        self.lock, self.probing = threading.Lock(), threading.Lock()
        self._key, self._timeout_s, self._stop_ids, self._values = key, timeout_s, tuple(stop_ids), values
        self._failures, self._down_since, self._retry_at = 0, 0.0, 0.0
        self._of_thread = threading.local()

    def ask(self, forms: Forms, sampling: Sampling, seed: int, *, logprobs: bool = False) -> Answer:
        """One completion. Raises NoReply, Rejected, or NoCompletion."""
        body = self._body(forms, sampling, seed, logprobs)
        reply = self._checked(self._connection().post(forms.asked(self.takes_ids).path, body))
        return check_fits(read_answer(reply.content), sampling.max_new_tokens)

    def ask_patiently(self, forms: Forms, sampling: Sampling, seed: int, *, logprobs: bool = False) -> Answer:
        """As `ask`, but asked again a few times where no reply comes, for the check at load."""
        for wait_s in _PATIENCE_S:
            try:
                return self.ask(forms, sampling, seed, logprobs=logprobs)
            except NoReply as error:
                time.sleep(max(wait_s, min(error.retry_after or 0.0, _LONGEST_WAIT_S)))
        return self.ask(forms, sampling, seed, logprobs=logprobs)

    def settle(self, forms: Forms, sampling: Sampling) -> list[str]:
        """Find out by one request which fields and forms it takes; notes on what it does not. Raises EngineError, NoReply, NoCompletion."""
        notes: list[str] = []
        while True:
            try:
                self.ask_patiently(forms, sampling, 0, logprobs=True)
                return notes
            except Rejected as error:
                notes += self._adapt(forms, sampling, error)

    def models(self) -> list[str]:
        """The names of the models it lists; empty where it lists none. Raises NoReply where it does not answer."""
        reply = self._connection().get("/models")
        rows = reply.content.get("data") if reply.status == 200 and isinstance(reply.content, dict) else None
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def close(self) -> None:
        """Close the connection of this thread."""
        if (connection := getattr(self._of_thread, "connection", None)) is not None:
            connection.close()

    def failed(self, error: NoReply, *, of_probe: bool = False) -> float:
        """Take note of a request without a reply; the seconds since the first one of these.

        The wait grows where it failed anew or a probe failed, not where rows fail that were asked before it was known to be down.
        """
        with self.lock:
            now = time.monotonic()
            self._down_since = self._down_since or now
            if of_probe or not self.suspect:
                self.suspect = True
                self._failures += 1
                wait = min(_LONGEST_WAIT_S, 0.25 * 2.0**self._failures) * random.uniform(0.5, 1.0)
                self._retry_at = now + max(wait, min(error.retry_after or 0.0, 10 * _LONGEST_WAIT_S))
            return now - self._down_since

    def doubt(self) -> None:
        """Have it answer a probe before it gets rows: what is there under its address may have changed since the last."""
        self.suspect = True

    def trust(self) -> None:
        """Take note that it answered a probe. An answered row is no such sign, as it may come from what was there before."""
        with self.lock:
            self._failures, self._down_since, self._retry_at, self.suspect = 0, 0.0, 0.0, False

    def wait_s(self) -> float:
        """Seconds until it may be asked again."""
        return self._retry_at - time.monotonic()

    def _adapt(self, forms: Forms, sampling: Sampling, error: Rejected) -> list[str]:
        """Leave out what a rejection is about; raises EngineError where it is about nothing that can be left out."""
        if error.status in (401, 403):
            raise EngineError(f"{self.url} refuses the key: {error}. Set the environment variable {KEY} to one that it takes") from None
        named = {name for name in self._body(forms, sampling, 0, True) if re.search(rf"(?<!\w){name}(?!\w)", error.message)}
        if error.status in (400, 422):
            if named & {"logprobs", "top_logprobs"} and self.logprobs:
                self.logprobs = _LOGPROBS[_LOGPROBS.index(self.logprobs) + 1]
                return [] if self.logprobs else [f"{self.url} gives no log-probabilities"]
            if droppable := named - needed(sampling):
                self.dropped |= droppable
                return [f"{self.url} does not take {', '.join(sorted(droppable))}: left out"]
            if self.takes_ids and forms.ids is not None and not named & {"top_p", "top_k", "temperature", "max_tokens"}:
                self.takes_ids = False
                return [f"{self.url} does not take prompts as token ids: they are sent as text, for the server to encode"]
        raise EngineError(f"{self.url} rejects what is asked: {error}")

    def _body(self, forms: Forms, sampling: Sampling, seed: int, logprobs: bool) -> dict[str, Json]:
        asked = forms.asked(self.takes_ids)
        n_logprobs = self.logprobs if logprobs else 0
        body = request_body(self.name, asked, sampling, seed, stop_ids=self._stop_ids, logprobs=n_logprobs, values=self._values)
        return {name: value for name, value in body.items() if name not in self.dropped}

    def _checked(self, reply: Reply) -> Reply:
        if reply.status == 200:
            return reply
        if reply.status in _TRANSIENT or reply.status >= 500:
            reached = reply.status >= 500 and reply.status not in _BUSY
            raise NoReply(f"{reply.text or 'no reason given'} (HTTP {reply.status})", reached=reached, retry_after=reply.retry_after)
        raise Rejected(reply.status, reply.text)

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = Connection(self.url, self._key, self._timeout_s, _SLOW)
        return connection

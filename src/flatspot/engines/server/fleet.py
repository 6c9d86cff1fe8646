"""The servers of a run: those named, those in a file that is read again, the check that each passes before it gets rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatspot.core.connection import NoReply
from flatspot.core.errors import EngineError, FlatspotError
from flatspot.core.plain import Json
from flatspot.core.records import PromptText, Sampling
from flatspot.engines.server.check import GAP_LIMIT, Probe, ServerCheck, check_server, comparable, same_tops
from flatspot.engines.server.connection import checked_url
from flatspot.engines.server.server import Rejected, Server
from flatspot.engines.server.wire import NoCompletion

GIVE_UP_S = 600.0  # a server that does not answer for so long is left out
REPLY_S = 600.0  # a reply may take so long: it comes whole, after its last token
_REREAD_S = 5.0
_ONE = Sampling(max_new_tokens=1)


@dataclass(frozen=True)
class ServerOptions:
    """What a run says of its servers.

    base_urls    their addresses, or files with one a line
    served_name  what they call the model; None: as --model says, or the only one that they list
    concurrency  requests in flight for each
    """

    base_urls: tuple[str, ...] = ()
    served_name: str | None = None
    concurrency: int = 64


@dataclass(frozen=True, slots=True)
class Asks:
    """What rows ask for, as far as a check depends on it: text or chat messages, under which sampling."""

    chat: bool
    sampling: Sampling


class Fleet:
    """Servers by address, each checked before its first row.

    model    as the user named it
    probes   for the check: of chat messages under True, of text under False
    text_of  the text of a token id; None without a tokenizer
    template_kwargs    values for the chat template
    checks   the first server's, for each kind of row that was asked for
    notes    for the user, as they come up
    """

    def __init__(
        self,
        options: ServerOptions,
        model: str,
        key: str | None,
        probes: Mapping[bool, Sequence[Probe]],
        text_of: Callable[[int], str] | None,
        stop_ids: Sequence[int],
        *,
        template_kwargs: Mapping[str, Json] | None = None,
        give_up_s: float = GIVE_UP_S,
        reply_s: float = REPLY_S,
    ) -> None:
        self.options, self.model, self.probes, self.text_of = options, model, probes, text_of
        self.give_up_s, self.reply_s, self.template_kwargs = give_up_s, reply_s, template_kwargs
        self.notes: list[str] = []
        self.servers: dict[str, Server] = {}
        self.checks: dict[Asks, ServerCheck] = {}
        self._asks: list[Asks] = []
        self._key, self._stop_ids = key, stop_ids
        self._lock = threading.Lock()
        self._read_at = -_REREAD_S
        self._listed: list[str] = []
        self.refresh()

    def refresh(self) -> list[Server]:
        """The servers that are named now, read again from files every few seconds; new ones are not admitted yet."""
        if time.monotonic() - self._read_at >= _REREAD_S:
            self._read_at = time.monotonic()
            urls = self._named()
            for url in urls:
                if url not in self.servers:
                    self.servers[url] = Server(
                        url, self.model, self._key, self.reply_s, stop_ids=self._stop_ids, values=self.template_kwargs
                    )
            self._listed = urls
        return [self.servers[url] for url in self._listed if not self.servers[url].left_out]

    def _named(self) -> list[str]:
        """The addresses that are named now; those from before where a file cannot be read while rows are drawn."""
        try:
            return _read(self.options.base_urls)
        except FlatspotError as error:
            if not self.servers:
                raise
            self.note(f"the servers stay as they were: {error}")
            return self._listed

    def is_listed(self, server: Server) -> bool:
        """Whether a server is still named."""
        return server.url in self._listed

    def require(self, asks: Sequence[Asks]) -> None:
        """Check every server for rows of these kinds, where it was not yet; one that does not answer is tried again while sampling.

        Raises EngineError where one does not sample as asked, or none answers.
        """
        new = [one for one in asks if one not in self._asks]
        if not new:
            return
        self._asks += new
        for server in self.servers.values():
            server.admitted = False
        silent: dict[str, NoReply] = {}
        for server in self.refresh():
            for _ in range(3):
                try:
                    self.admit(server)
                    silent.pop(server.url, None)
                    break
                except NoReply as error:
                    silent[server.url] = error
                    server.failed(error)
                    time.sleep(min(2.0, max(0.0, server.wait_s())))
        if not all(one in self.checks for one in new):
            told = "; ".join(f"{url}: {error}" for url, error in silent.items()) or "none is named"
            raise EngineError(f"no server answers ({told}). Start one, as vllm serve MODEL, and give its address as --base-url")
        for url, reason in silent.items():
            self.note(f"{url} does not answer ({reason}): it is tried again while the others are sampled")

    def admit(self, server: Server) -> None:
        """Check a server, and that it serves the model that the first one does. Raises EngineError, NoReply."""
        try:
            self._name(server)
            for asks in self._asks:
                check = check_server(server, self.probes[asks.chat], asks.sampling, self.options.concurrency, self.text_of)
                with self._lock:
                    first = self.checks.setdefault(asks, check)
                if not (first.gap is not None and check.gap is not None and not comparable(first.tops, check.tops)):
                    _compare(server, first.tops, check.tops)
                for note in check.notes:
                    self.note(note)
        finally:
            server.close()
        server.trust()
        server.admitted = True

    def revive(self, server: Server) -> None:
        """Ask a server that did not answer for what it gave at the check; it may have come back with another model.

        One that gives no log-probabilities, then or now, is checked as a new one is. Raises EngineError where it has another model or
        does not sample as asked, NoReply where it does not answer.
        """
        asks = self._asks[0]
        try:
            answer = server.ask(self.probes[asks.chat][0].forms, _ONE, 0, logprobs=True)
        except (Rejected, NoCompletion) as error:
            raise NoReply(str(error)) from None
        if self.checks[asks].tops and answer.top:
            _compare(server, self.checks[asks].tops[:1], (answer.top,))
            server.trust()
        else:
            self.admit(server)

    def first_tokens(self) -> list[dict[str, Json]]:
        """Each prompt of the first check with the log-probabilities of the tokens after it; empty where no server gave any."""
        asks = self._asks[0]
        probes, tops = self.probes[asks.chat], self.checks[asks].tops
        return [{"prompt": _plain(probe.forms.text), "top": dict(top)} for probe, top in zip(probes, tops, strict=False)]

    def leave_out(self, server: Server, why: str) -> None:
        """Ask a server for nothing any more."""
        with self._lock:
            if server.left_out:
                return
            server.left_out = True
        self.note(f"{server.url} is left out: {why}")

    def note(self, text: str) -> None:
        """Add a note, once."""
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)

    def _name(self, server: Server) -> None:
        """Find what a server calls the model; some answer by another model where they do not have the one named."""
        wanted, listed = self.options.served_name or self.model, server.models()
        if not listed or wanted in listed:
            server.name = wanted
        elif self.options.served_name is None and len(listed) == 1 and self._has_weights():
            server.name = listed[0]  # the check compares it with the files
        else:
            option = "--served-name" if self._has_weights() else "--model"
            raise EngineError(f"{server.url} does not list the model {wanted!r}, but {', '.join(listed[:5])}: give {option} one of these")

    def _has_weights(self) -> bool:
        return any(probe.exact is not None for probes in self.probes.values() for probe in probes)


def _plain(text: PromptText) -> Json:
    return text if isinstance(text, str) else [dict(message) for message in text]


def _compare(server: Server, first: Sequence[Mapping[str, float]], tops: Sequence[Mapping[str, float]]) -> None:
    """Raise EngineError where a server's log-probabilities of the probes are not those that the first server gave."""
    if not first or not tops:
        return
    if not comparable(first, tops):
        raise EngineError(
            f"{server.url} names tokens otherwise than before, or than the first server (by id or by text), so their models cannot be "
            "compared: use servers of one kind, or give the policy's folder as --model"
        )
    gap = same_tops(first, tops)
    if gap > GAP_LIMIT:
        raise EngineError(
            f"{server.url} serves another model than before, or than the first server: log-probabilities of the same first tokens differ "
            f"by {gap:.2g} nats on average (limit {GAP_LIMIT}). Give servers of one model"
        )


def _read(base_urls: Sequence[str]) -> list[str]:
    """The addresses named, those of files included; raises SettingsError, and EngineError for a file that cannot be read."""
    urls: list[str] = []
    for text in base_urls:
        if "://" in text:
            urls.append(checked_url(text))
            continue
        try:
            lines = Path(text).expanduser().read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise EngineError(f"--base-url {text!r} is no address (http://host:port/v1), nor a file of addresses: {error}") from None
        urls += [checked_url(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return list(dict.fromkeys(urls))

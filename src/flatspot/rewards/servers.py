"""Rewards by HTTP, as OpenRLHF asks its servers: POST {"query": [...], "prompts": [...], "labels": [...]} → {"rewards": [...]}.

Nothing of the user's runs in this process, and every request ends in time, so no worker process is needed.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flatspot.core.connection import Connection, NoReply, Reply
from flatspot.core.content import content_text
from flatspot.core.plain import Json
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.composition import COMPARES, compare_alone
from flatspot.rewards.process import Failure
from flatspot.rewards.scorers import Scorer, openrlhf_arguments, openrlhf_values
from flatspot.rewards.values import Value

_ROWS = 16  # of a request, or more of one prompt; where it fails, its rows are asked alone
_AT_ONCE = 4  # requests to one server
_WAITS_S = (0.2, 1.0, 3.0)  # before the second try and those that follow, each with the next server
_MOST_WAIT_S, _MOST_S = 30.0, 600.0
_GIVE_UP_AFTER = 3  # rows, or whole requests, in a row that got no answer in time
_AGAIN = (404, 408, 425, 429)  # and 500 on: it may be only now
_SLOW = "raise --reward-timeout, or add servers"


Row = tuple[str, str, object]
"""(query, prompt, label)."""


class ServerError(Exception):
    """No rewards came.

    reached  whether a server had the rows in hand, so that they may be the reason
    late     whether none answered in time
    """

    def __init__(self, message: str, *, reached: bool, late: bool = False) -> None:
        super().__init__(message)
        self.reached, self.late = reached, late


@dataclass(frozen=True)
class RewardServers:
    """Servers of one reward, asked in turn.

    timeout_s  seconds one row may take; each further row of a request adds a quarter of that
    """

    urls: tuple[str, ...]
    timeout_s: float = 10.0
    _turn: itertools.count[int] = field(default_factory=itertools.count, compare=False)
    _down: threading.Event = field(default_factory=threading.Event, compare=False)  # the last request got nothing: do not wait for each

    def __reduce__(self) -> tuple[object, ...]:
        return RewardServers, (self.urls, self.timeout_s)

    def ask(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object], *, patient: bool = True) -> object:
        """What a server returned, as JSON. Raises `ServerError`.

        patient  whether to try again, after a while and with the other servers
        """
        plain = [label if label is None or isinstance(label, str | int | float) else content_text(label)[0] for label in labels]
        body: dict[str, Json] = {"query": list(queries), "prompts": list(prompts), "labels": list(plain)}
        first, waits = next(self._turn), _WAITS_S if patient and not self._down.is_set() else ()
        reasons: dict[str, str] = {}
        reached, n_late = False, 0
        for i, wait in enumerate([*waits, 0.0]):
            url = self.urls[(first + i) % len(self.urls)]
            try:
                answer = self._post(url, body, len(queries))
                self._down.clear()
                return answer
            except NoReply as error:
                reasons[url], reached, n_late = str(error), reached or error.reached, n_late + error.late
                if n_late >= min(2, len(self.urls)):  # it would only be late again
                    break
                time.sleep(wait and max(wait, min(error.retry_after or 0.0, _MOST_WAIT_S)))
        self._down.set()
        raise ServerError("; ".join(f"{url}: {why}" for url, why in reasons.items()), reached=reached, late=n_late > 0)

    def _post(self, url: str, body: Mapping[str, Json], rows: int) -> object:
        connection = Connection(url, None, min(_MOST_S, self.timeout_s * (1 + (rows - 1) / 4)), _SLOW)
        try:
            reply = connection.post("", body)
        finally:
            connection.close()
        if reply.status == 200:
            return reply.content
        raise _refused(url, reply)


def _refused(url: str, reply: Reply) -> Exception:
    said = f"status {reply.status}{f': {reply.text}' if reply.text else ''}"
    if reply.status in _AGAIN or reply.status >= 500:
        return NoReply(said, reached=True, retry_after=reply.retry_after)
    return ServerError(f"{url}: {said}", reached=True)


def server_scorer(servers: RewardServers) -> Scorer:
    """A scorer of these servers. Where a request fails its rows are asked alone, so that only those at fault stay without a reward."""

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        arguments = openrlhf_arguments(prompts, completions)
        rows = list(zip(*arguments, strict=True))
        late: list[bool] = []  # of the requests of this call, whether each was late as a whole

        def score_piece(piece: list[Row]) -> list[Value]:
            if len(late) >= _GIVE_UP_AFTER and all(late[-_GIVE_UP_AFTER:]):
                return [Value(error=f"not tried: {_GIVE_UP_AFTER} requests in a row got no answer in time")] * len(piece)
            values, was_late = _scored(servers, piece)
            late.append(was_late)
            return values

        pieces = _pieces([prompt.id for prompt in prompts], rows)
        results = _in_parallel(score_piece, pieces, _AT_ONCE * len(servers.urls))
        return [value for values in results for value in values]

    return score


def _pieces(ids: Sequence[str], rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in requests: the completions of one prompt that follow one another stay in one, for a reward may compare them."""
    pieces: list[list[Row]] = []
    for _, own in itertools.groupby(range(len(rows)), key=lambda i: ids[i]):
        group = [rows[i] for i in own]
        if pieces and len(pieces[-1]) + len(group) <= _ROWS:
            pieces[-1] += group
        else:
            pieces.append(group)
    return pieces


def _scored(servers: RewardServers, rows: list[Row]) -> tuple[list[Value], bool]:
    """(a value per row, whether no row got an answer in time)."""
    try:
        return openrlhf_values(servers.ask(*_columns(rows)), len(rows)), False
    except ServerError as error:
        failed = error
    if len(rows) == 1 or not failed.reached:
        return [_failed(failed)] * len(rows), failed.late
    values: list[Value] = []
    lost = 0
    for row in rows:
        if lost >= _GIVE_UP_AFTER:
            values.append(Value(error=f"not tried: {lost} rows in a row got no answer in time"))
            continue
        try:
            values += openrlhf_values(servers.ask(*_columns([row]), patient=False), 1)
            lost = 0
        except ServerError as error:
            values.append(_failed(error))
            lost = lost + 1 if error.late else 0

    def together(those: Sequence[int]) -> list[Value] | Failure:
        try:
            return openrlhf_values(servers.ask(*_columns([rows[i] for i in those]), patient=False), len(those))
        except ServerError as error:
            return Failure(str(error), lost=error.late)

    if not lost and compare_alone(values, together) == "other":
        values = [value if value.error else Value(error=f"{failed}; {COMPARES}") for value in values]
    return values, all(value.error is not None for value in values) and lost >= min(_GIVE_UP_AFTER, len(rows))


def _columns(rows: list[Row]) -> tuple[list[str], list[str], list[object]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _failed(error: ServerError) -> Value:
    return Value(error=f"no reward from the server: {error}", broken=not error.reached)


def _in_parallel(job: Callable[[list[Row]], list[Value]], pieces: Sequence[list[Row]], at_once: int) -> list[list[Value]]:
    """A job's results on each piece, in their order. The threads end with this process, also in the middle of a request."""
    if len(pieces) < 2:
        return [job(piece) for piece in pieces]
    results: dict[int, list[Value]] = {}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(pieces)):
        waiting.put(i)

    def work() -> None:
        while True:
            try:
                i = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[i] = job(pieces[i])
            except Exception as error:  # none that is known of; a thread that ended silently would leave rows without a word
                results[i] = [Value(error=f"no reward from the server: {type(error).__name__}: {error}")] * len(pieces[i])

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(pieces)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[i] for i in range(len(pieces))]

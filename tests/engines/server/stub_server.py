"""An OpenAI-compatible server whose distribution is exact, and that misbehaves on demand, in a thread of the test.

A prompt that `answers` names has these answers, at their probabilities; any other prompt has one-word answers of a fixed, uneven law.
Words are tokens. The first token's law of a prompt in `answers` is the law of its answers' first words.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flatspot.core.records import Sampling
from flatspot.engines.scripted import reshape

WORDS = [f"w{i}" for i in range(60)]


def law_of(text: str) -> dict[str, float]:
    """The law of an unknown prompt's one word: uneven, more or less so from prompt to prompt."""
    rng = random.Random(text)
    spread = rng.uniform(0.8, 2.0)
    weights = {word: math.exp(rng.gauss(0, spread)) for word in WORDS}
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


@dataclass
class Ways:
    """How a stub behaves.

    change     of the sampling before it draws: filters left on, another temperature
    seed_of    of the request's seed: one for all, say
    rejects    fields that a 400 names
    takes_ids  prompts as token ids, or a 400
    logprobs   whether it gives any
    faults     of each request to a completion path, by its number from 0: "429", "500", "cut", "text", "empty", "too long" or None
    down       refuses every request with a 503
    """

    change: Callable[[Sampling], Sampling] = lambda sampling: sampling
    seed_of: Callable[[int], int] = lambda seed: seed
    greedy: bool = False
    rejects: frozenset[str] = frozenset()
    takes_ids: bool = True
    logprobs: bool = True
    faults: Callable[[int, dict], str | None] = lambda number, body: None
    down: bool = False
    models: tuple[str, ...] | None = ("letters",)
    key: str | None = None
    finish: str | None = None


@dataclass
class Stub:
    """`with Stub(answers) as stub: stub.url`."""

    answers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ways: Ways = field(default_factory=Ways)
    requests: list[dict] = field(default_factory=list)
    cache: dict = field(default_factory=dict)
    listed: object = None

    def __enter__(self) -> Stub:
        stub = self

        class Handler(_Handler):
            owner = stub

        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=lambda: self.server.serve_forever(0.02), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def rows(self) -> list[dict]:
        """The requests for rows: not those of the check, which ask for one token or for log-probabilities."""
        return [body for body in self.requests if body["max_tokens"] > 1]

    def complete(self, body: dict) -> dict:
        """The reply to a request that it takes."""
        chat = "messages" in body
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        if not isinstance(text, str):
            text = " ".join(map(str, text))
        # what a server takes where a request does not say
        sampling = self.ways.change(
            Sampling(body.get("temperature", 0.8), body.get("top_p", 0.95), max(0, body.get("top_k", 20)), body["max_tokens"])
        )
        law, shaped = self._laws(text, sampling)
        draw = _uniform(f"{text} {self.ways.seed_of(body.get('seed', random.randrange(2**31)))}")
        answer = max(shaped, key=shaped.__getitem__) if self.ways.greedy else _pick(shaped, draw)
        words = answer.split()
        cut = words[: sampling.max_new_tokens]
        finish = self.ways.finish or ("length" if len(cut) >= sampling.max_new_tokens else "stop")
        n = body.get("top_logprobs", 5) if chat else body.get("logprobs")
        tops = self._tops(law, n) if n and self.ways.logprobs and body.get("logprobs") else None
        choice: dict = {"index": 0, "finish_reason": finish}
        choice |= {"message": {"role": "assistant", "content": " ".join(cut)}} if chat else {"text": " ".join(cut)}
        first = cut[0] if cut else ""
        if tops is not None and chat:
            choice["logprobs"] = {
                "content": [{"token": first, "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": p} for t, p in tops.items()]}]
            }
        elif tops is not None:
            choice["logprobs"] = {"tokens": [first], "token_logprobs": [0.0], "top_logprobs": [tops]}
        return {"choices": [choice], "usage": {"completion_tokens": len(cut) + (finish == "stop")}}

    def _laws(self, text: str, sampling: Sampling) -> tuple[Mapping[str, float], Mapping[str, float]]:
        key = (text, sampling.temperature, sampling.top_p, sampling.top_k)
        if key not in self.cache:
            law = self.answers.get(text) or law_of(text)
            self.cache[key] = law, reshape(law, sampling)
        return self.cache[key]

    def _tops(self, law: Mapping[str, float], n: int) -> dict[str, float]:
        first: dict[str, float] = {}
        for answer, p in law.items():
            word = (answer.split() or [""])[0]
            first[word] = first.get(word, 0.0) + p
        return {word: math.log(first[word]) for word in sorted(first, key=first.__getitem__, reverse=True)[:n] if first[word] > 0}


class _Handler(BaseHTTPRequestHandler):
    owner: Stub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for a reply, which a client would else wait 40 ms for

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        models = self.owner.ways.models
        if self.owner.ways.down:
            self._send(503, {"error": {"message": "loading model"}})
        elif models is None:
            self._send(500, {"detail": "no cache"})
        else:
            self._send(200, self.owner.listed or {"data": [{"id": name} for name in models]})

    def do_POST(self) -> None:
        stub, ways = self.owner, self.owner.ways
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            number = len(stub.requests)
            stub.requests.append(body)
        if ways.key is not None and self.headers.get("Authorization") != f"Bearer {ways.key}":
            return self._send(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
        if ways.down:
            return self._send(503, {"error": {"message": "loading model"}})
        fault = ways.faults(number, body)
        if fault == "429":
            return self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})
        if fault == "500":
            return self._send(500, {"error": {"message": "out of memory"}})
        if fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "500")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"te')
            self.wfile.flush()
            self.close_connection = True
            return None
        if fault == "text":
            return self._send(200, None)
        if fault == "empty":
            return self._send(200, {"choices": [], "usage": {}})
        if fault == "too long":
            return self._send(400, {"error": {"message": "the prompt is longer than the context of 4096 tokens"}})
        if wrong := sorted(ways.rejects & body.keys()):
            return self._send(400, {"detail": [{"loc": ["body", wrong[0]], "msg": "Extra inputs are not permitted"}]})
        if not ways.takes_ids and isinstance(body.get("prompt"), list):
            return self._send(400, {"error": {"message": "prompt: expected a string"}})
        return self._send(200, stub.complete(body))

    def _send(self, status: int, value: object, headers: Mapping[str, str] = {}) -> None:
        content = b"<html>" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _pick(law: Mapping[str, float], uniform: float) -> str:
    for answer, p in law.items():
        uniform -= p
        if uniform < 0:
            return answer
    return answer

"""The engine on servers: what a request costs the client, and which faults of a server its check finds.

python benchmarks/engines/servers.py cost      # seconds: CPU time per request, against a server that answers at once
python benchmarks/engines/servers.py check     # a minute: shares of loads in which faults are doubted and refused, on simulated laws
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable

from flatspot.core.records import Sampling
from flatspot.engines.scripted import reshape
from flatspot.engines.server.check import DOUBT, DRAWS, REFUSED
from flatspot.engines.server.law import first_token_law, fit, p_value
from flatspot.engines.server.server import Forms, Server
from flatspot.engines.server.threads import each
from flatspot.engines.server.wire import Answer, Asked, read_answer, request_body

REQUESTS = 10_000
REPEATS = 60
FAULTS = {
    "none": Sampling(),
    "temperature 0.8": Sampling(temperature=0.8),
    "temperature 0.9": Sampling(temperature=0.9),
    "temperature 1.12": Sampling(temperature=1.12),
    "top-k 40": Sampling(top_k=40),
    "top-p 0.9": Sampling(top_p=0.9),
    "top-p 0.95": Sampling(top_p=0.95),
    "top-p 0.97": Sampling(top_p=0.97),
}

# answers every request with the same bytes, over connections that stay open, in a process of its own
_STUB = """
import json, socketserver
BODY = json.dumps({"choices": [{"text": "4", "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}).encode()
REPLY = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    def handle(self):
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\\r\\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            self.rfile.read(length)
            self.wfile.write(REPLY)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads, request_queue_size = True, 128
with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


def cost() -> dict[str, dict[str, float]]:
    """CPU time of the client per request, in microseconds, and requests a second, with 64 in flight; also by the package httpx2."""
    import httpx2

    def ours(port: int) -> None:
        server = Server(f"http://127.0.0.1:{port}/v1", "m", None, 60.0, stop_ids=())
        each(lambda seed: server.ask(Forms("What is 2 + 2?"), Sampling(), seed), range(REQUESTS), 64, server.close)

    def by_package(port: int) -> None:
        with httpx2.Client(limits=httpx2.Limits(max_connections=64), timeout=60) as client:
            asked = Asked(text="What is 2 + 2?")

            def ask(seed: int) -> Answer:
                body = request_body("m", asked, Sampling(), seed)
                return read_answer(client.post(f"http://127.0.0.1:{port}/v1/completions", json=body).json())

            each(ask, range(REQUESTS), 64)

    return {"http.client": _timed(ours), "httpx2": _timed(by_package)}


def _timed(requests: Callable[[int], None]) -> dict[str, float]:
    stub = subprocess.Popen([sys.executable, "-c", _STUB], stdout=subprocess.PIPE, text=True)
    try:
        assert stub.stdout is not None
        port = int(stub.stdout.readline())
        began, cpu = time.perf_counter(), time.process_time()
        requests(port)
        spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    finally:
        stub.kill()
        stub.wait()
    return {"cpu_us_per_request": round(1e6 * cpu / REQUESTS), "requests_per_s": round(REQUESTS / spent)}


def law(spread: float) -> dict[str, float]:
    """A distribution over 80 tokens: uneven, the more so the larger the spread."""
    rng = random.Random(spread)
    weights = {f"t{i}": math.exp(rng.gauss(0, spread)) for i in range(80)}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


def check() -> dict[str, dict[str, float]]:
    """Of each fault, the share of loads whose first draws are doubted, and whose further draws are refused."""
    laws = [law(spread) for spread in (0.8, 1.2, 1.6, 2.0, 2.5, 3.0)]
    asked = []
    for whole in laws:
        likely = sorted(whole, key=whole.__getitem__, reverse=True)[:20]
        asked.append(first_token_law({token: math.log(whole[token]) for token in likely}, Sampling()))
    shares = {}
    for name, fault in FAULTS.items():
        shaped = [reshape(whole, fault) for whole in laws]
        p = {n: [_p(asked, shaped, n, seed) for seed in range(REPEATS)] for n in (DRAWS, 4 * DRAWS)}
        shares[name] = {
            "doubted": sum(value < DOUBT for value in p[DRAWS]) / REPEATS,
            "refused": sum(value < REFUSED for value in p[4 * DRAWS]) / REPEATS,
        }
    return shares


def _p(asked: list, shaped: list[dict[str, float]], n: int, seed: int) -> float:
    rng = random.Random(f"{seed} {n}")
    return p_value([fit(one, rng.choices(list(drawn), list(drawn.values()), k=n)) for one, drawn in zip(asked, shaped, strict=True)])


if __name__ == "__main__":
    print(json.dumps({"cost": cost, "check": check}[sys.argv[1]](), indent=1))

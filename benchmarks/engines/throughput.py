"""Tokens a second of every engine on one policy, in one run: SmolLM2-135M-Instruct, chat prompts, 16 samples of 48 tokens, T = 1.

    python benchmarks/engines/throughput.py [--rounds 5] [--threads 2] [--batch 4] [--cases …]

Each engine lives in a process of its own, so that neither threads nor peaks of memory mix, and all take turns, round after round: a shared
processor changes its speed within minutes, and only what ran in the same round is compared. There are two baselines, both
`model.generate(num_return_sequences=16, do_sample=True)`: `generate` is given one prompt at a time, as most scripts do, and `batched` is
given `--batch` prompts in one call, padded on the left, which is the best that it offers. `matmul` is the rate of this machine's own matrix
products, of the shapes that decoding needs. At the end stand two tables: the long one, and README's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
POLICY = "smollm2-135m-instruct"
SAMPLES, NEW_TOKENS = 16, 48
BATCH = 4  # prompts in a call of batched generate: of 1, 4 and 16 the fastest, see README.md
CASES = (
    "generate float32",
    "batched float32",
    "batched bfloat16",
    "matmul float32",
    "matmul bfloat16",
    "hf float32",
    "hf bfloat16",
    "openvino float32",
    "openvino bfloat16",
)
# a turn: as many prompts as fill the engine's batch; generate does one after another anyway
PROMPTS = {"generate": 1, "hf": 16, "openvino": 32, "matmul": 0}
PLACES = ("by the sea", "in the hills", "near the old mill", "at the end of the railway line")
TASKS = (
    "Tell a short story about a town {place}.",
    "A shop {place} sells 12 apples for 3 coins. What do 40 apples cost? Show each step.",
    "Write three sentences about the weather {place} and say which season it is.",
    "List the words of this sentence in alphabetical order: many people {place} sleep late on Sundays because the market opens at noon.",
    "Is the following true? Answer yes or no and say why: every bird {place} can fly, some birds cannot fly, so some birds are not there.",
    "Sort these numbers from small to large: 83, 17, 54, 92, 6, 71, 38, 25. Then say which of them is the number of a house {place}.",
    "Continue the sequence 2, 6, 12, 20, 30 with two more terms and explain the rule to a child who lives {place}.",
    "Explain to a visitor {place} how to make tea, in five steps, each of at most ten words.",
)


def prompts(n: int) -> list[list[dict[str, str]]]:
    texts = [task.format(place=place) for place in PLACES for task in TASKS]
    return [[{"role": "user", "content": text}] for text in texts[:n]]


def parameters(config) -> float:
    """Weights that a token is multiplied with: the layers and the output, two operations each."""
    head = config.hidden_size // config.num_attention_heads
    attention = config.hidden_size * head * (2 * config.num_attention_heads + 2 * config.num_key_value_heads)
    layer = attention + 3 * config.hidden_size * config.intermediate_size
    return config.num_hidden_layers * layer + config.hidden_size * config.vocab_size


def serve(case: str, threads: int, batch: int) -> None:
    """Run one case in this process: a turn for each line that comes in, its tokens and seconds as a line out."""
    import torch

    from flatspot.core.errors import EngineError

    torch.set_num_threads(threads)
    kind, dtype = case.split()
    try:
        run = None if kind == "matmul" else _generate(dtype) if kind in ("generate", "batched") else _engine(kind, dtype)
    except EngineError as error:  # openvino has no bfloat16 on a processor without it
        print("cannot run here:", *str(error).split(), flush=True)
        return
    if run is not None:
        run(prompts(1), 4)  # warm up
    print("ready", flush=True)
    for turn, _ in enumerate(sys.stdin):
        if run is None:
            print(json.dumps({"gflops": matmul_gflops(dtype)}), flush=True)
            continue
        n = batch if kind == "batched" else PROMPTS[kind]
        chats = (prompts(32) * 2)[turn * n % 32 :][:n]
        start = time.perf_counter()
        tokens = run(chats, NEW_TOKENS)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_gib": peak}), flush=True)


def _generate(dtype: str):
    import torch

    from flatspot.engines import load_policy

    policy = load_policy(POLICY, dtype=dtype, device="cpu")
    policy.tokenizer.padding_side = "left"

    def run(chats, new_tokens):
        """One call on all the chats, padded on the left to the longest."""
        inputs = policy.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            out = policy.model.generate(
                **inputs,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                num_return_sequences=SAMPLES,
                max_new_tokens=new_tokens,
                pad_token_id=policy.pad_id,
            )
        tokens = out[:, inputs["input_ids"].shape[1] :]
        ends = (tokens == policy.eos_ids[0]).int().argmax(-1)
        return sum(int(end) + 1 if row[end] == policy.eos_ids[0] else len(row) for row, end in zip(tokens, ends, strict=True))

    return run


def _engine(kind: str, dtype: str):
    from flatspot.core.records import PromptRequest, Sampling
    from flatspot.core.seeds import row_seed
    from flatspot.engines import load_engine

    engine = load_engine(kind, POLICY, dtype=dtype, device="cpu")
    if engine.name != kind:
        raise SystemExit(f"expected the engine {kind}, got {engine.name}: {getattr(engine, 'notes', ())}")

    def run(chats, new_tokens):
        counts = []
        requests = [PromptRequest(chat, tuple(row_seed(0, str(i), j) for j in range(SAMPLES))) for i, chat in enumerate(chats)]
        engine.sample(requests, Sampling(max_new_tokens=new_tokens), counts.append)
        return sum(counts)

    return run


def matmul_gflops(dtype: str) -> float:
    """The rate of products of the shapes of decoding, 128 rows by the layers' and the output's weights, in their proportions.

    By oneDNN on prepacked weights in float32, where torch's own `linear` uses a library that is half as fast on AMD; otherwise by `linear`.
    """
    import torch

    prepacked = dtype == "float32" and torch.backends.mkldnn.is_available()

    shapes = {(576, 1536): 60, (1536, 576): 30, (576, 576): 60, (576, 192): 60, (576, 49152): 1}
    total = seconds = 0.0
    linear = torch.nn.functional.linear
    for (k, n), times in shapes.items():
        # as a linear layer keeps its weights, and enough of them that they do not stay in the processor's cache
        a, weights = (torch.randn(128, k, dtype=getattr(torch, dtype)), [torch.randn(n, k, dtype=getattr(torch, dtype)) for _ in range(8)])
        if prepacked:
            weights = [torch.ops.mkldnn._reorder_linear_weight(w) for w in weights]
        product = partial(_onednn_product, a) if prepacked else partial(linear, a)
        product(weights[0])
        start = time.perf_counter()
        for i in range(3 * times):
            product(weights[i % 8])
        seconds += time.perf_counter() - start
        total += 3 * times * 2 * 128 * k * n
    return total / seconds / 1e9


def _onednn_product(a, prepacked_weight):
    import torch

    return torch.ops.mkldnn._linear_pointwise(a, prepacked_weight, None, "none", [], "")


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


class Case:
    """A process that takes turns."""

    def __init__(self, name: str, threads: int, batch: int) -> None:
        command = [sys.executable, __file__, "--serve", name, "--threads", str(threads), "--batch", str(batch)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.line().strip()

    def line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended before its turn")
        return line

    def turn(self) -> dict:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def spread(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def rates_of(results: dict) -> dict[str, list[float]]:
    """Tokens a second of each case, round by round."""
    return {name: [t["tokens"] / t["seconds"] for t in done] for name, done in results["turns"].items() if "tokens" in done[0]}


def ratios(rates: dict[str, list[float]], name: str, base: str) -> list[float]:
    """A case's rate over another's of the same round; empty without the other."""
    return [own / other for own, other in zip(rates[name], rates[base], strict=True)] if base in rates else []


def table(results: dict) -> str:
    turns, rates = results["turns"], rates_of(results)
    lines = ["| engine | tokens/s | of generate | of batched | of the arithmetic limit | peak GiB |", "|---|---|---|---|---|---|"]
    for name, own in rates.items():
        alone, batched = (ratios(rates, name, base) for base in ("generate float32", f"batched {name.split()[1]}"))
        limits = [t["gflops"] / results["gflop_per_token"] for t in turns.get(f"matmul {name.split()[1]}", [])]
        share = f"{statistics.median(o / limit for o, limit in zip(own, limits, strict=True)):.0%}" if limits else "-"
        peak = max(t["peak_gib"] for t in turns[name])
        cells = [spread(own, 0), spread(alone, 1), spread(batched, 1), share, f"{peak:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def readme_table(results: dict) -> str:
    """The rows of README.md: medians, and ratios to `generate` in batches of the same dtype."""
    rates = rates_of(results)
    lines = ["| engine | tokens/s | of `generate` in batches | peak memory |", "|---|---|---|---|"]
    for name, own in rates.items():
        kind, dtype = name.split()
        words = {"generate": "`generate`, a prompt at a time", "batched": f"`generate`, {results['batch']} prompts at a time"}
        default = " (the default on a CPU)" if name == "openvino float32" else ""
        ratio = ratios(rates, name, f"batched {dtype}")
        peak = max(t["peak_gib"] for t in results["turns"][name])
        of_batched = f"{statistics.median(ratio):.1f}" if ratio else "-"
        lines.append(f"| {words.get(kind, f'`{kind}`')}, {dtype}{default} | {statistics.median(own):.0f} | {of_batched} | {peak:.1f} GiB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=BATCH, help="prompts in one call of batched generate")
    parser.add_argument("--cases", nargs="*", default=CASES, help="which of: " + ", ".join(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.threads, args.batch)
        return
    from flatspot.engines import load_policy
    from flatspot.engines.prompts import encode

    policy = load_policy(POLICY)  # converts it now, outside the measurements
    lengths = [len(encode(policy, chat)) for chat in prompts(32)]
    results: dict = {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1)},
        "policy": POLICY,
        "prompt_tokens": [min(lengths), max(lengths)],
        "samples": SAMPLES,
        "batch": args.batch,
        "new_tokens": NEW_TOKENS,
        "gflop_per_token": 2 * parameters(policy.model.config) / 1e9,
    }
    del policy
    started = {name: Case(name, args.threads, args.batch) for name in args.cases}
    for name, case in started.items():
        if case.ready != "ready":
            print(f"{name} {case.ready}", file=sys.stderr)
    cases = {name: case for name, case in started.items() if case.ready == "ready"}
    results["turns"] = {name: [] for name in cases}
    for i in range(args.rounds):
        for name, case in cases.items():
            time.sleep(0.5)  # threads of the one before have stopped spinning
            results["turns"][name].append(case.turn())
        done = ", ".join(f"{name} {rate(turns[-1])}" for name, turns in results["turns"].items())
        print(f"round {i + 1} of {args.rounds}: {done}", file=sys.stderr, flush=True)
    for case in cases.values():
        case.close()
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {results['gflop_per_token']:.3f} GFLOP a token\n")
    print(f"{table(results)}\n\nFor README.md:\n\n{readme_table(results)}")


def rate(turn: dict) -> str:
    return f"{turn['tokens'] / turn['seconds']:.0f}" if "tokens" in turn else f"{turn['gflops']:.0f} GFLOP/s"


if __name__ == "__main__":
    main()

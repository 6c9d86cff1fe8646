"""Tokens a second of every engine on one policy, in one run: SmolLM2-135M-Instruct, 32 chat prompts, 16 samples of 48 tokens, T = 1.

    python benchmarks/engines/throughput.py [--quick] [--threads 2]

Each engine runs in a process of its own, so that neither threads nor peaks of memory mix. The baseline is what a user would
write: `model.generate(num_return_sequences=16, do_sample=True)`, one prompt at a time, in float32.
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
from pathlib import Path

HERE = Path(__file__).parent
POLICY = "smollm2-135m-instruct"
SAMPLES, NEW_TOKENS = 16, 48
CASES = ("generate float32", "hf float32", "hf bfloat16", "openvino float32", "openvino bfloat16")
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


def measure(case: str, n_prompts: int, threads: int) -> dict:
    """Run one case in this process: generated tokens, seconds, peak memory."""
    import torch

    torch.set_num_threads(threads)
    kind, dtype = case.split()
    run = _generate(dtype) if kind == "generate" else _engine(kind, dtype)
    run(prompts(1), 4)  # warm up
    start = time.perf_counter()
    tokens = run(prompts(n_prompts), NEW_TOKENS)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "case": case,
        "prompts": n_prompts,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_gib": peak,
    }


def _generate(dtype: str):
    import torch

    from flatspot.engines import load_policy

    policy = load_policy(POLICY, dtype=dtype, device="cpu")

    def run(chats, new_tokens):
        n = 0
        for chat in chats:
            inputs = policy.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
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
            drawn = out[:, inputs["input_ids"].shape[1] :]
            ends = (drawn == policy.eos_ids[0]).int().argmax(-1)
            n += sum(int(end) + 1 if row[end] == policy.eos_ids[0] else len(row) for row, end in zip(drawn, ends, strict=True))
        return n

    return run


def _engine(kind: str, dtype: str):
    from flatspot.core.records import Request, Sampling
    from flatspot.core.seeds import row_seed
    from flatspot.engines import load_engine

    engine = load_engine(kind, POLICY, dtype=dtype, device="cpu")
    if engine.name != kind:
        raise SystemExit(f"asked for {kind}, got {engine.name}: {engine.notes}")

    def run(chats, new_tokens):
        counted = []
        requests = [Request(chat, tuple(row_seed(0, str(i), j) for j in range(SAMPLES))) for i, chat in enumerate(chats)]
        engine.sample(requests, Sampling(max_new_tokens=new_tokens), counted.append)
        return sum(counted)

    return run


def matmul_gflops(dtype: str, threads: int) -> float:
    """The machine's own rate on a product of the shape decoding needs: [256, 576] · [576, 49152] and a square one; the better."""
    import torch

    torch.set_num_threads(threads)
    best = 0.0
    for m, k, n in ((256, 576, 49152), (1024, 1024, 1024)):
        a, b = torch.randn(m, k, dtype=getattr(torch, dtype)), torch.randn(k, n, dtype=getattr(torch, dtype))
        torch.mm(a, b)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            torch.mm(a, b)
            times.append(time.perf_counter() - start)
        best = max(best, 2 * m * k * n / statistics.median(times) / 1e9)
    return best


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def in_a_process(*arguments: str) -> dict | float:
    command = [sys.executable, __file__, *arguments]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def table(results: dict) -> str:
    base = next(row["tokens_per_second"] for row in results["rows"] if row["case"] == "generate float32")
    lines = ["| engine | prompts | tokens/s | of generate | of the arithmetic limit | peak GiB |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        limit = results["gflops"][row["case"].split()[1]] / results["gflop_per_token"]
        speed = row["tokens_per_second"]
        lines.append(
            f"| {row['case']} | {row['prompts']} | {speed:.0f} | {speed / base:.1f}× | {speed / limit:.0%} | {row['peak_gib']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 prompts instead of 32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="*", default=CASES, help="which of: " + ", ".join(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--prompts", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--gflops", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.gflops:
        print(json.dumps(matmul_gflops(args.gflops, args.threads)))
        return
    if args.case:
        print(json.dumps(measure(args.case, args.prompts, args.threads)))
        return
    from flatspot.engines import load_policy
    from flatspot.engines.prompts import encode

    policy = load_policy(POLICY)  # converts it now, outside the measurements
    lengths = [len(encode(policy, chat)) for chat in prompts(32)]
    results: dict = {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count()},
        "policy": POLICY,
        "prompt_tokens": [min(lengths), max(lengths)],
        "samples": SAMPLES,
        "new_tokens": NEW_TOKENS,
        "gflop_per_token": 2 * parameters(policy.model.config) / 1e9,
        "gflops": {dtype: in_a_process("--gflops", dtype, "--threads", str(args.threads)) for dtype in ("float32", "bfloat16")},
        "rows": [],
    }
    del policy
    for case in args.cases:
        # the baseline is slow and its rate does not depend on how many prompts follow one another
        n = 4 if case.startswith("generate") else 8 if args.quick else 32
        load = os.getloadavg()[0]
        row = in_a_process("--case", case, "--prompts", str(n), "--threads", str(args.threads))
        # this run itself adds up to `threads`: anything above means that others computed at the same time
        row["load_before"], row["load_after"] = round(load, 1), round(os.getloadavg()[0], 1)
        results["rows"].append(row)
        print(f"{case}: {row['tokens_per_second']:.0f} tokens/s", file=sys.stderr)
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    gflops = ", ".join(f"{rate:.0f} GFLOP/s {dtype}" for dtype, rate in results["gflops"].items())
    print(f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {gflops}; {results['gflop_per_token']:.3f} GFLOP a token\n")
    print(table(results))


if __name__ == "__main__":
    main()

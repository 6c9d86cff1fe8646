"""Made-up runs of any size, and one headless browser for the session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flatspot.core.schema import PROMPTS, ROLLOUTS, VERDICTS, arrow_schema
from flatspot.report.blocks import ReportData
from flatspot.runs.summary import Summary

NAMES = ("learnable", "vanishing", "solved", "undecided", "unscored")
CHROMIUM_ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def build(
    n: int, *, seed: int = 0, answers: int = 8, kind: str = "binary", text: Callable[[int, int], str] | None = None, **changes: Any
) -> ReportData:
    """A run of n prompts: 0/1 rewards (`binary`), real ones (`real`), one value (`equal`) or none (`unscored`)."""
    rng = np.random.default_rng(seed)
    verdict_rows, prompt_rows, rollout_rows = [], [], []
    for i in range(n):
        rewards = _rewards(rng, kind, answers)
        row = _verdict(f"{i:016x}", rewards)
        verdict_rows.append(row)
        question = f"Prompt {i}: a train leaves at {i % 24} o'clock and covers {i * 7 % 300} km. When does it arrive, and why?"
        chat = i % 3 == 0
        content = (
            json.dumps([{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": question}]) if chat else question
        )
        prompt_rows.append({"prompt_id": row["prompt_id"], "prompt": content, "is_chat": chat, "columns": "{}", "reference_reward": None})
        for k, reward in enumerate(rewards if i < 2_000 else []):
            said = text(i, k) if text else f"Answer {k}.\nThe train arrives at {int(rng.integers(24))} o'clock."
            rollout_rows.append(_rollout(row["prompt_id"], k, said, reward))
    return ReportData(
        summary=Summary.from_json({**_summary(verdict_rows, answers), **changes}),
        verdicts=pa.Table.from_pylist(verdict_rows, schema=arrow_schema(VERDICTS)),
        prompts=pa.Table.from_pylist(prompt_rows, schema=arrow_schema(PROMPTS)),
        completions=pa.Table.from_pylist(rollout_rows, schema=arrow_schema(ROLLOUTS)),
    )


def _rewards(rng: np.random.Generator, kind: str, answers: int) -> list[float | None]:
    if kind == "unscored":
        return [None] * answers
    if kind == "equal":
        return [0.0] * answers
    if kind == "real":
        center, spread = rng.beta(1, 1.4), rng.choice([0.004, 0.1, 0.2])
        return [float(x) for x in np.clip(rng.normal(center, spread, answers), 0, 1)]
    p = rng.choice([0.0, 1.0, rng.beta(0.6, 1.1)], p=[0.35, 0.1, 0.55])
    found: list[float | None] = [float(x) for x in rng.random(answers) < p]
    return [None] * answers if rng.random() < 0.03 else found


def _verdict(prompt_id: str, rewards: list[float | None]) -> dict[str, Any]:
    scored = [r for r in rewards if r is not None]
    mean = float(np.mean(scored)) if scored else None
    std = float(np.std(scored, ddof=1)) if len(scored) > 1 else None
    name = (
        "unscored"
        if mean is None or std is None
        else "learnable"
        if std > 0.12
        else "solved"
        if mean > 0.9
        else "vanishing"
        if mean < 0.7
        else "undecided"
    )
    if name == "learnable" and int(prompt_id, 16) % 11 == 0:
        name = "undecided"
    why = {
        "learnable": f"{sum(1 for r in scored if r)} of {len(scored)} answers earned something; the std is well above the threshold.",
        "vanishing": f"All {len(scored)} answers earned about the same low reward; at most 4% of answers would earn more.",
        "solved": f"All {len(scored)} answers earned the top of the range.",
        "undecided": "The answers so far allow both learnable and vanishing; 24 more would tell.",
        "unscored": "The reward failed on every answer.",
    }[name]
    return {
        "prompt_id": prompt_id,
        "verdict": name,
        "error_probability": 0.02,
        "n_samples": len(rewards),
        "n_scored": len(scored),
        "mean": mean,
        "std": std,
        "std_lo": std and std * 0.7,
        "std_hi": None if std is None else std * 1.4 + 0.1,
        "r_star": 1.0,
        "best_of_k": None if mean is None else max(scored),
        "gain": None if mean is None else max(scored) - mean,
        "reach": (1 - mean) / std if mean is not None and std else None,
        "p_mixed": None if mean is None else 1 - mean**8 - (1 - mean) ** 8,
        "distinct_share": 0.9,
        "truncated_share": 0.0,
        "mean_tokens": 18.0,
        "why": why,
        "component_mean": {} if mean is None else {"accuracy": mean, "format": 0.5},
        "component_std": {} if std is None else {"accuracy": std, "format": std / 2},
    }


def _rollout(prompt_id: str, k: int, said: str, reward: float | None) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "completion": said,
        "sample_idx": k,
        "reward": reward,
        "rewards": {"accuracy": reward, "format": 0.5},
        "error": "TimeoutError: no reward after 10 s" if reward is None else None,
        "truncated": k == 3,
        "n_tokens": 10 + k,
        "policy": "model",
    }


def _summary(rows: list[dict[str, Any]], answers: int) -> dict[str, Any]:
    n = len(rows)
    counts = {name: sum(row["verdict"] == name for row in rows) for name in NAMES}
    fractions = {
        k: {"mean": c / n if n else None, "lo": max(0, c / n - 0.06) if n else None, "hi": min(1, c / n + 0.07) if n else None}
        for k, c in counts.items()
    }
    stds = [row["std"] for row in rows if row["std"] is not None] or [0.0]
    return {
        "schema_version": 1,
        "source": "diagnose",
        "verdict": "warm-up",
        "reason": f"{counts['vanishing']} of {n} prompts vanish: their answers earn almost the same low reward, and RL gets no gradient.",
        "rule": "vanishing share 34% [28–41%] is above 25%",
        "n_prompts": n,
        "counts": counts,
        "fractions": fractions,
        "reward": {
            "range": [0.0, 1.0],
            "mean": 0.31,
            "std": {
                "p10": float(np.quantile(stds, 0.1)),
                "p50": float(np.median(stds)),
                "mean": float(np.mean(stds)),
                "share_below_0.05": 0.44,
            },
        },
        "components": {"accuracy": {"mean": 0.31, "std_mean": 0.21}, "format": {"mean": 0.5, "std_mean": 0.1}},
        "generations": {"total": n * answers, "per_prompt": float(answers), "tokens": n * answers * 17},
        "predicted_error": 0.028,
        "epsilon": 0.05,
        "group_size": 8,
        "reach_threshold": 4.36,
        "reward_model": "binary",
        "mixed_threshold": 0.34,
        "gain_threshold": 0.025,
        "forecast": {
            "4": {"informative": 0.31, "lo": 0.25, "hi": 0.38},
            "8": {"informative": 0.42, "lo": 0.35, "hi": 0.49},
            "16": {"informative": 0.5, "lo": 0.42, "hi": 0.58},
            "32": {"informative": 0.56, "lo": 0.46, "hi": 0.65},
        },
        "health": {
            "distinct_share": 0.93,
            "truncated_share": 0.12,
            "error_share": 0.03,
            "errors": [{"error": "TimeoutError: no reward after 10 s", "count": 16}],
        },
        "caveats": [
            "Sampled at temperature 1.0 with at most 256 new tokens; other settings give other verdicts.",
            "12% of the answers were cut by the token limit, which may lower their reward.",
        ],
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 256, "seed": 0},
        "settings": {
            "prompts": "prompts.jsonl",
            "model": "smollm2-135m-instruct",
            "reward": "my.py:fn",
            "out": "runs/demo",
            "target_error": 0.03,
            "max_completions": 64,
        },
        "engine": {"name": "scripted", "dtype": "float32"},
        "provenance": {"flatspot": "0.1.0", "python": "3.12.3", "created": "2026-01-02T03:04:05+00:00", "packages": {"numpy": "2.1.0"}},
    }


@pytest.fixture(scope="session")
def make_report() -> Callable[..., ReportData]:
    return build


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no `chromium` on PATH: the report's browser tests need one (Debian: apt install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the report's browser tests need playwright: pip install 'flatspot[dev]'")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield found
        found.close()


@pytest.fixture
def open_report(open_file: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Writes a report and opens it."""
    from flatspot.report.run.html import write_html

    def opened(data: ReportData, **options: Any) -> Any:
        write_html(data, tmp_path / "report.html")
        return open_file(tmp_path / "report.html", **options)

    return opened


@pytest.fixture
def open_file(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page from its file; `page.trouble` collects whatever the page should not have done."""
    contexts = []

    def opened(path: Path, *, ready: bool = True, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        trouble: list[str] = []
        page.on(
            "console",
            lambda message: trouble.append(f"console {message.type}: {message.text}") if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: trouble.append(f"exception: {error}"))
        page.on(
            "request",
            lambda request: trouble.append(f"request: {request.url[:80]}") if not request.url.startswith(("file:", "data:")) else None,
        )
        page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
        page.trouble = trouble
        page.goto(path.as_uri())
        if ready:
            page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()

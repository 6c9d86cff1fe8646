"""The runs as tables: results/runs.parquet, results/summary.json, and the tables on the screen.

python summary.py
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from arms import FIVE_PERCENT, FULL, RL, STRATEGIES, WARMUP, heuristics
from run import RESULTS, read
from setting import ORACLE_STEPS, TASKS

Row = Mapping[str, Any]


def main() -> None:
    """Write the tables and print them."""
    rows = read()
    plain = [{name: value for name, value in row.items() if name != "curve"} for row in rows]
    columns = list(dict.fromkeys(name for row in plain for name in row))
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in plain]), RESULTS.with_suffix(".parquet"))
    tables = summary(rows)
    (RESULTS.parent / "summary.json").write_text(json.dumps(tables, indent=1) + "\n", "utf-8")
    print(json.dumps(tables, indent=1))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that the page and the targets are built on, by task."""
    return {task: of_task([row for row in rows if row["task"] == task]) for task in TASKS}


def of_task(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean and range over seeds of each arm; the targets; the oracle against the stopping rules; the strategies."""
    arms: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        arms[row["arm"]].append(row)
    return {
        "arms": {name: spread(several) for name, several in arms.items()},
        "targets": targets(arms),
        "stopping": stopping(rows),
        "strategies": strategies(rows),
    }


def spread(rows: Sequence[Row]) -> dict[str, Any]:
    """Reward after RL over seeds, and what it started from."""
    numbers: dict[str, Any] = {"seeds": len(rows), "labels": rows[0]["labels"], "sft_steps": rows[0]["sft_steps"]}
    for name in ("reward", "reward_held_out", "start_reward", "start_flat", "chosen_step", "probe_generations", "rl_seconds"):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            numbers[name] = {"mean": _round(np.mean(values)), "min": _round(min(values)), "max": _round(max(values))}
    return numbers


def targets(arms: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Warm-up against full SFT, and how much of the gain each heuristic recovers, in means over the seeds that both have."""
    alone, full = (_mean(arms.get(arm.name, ())) for arm in (RL, FULL))
    shares: dict[str, Any] = {"rl": alone, "full": full}
    if alone is None or full is None:
        return shares
    warm = _mean(arms.get(WARMUP.name, ()))
    if warm is not None:
        shares |= {"warmup": warm, "warmup_of_full": _round(warm / full)}
    gain = full - alone
    recovered = {arm.name: _mean(arms.get(arm.name, ())) for arm in heuristics()}
    shares["heuristics_recover"] = {
        name: _round((value - alone) / gain) for name, value in recovered.items() if value is not None and gain > 0
    }
    return shares


def stopping(rows: Sequence[Row]) -> dict[str, Any]:
    """Per seed with all checkpoints: the reward after RL of the best one, and of the one that each rule takes."""
    by_seed: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["kind"] == "oracle":
            by_seed[row["seed"]][row["sft_steps"]] = row
    ours = {row["seed"]: row for row in rows if row["arm"] == WARMUP.name}
    file = RESULTS.parent / "few_labels.json"
    few = json.loads(file.read_text("utf-8")) if file.exists() else {}
    seeds: list[dict[str, Any]] = []
    for seed, steps in sorted(by_seed.items()):
        if set(steps) != set(ORACLE_STEPS):
            continue
        points = [steps[step] | {"loss_of_two": few.get(f"{steps[step]['task']} {seed} {step}", math.inf)} for step in ORACLE_STEPS]
        row: dict[str, Any] = {"seed": seed, "best": max(point["reward"] for point in points)}
        row["rewards"] = {str(point["sft_steps"]): _round(point["reward"]) for point in points}
        for name, key in _RULES.items():
            pick = max(points, key=key)
            row[name], row[f"{name}_step"] = pick["reward"], pick["sft_steps"]
        if seed in ours:
            row["ours"], row["ours_step"] = ours[seed]["reward"], ours[seed]["chosen_step"]
        seeds.append({name: _round(value) if isinstance(value, float) else value for name, value in row.items()})
    full = [row for row in seeds if "ours" in row]
    names = ("best", "ours", *_RULES)
    against = {name: [row["ours"] - row[name] for row in full] for name in _RULES}
    return {
        "seeds": seeds,
        "ours_minus": {
            name: {"mean": _round(np.mean(values)), "standard_error": _error(values)} for name, values in against.items() if values
        },
        "means": {name: _round(np.mean([row[name] for row in full])) for name in names} if full else {},
        "ours_within_5%": sum(row["ours"] >= 0.95 * row["best"] for row in full),
        "of": len(full),
    }


# what a rule likes; the first of equal checkpoints is taken
_RULES: Mapping[str, Callable[[Row], float]] = {
    "best_validation_loss": lambda row: -row["validation_loss"],
    "best_loss_of_two": lambda row: -row["loss_of_two"],
    "best_sft_accuracy": lambda row: row["sft_accuracy"],
    "last": lambda row: row["sft_steps"],
}


def strategies(rows: Sequence[Row]) -> dict[str, Any]:
    """Reward after RL by strategy and labels, and its difference to random labels, paired over seeds."""
    table: dict[str, Any] = {}
    for labels in (4, FIVE_PERCENT):
        by = {name: {row["seed"]: row["reward"] for row in rows if row["arm"] == f"labels {name} {labels}"} for name in STRATEGIES}
        for name, values in by.items():
            if not values:
                continue
            pairs = [values[seed] - by["random"][seed] for seed in values if seed in by["random"]]
            table[f"{name} {labels}"] = {
                "seeds": len(values),
                "reward": _round(np.mean(list(values.values()))),
                "against_random": _round(np.mean(pairs)) if pairs else None,
                "standard_error": _error(pairs),
            }
    return table


def _mean(rows: Iterable[Row]) -> float | None:
    values = [row["reward"] for row in rows]
    return _round(np.mean(values)) if values else None


def _error(values: Sequence[float]) -> float | None:
    """Standard error of a mean."""
    return _round(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _round(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()

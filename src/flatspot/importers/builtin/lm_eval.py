"""lm-eval's samples, with `--log_samples`: a row per document and filter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.sql import literal
from flatspot.importers.arranged import ONE_POLICY, Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import at, dict_of, list_of, nested_blocks
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import file_blocks
from flatspot.rollouts.notes import Caveat

_NAME = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT.*")
_TITLE = "lm-eval"
_METRIC = "metric."


def _told(sample: Sample) -> str | None:
    return "" if sample.has("doc_id", "resps", "filtered_resps", "arguments") else None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    named = _NAME.fullmatch(path.stem)
    task = named[1] if named else path.stem

    def rows(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        request = dict_of(at(row.get("arguments"), "gen_args_0")) or _old_request(row.get("arguments"))
        options = request.get("arg_1")
        draws = list_of(at(row.get("resps"), 0))
        metrics = [name for name in list_of(row.get("metrics")) if isinstance(name, str)] or _metrics(row)
        own = row.get("doc_hash") or json.dumps(row.get("doc_id"))
        yield {
            "model": path.parent.name,
            "task": task,
            "document": f"{task}/{own}" if isinstance(own, str) else None,
            "draws": len(draws) if isinstance(at(row.get("resps"), 0), list) else 0,
            "sampled": _sampled(options),
            "filter": row.get("filter", "none"),
            "prompt": request.get("arg_0") if isinstance(request.get("arg_0"), str) else None,
            "completion": draws[0] if draws and isinstance(draws[0], str) else None,
            "target": row.get("target"),
            "doc": row.get("doc"),
            "split": EVALUATION,
            "metrics": ", ".join(metrics),
            **{_METRIC + name: row.get(name) for name in metrics},
        }

    for block in file_blocks(path, notices):
        yield from nested_blocks(path, notices, list(block.columns), rows, [block])


def _old_request(arguments: Any) -> dict[str, Any]:
    """The request of an older file: a list of (text, options)."""
    first = at(arguments, 0)
    return {"arg_0": at(first, 0), "arg_1": at(first, 1)} if isinstance(first, list) else {}


def _metrics(row: Mapping[str, Any]) -> list[str]:
    own = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"}
    return [name for name, value in row.items() if name not in own and isinstance(value, int | float)]


def _sampled(options: Any) -> bool:
    """Whether completions were sampled: not where options are a continuation to be scored, nor at temperature 0."""
    if not isinstance(options, dict) or options.get("do_sample") is False:
        return False
    temperature = options.get("temperature")
    return (temperature is None and options.get("do_sample") is True) or (isinstance(temperature, int | float) and temperature > 0)


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    _refuse_unsampled(log)
    caveats: list[Caveat] = []
    named = {name: name.removeprefix(_METRIC) for name in log.types if name.startswith(_METRIC)}
    of_task = _metric_of_each_task(log, log.numeric(list(named)))
    if not of_task:
        none = f"None of its metrics ({', '.join(named.values()) or 'there is none'}) is a number."
        raise refusal(log.files, _TITLE, none, "Choose a task with one, such as exact_match.")
    reward = (
        "CASE " + " ".join(f"WHEN {log.text('task')} = {literal(task)} THEN {log.number(name)}" for task, name in of_task.items()) + " END"
    )
    metric, metrics = ", ".join(named[name] for name in dict.fromkeys(of_task.values())), ", ".join(named.values())
    filters = [row[0] for row in log.db.execute(f"SELECT {log.text('filter')} FROM log GROUP BY 1 ORDER BY min((_file, _row))").fetchall()]
    if len(filters) > 1 or len(named) > 1:
        text = f"The reward is the metric {metric} (of {metrics}) after the filter {filters[0]} (of {', '.join(map(str, filters))})."
        caveats.append(("several-scorers", text))
    filtered = f"{log.text('filter')} IS NOT DISTINCT FROM {'NULL' if filters[0] is None else literal(filters[0])}"
    _refuse_single_draws(log, filtered)
    return Arranged(
        names={column: column for column in ("prompt", "completion", "split") if log.has(column)} | {"reward": "reward"},
        policy=ONE_POLICY,  # logs of several models are refused
        group_by=("document",),
        derived={"split": log.text("split"), "reward": reward},
        dropped=("draws", "sampled", "metrics", "model"),
        where=filtered,
        caveats=caveats,
    )


def _metric_of_each_task(log: Log, numeric: Sequence[str]) -> dict[str, str]:
    """Task → the first of its metrics that is a number; empty where a task has none."""
    task = log.text("task")
    facts = ", ".join(f"count({log.number(name)})" for name in numeric)
    if not facts:
        return {}
    found = {}
    for own, *counts in log.db.execute(f"SELECT {task}, {facts} FROM log GROUP BY 1 ORDER BY 1").fetchall():
        first = next((name for name, n in zip(numeric, counts, strict=True) if n), None)
        if own is None or first is None:
            return {}
        found[own] = first
    return found


def _refuse_unsampled(log: Log) -> None:
    """Refuse metrics that stand for several responses, and answers that another run repeats."""
    draws, n, sampled, models = log.one(
        f"""SELECT max({log.number("draws")}), count(*), count_if({log.text("sampled")} = 'true'), count(DISTINCT {log.text("model")})
            FROM log"""
    )
    if draws > 1:
        raise refusal(
            log.files,
            _TITLE,
            f"It has {draws:.0f} responses to each document and one metric for all of them, of the first or of the majority.",
            "Run it that many times with repeats: 1, and inspect the samples of all runs; or score the responses: write a row for each "
            "text of resps with its target, and flatspot rescore.",
        )
    if sampled < n:
        raise refusal(
            log.files,
            _TITLE,
            f"On {n - sampled:.0f} of {n:,} rows nothing was sampled (temperature 0, or choices that are compared): further runs "
            "repeat the same answer.",
            "Run it with do_sample=true,temperature=1 (--gen_kwargs), several times.",
        )
    if models > 1:
        raise refusal(log.files, _TITLE, f"It has samples of {models} models.", "Inspect the folder of one.")


def _refuse_single_draws(log: Log, where: str) -> None:
    """Refuse one completion of each document, and runs that repeat one another."""
    texts = f"count(DISTINCT {log.text('completion')}) AS texts"
    documents = f"SELECT count(*) AS n, {texts} FROM log WHERE {where} GROUP BY {log.text('document')}"
    most, several = log.one(f"SELECT max(n), max(texts) FROM ({documents})")
    if most < 2:
        raise refusal(
            log.files,
            _TITLE,
            "It has one completion of each document.",
            "Run it several times with a temperature above 0 and another seed, and inspect the samples of all runs.",
        )
    if several < 2:
        raise refusal(
            log.files, _TITLE, "Its runs repeat the same answers.", "Give each run another seed (--seed), and a temperature above 0."
        )


LM_EVAL = Format(
    name="lm-eval",
    title=_TITLE,
    writers="lm-eval 0.4 with `--log_samples`, several sampled runs",
    files="`MODEL/samples_TASK_2026-11-29T20-44-55.523669.jsonl`",
    hides={
        "several-scorers": "a row per filter, and several metrics: one of each is judged",
        "evaluation-split": "an evaluation's documents",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)

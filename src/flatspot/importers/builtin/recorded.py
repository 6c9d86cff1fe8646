"""flatspot's own recordings of the calls of a reward (`flatspot.record`), under any trainer: JSON lines, a file per process."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.recording import MEMBERS, VERSION
from flatspot.core.sql import literal
from flatspot.importers import cells
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import dict_of, nested_blocks
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.rollouts.notes import Caveat

_REWARD = "reward of "  # and the name of the function, as a column
_PLAIN = ("id", "prompt", "completion", "error", "step", "split", "group", "truncated", "n_tokens")
_UNNAMED, _TRAINER = "flatspot_unnamed", "flatspot_trainer"
_NAMES = "flatspot_rewards"  # which functions gave a row its rewards
_WEIGHTS = "flatspot_weights"
_TIME = "flatspot_time"


def _told(sample: Sample) -> str | None:
    if not sample.has(VERSION, "id", "rewards"):
        return None
    return str(sample.first.get("trainer") or "")


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    return nested_blocks(path, notices, MEMBERS, _rows)


def _rows(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if VERSION not in line:
        return
    rewards = dict_of(line.get("rewards"))
    further = {name: value for name, value in dict_of(line.get("columns")).items() if name not in _PLAIN}
    weights = line.get("weights")
    yield {
        **further,
        **{name: line.get(name) for name in _PLAIN},
        **{f"{_REWARD}{name}": value for name, value in rewards.items()},
        _NAMES: json.dumps(sorted(rewards)),
        _UNNAMED: line.get("unnamed"),
        _TRAINER: line.get("trainer"),
        _WEIGHTS: weights and json.dumps(weights),
        _TIME: line.get("time"),
    }


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    columns = [name for name in log.types if name.startswith(_REWARD)]
    if log.one(f"SELECT count(DISTINCT {log.text(_NAMES)}) FROM log")[0] > 1:
        raise refusal(
            log.files,
            "flatspot",
            f"Its rows are of several rewards that were recorded apart ({', '.join(c.removeprefix(_REWARD) for c in columns)}), so no row "
            "has their sum.",
            "Record them in one call, flatspot.record([first, second], out=…), or each in a folder of its own.",
        )
    named = {column: _free(column.removeprefix(_REWARD), log) for column in columns}
    names: dict[str, str | tuple[str, ...]] = {"reward": tuple(named.values()), "prompt": "prompt", "completion": "completion"}
    names |= {"fixed": "fixed"} | {name: name for name in ("error", "step", "split", "truncated", "n_tokens") if log.has(name)}
    begins, again = _trainings(log)
    weights, unsure = _weights(log, columns)
    training = " ".join(f"WHEN _file = {literal(file)} THEN '{number}'" for file, number in begins.items())
    derived = {}
    if again:
        names["drawn_with"], derived["drawn_with"] = "drawn_with", f"concat_ws(' ', {log.text('group')}, CASE {training} END)"
    elif log.has("group"):
        names["drawn_with"] = "group"
    derived |= {own: cells.name(column) for column, own in named.items()} | {"fixed": "true"}
    derived |= {"split": log.text("split")} if log.has("split") else {}
    return Arranged(
        names=names,
        group_by=("id",),
        weights=weights,
        derived=derived,
        dropped=(*columns, *(("group",) if again and log.has("group") else ()), _NAMES, _WEIGHTS, _UNNAMED, _TRAINER, _TIME),
        survivors="never",  # a reward is called before anything is dropped
        caveats=[*_unsaid(log), *again, *unsure],
    )


def _trainings(log: Log) -> tuple[Mapping[str, int], list[Caveat]]:
    """(file → the number of its training, from 0, the caveat where there are several).

    A training that is resumed, or another one, writes files of its own, after those before it had ended, and from an earlier step on. The
    processes of one training write at the same time.
    """
    if not log.has("step", _TIME):
        return {}, []
    step, now = log.number("step"), log.number(_TIME)
    facts = f"min({now}), max({now}), min({step}), max({step})"
    rows = log.db.execute(f"SELECT _file, {facts} FROM log WHERE {step} IS NOT NULL GROUP BY _file ORDER BY min({now}), _file").fetchall()
    number, ended, reached = 0, -math.inf, -math.inf
    begins: dict[str, int] = {}
    lowest, highest = math.inf, -math.inf
    for file, began, end, first, last in rows:
        if began > ended and first < reached:
            number += 1
            lowest, highest = min(lowest, first), max(highest, reached)
            reached = last
        begins[file], ended, reached = number, max(ended, end), max(reached, last)
    if not number:
        return begins, []
    text = (
        f"The recording is of {number + 1} trainings, or of one that was resumed: step {highest:.0f} had been reached when processes that "
        f"began later recorded step {lowest:.0f} and those after it. A step may hold rows of several policies: record each training into a "
        "folder of its own."
    )
    return begins, [("several-policies", text)]


def _free(name: str, log: Log) -> str:
    """A column of this name that the log has not."""
    return name if name not in log.types else _free(f"{name} (reward)", log)


def _weights(log: Log, columns: Sequence[str]) -> tuple[tuple[float, ...] | None, list[Caveat]]:
    """(the weights that all rows state, the caveat where they state different ones)."""
    if not log.has(_WEIGHTS) or len(columns) < 2:
        return None, []
    rows = log.db.execute(f"SELECT {log.text(_WEIGHTS)}, count(*) FROM log GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    if len(rows) > 1:
        some = ", ".join(f"{'none' if not stated else _shown(json.loads(stated))} on {n:,} rows" for stated, n in rows[:3])
        text = (
            f"The recording states different weights of its rewards ({some}{' …' if len(rows) > 3 else ''}), so none is used: state the "
            "weights with --reward-weight, or record each training into a folder of its own."
        )
        return None, [("weights-assumed", text)]
    weights = json.loads(rows[0][0]) if rows and rows[0][0] else {}
    return (tuple(weights[c.removeprefix(_REWARD)] for c in columns) if len(weights) == len(columns) else None), []


def _shown(weights: Mapping[str, float]) -> str:
    return " and ".join(f"{weight:g} × {name}" for name, weight in weights.items())


def _unsaid(log: Log) -> list[Caveat]:
    """What the trainer did not pass to the reward, and what follows."""
    caveats: list[Caveat] = []
    unnamed, verl, n = log.one(f"SELECT count({log.text(_UNNAMED)}), count_if({log.text(_TRAINER)} = 'verl'), count(*) FROM log")
    if unnamed:
        text = (
            f"On {unnamed:,} of {n:,} rows the trainer passed nothing that names the prompt, so prompts with the same answer count as one: "
            'their rewards differ for more than the policy. Give the data set\'s extra_info an index, as in {"index": 7}.'
        )
        caveats.append(("unnamed-prompts", text))
    elif verl:
        text = "verl passes no prompt to a reward: prompts are told apart by data_source, ground_truth, and extra_info's index or question."
        caveats.append(text)
    if not log.has("step") or not log.one(f"SELECT count({log.text('step')}) FROM log")[0]:
        text = "The trainer passes no step to a reward, so all rows are judged together, as if one policy had drawn them."
        caveats.append(("several-policies", text))
    if not log.has("split"):
        text = (
            "The trainer does not pass to a reward whether it evaluates: completions of evaluations are among the rows, if there were any."
        )
        caveats.append(("evaluation-rows", text))
    return caveats


RECORDED = Format(
    name="flatspot",
    title="flatspot's recording",
    writers="`flatspot.record` around a reward of verl, OpenRLHF, ms-swift or TRL",
    files="`RUN/recorded/*.jsonl`: one per process",
    hides={
        "several-policies": "verl and OpenRLHF pass no step to a reward",
        "evaluation-rows": "nothing tells a reward that the trainer evaluates, but for the split in verl's extra_info",
        "weights-assumed": "the weights of several rewards, unless whoever records states them",
        "length-penalty": "what the trainer adds to the reward is not in it, such as verl's overlong penalty",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)

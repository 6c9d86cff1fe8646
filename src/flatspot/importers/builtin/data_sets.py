"""Data sets that look like logs: open-r1's, with the rewards of each prompt's completions, and those with a rate or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flatspot.core.shares import noun
from flatspot.importers import cells
from flatspot.importers.arranged import ONE_POLICY, Arranged, Log
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.columns import USUAL_NAMES
from flatspot.importers.sample import Sample
from flatspot.readers.files import JSON_LINES, PARQUET

_RATE = re.compile(r"(?:^|_)(?:solve|pass)_?rate(?:_|$)|^difficulty$", re.IGNORECASE)
_REWARDS = ("reward", "rewards", "score", "scores")
_DRAWN = ("completion", "completions", "response", "responses", "output", "outputs", "generation", "generations")  # a log has them
_REWARD_COLUMN, _COMPLETIONS = "pass_rate_rewards", "pass_rate_generations"


def _told_open_r1(sample: Sample) -> str | None:
    return "" if sample.columns.get(_REWARD_COLUMN, "").startswith(("list", "large_list")) else None


def _told_server(sample: Sample) -> str | None:
    columns = sample.columns
    texts = columns.get("responses", "")
    if not (texts.startswith(("list", "large_list")) and "string" in texts and columns.get("reward_model", "").startswith("struct")):
        return None
    return None if any(kind.startswith(("list", "large_list")) and "double" in kind for kind in columns.values()) else ""


def _told_rate(sample: Sample) -> str | None:
    names = sample.columns or (sample.first if sample.ending in (*JSON_LINES, PARQUET) else {})
    rates = [name for name in names if _RATE.search(name)]
    if not rates or any(name.lower() in (*_REWARDS, *_DRAWN) for name in names):
        return None
    scalar = [name for name in rates if "list" not in str(sample.columns.get(name, "")) and not isinstance(sample.first.get(name), list)]
    return scalar[0] if scalar else None


def _arrange_open_r1(log: Log, _: Sequence[str]) -> Arranged:
    rewards, texts = cells.name(_REWARD_COLUMN), cells.name(_COMPLETIONS)
    if log.has(_COMPLETIONS):
        wrong = log.one(f"SELECT count_if(len({rewards}) <> len({texts})) FROM log")[0]
        if wrong:
            raise refusal(
                log.files,
                "open-r1",
                f"On {noun(wrong, 'row')} there are not as many rewards as completions, as where a script had several reward functions.",
                "Compute the pass rates with one reward function.",
            )
    prompt = next((name for usual in USUAL_NAMES["prompt"] for name in log.types if name.lower() == usual), None)
    if prompt is None:
        raise refusal(log.files, "open-r1", "It has no column that is known to be the prompt.", "Name it: --format generic --prompt-col.")
    names = {"prompt": prompt, "reward": _REWARD_COLUMN} | ({"completion": _COMPLETIONS} if log.has(_COMPLETIONS) else {})
    return Arranged(names=names, layout="wide", survivors="assumed", policy=ONE_POLICY)


def _no_rewards(log: Log, _: Sequence[str]) -> Arranged:
    raise refusal(
        log.files,
        "verl's generation server",
        "It has responses without rewards.",
        "Score them: each row's reward_model.ground_truth is the reference of its responses; or draw and score in one: flatspot diagnose.",
    )


def _no_rollouts(log: Log, variants: Sequence[str]) -> Arranged:
    column = variants[0] if variants else "a rate"
    raise refusal(
        log.files,
        f"no trainer, but a data set with a pass rate per prompt (`{column}`)",
        "It is the mean of another policy's rewards, and no rollout of yours: it shows no group, and may not be read as a reward.",
        "Draw completions of these prompts from your policy: flatspot diagnose.",
    )


OPEN_R1 = Format(
    name="open-r1",
    title="open-r1's pass rates",
    writers="open-r1's `compute_pass_rate.py`",
    files="`data/train-00000-of-00001.parquet` with `pass_rate_rewards`",
    hides={"survivors-only": "the filtered revision: told by there being no flat prompt"},
    told_by=_told_open_r1,
    arrange=_arrange_open_r1,
)
GENERATION_SERVER = Format("verl", "verl's generation server", "verl's generation server", "`*.parquet`", {}, _told_server, _no_rewards)
PASS_RATE = Format("open-r1", "a pass rate per prompt", "data sets with pass rates", "`*.parquet`, `*.jsonl`", {}, _told_rate, _no_rollouts)

"""verl's dumps of rollouts and of validations: JSON lines, a file per step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flatspot.core.shares import noun
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.parts import fit_parts
from flatspot.importers.sample import Sample
from flatspot.rollouts.notes import Caveat

_OWN = ("input", "output", "gts", "score", "step", "uid", "reward", "request_id", "pred", "timeout", "error", "overlong", "_file", "_row")
_UID = "^(.*)_([0-9]+)_([0-9]+)$"
_FEWEST = 20  # rows with a `pred`, from which on it is compared with the output


def _told(sample: Sample) -> str | None:
    if not sample.has("input", "output", "score", "step"):
        return None
    kind = "V1" if "uid" in sample.first else "V0"
    return f"{kind} validation" if "reward" in sample.first else f"{kind} training"


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    caveats: list[Caveat] = []
    is_eval = f"{log.text('reward')} IS NOT NULL" if log.has("reward") else "false"
    where = _whole_rollouts(log, caveats)
    _check_order(log)
    training, penalty = _training_score(log, is_eval, caveats)
    validation = log.number("reward")
    shown = f"CASE WHEN {is_eval} THEN {log.text('reward')} WHEN {log.number('score')} IS NULL THEN {log.text('score')} "
    total = f"{shown} ELSE CAST({training} AS VARCHAR) END"
    failed = _failures(log, caveats, is_eval)
    numbers = log.numeric([name for name in log.types if name not in _OWN])
    of_total = f"CASE WHEN {is_eval} THEN {validation} ELSE {training} END"
    parts = fit_parts(log, of_total, numbers, where or "true")
    _refuse_single_draws(log, is_eval, where or "true")
    group = f"{log.text('uid')} IS NOT NULL" if log.has("uid") else "false"
    return Arranged(
        names={
            "prompt": "input",
            "completion": "output",
            "reward": "total",
            "step": "step",
            "split": "split",
            "error": "failure",
            "drawn_with": "group",
            "part": tuple(parts),
        },
        parts={name: name for name in parts},
        part_weights={name: weight for name, weight in parts.items() if weight is not None},
        derived={
            "total": total if penalty or log.has("reward") else f"CASE WHEN true THEN {log.text('score')} END",
            "split": f"CASE WHEN {is_eval} THEN 'eval' ELSE 'train' END",
            "failure": failed,
            "group": f"CASE WHEN {group} THEN regexp_extract({log.text('uid')}, '{_UID}', 1) END" if log.has("uid") else "NULL::VARCHAR",
        },
        where=where,
        survivors="possible",
        caveats=caveats,
    )


def _whole_rollouts(log: Log, caveats: list[Caveat]) -> str:
    """SQL that leaves out the rows of the V1 trainer that are none of a rollout, or an earlier output of one."""
    if not log.has("uid"):
        return ""
    uid = log.text("uid")
    number = f"TRY_CAST(regexp_extract({uid}, '{_UID}', 3) AS BIGINT)"
    rollout = f"regexp_replace({uid}, '_[0-9]+$', '')"
    log.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE last_outputs AS SELECT _file AS f, {rollout} AS r, max({number}) AS last, count(*) AS n FROM log
            WHERE {uid} IS NOT NULL AND NOT starts_with({uid}, 'pad') AND {number} IS NOT NULL GROUP BY ALL HAVING count(*) > 1"""
    )
    padding, outputs, extra = log.one(
        f"""SELECT (SELECT count_if(starts_with({uid}, 'pad')) FROM log), (SELECT count(*) FROM last_outputs),
                   (SELECT coalesce(sum(n - 1), 0) FROM last_outputs)"""
    )
    clauses = []
    if padding:
        caveats.append(("padding-rows", f"Left out: {noun(padding, 'row')} with a uid that begins with pad, there to fill up a batch."))
        clauses.append(f"({uid} IS NULL OR NOT starts_with({uid}, 'pad'))")
    if outputs:
        of = noun(outputs, "rollout")
        text = f"Of {of} with several outputs, each with the same score, the last one is counted; {noun(extra, 'row')} left out."
        caveats.append(("several-outputs", text))
        earlier = f"SELECT 1 FROM last_outputs WHERE f = _file AND r = {rollout} AND {number} < last"
        clauses.append(f"NOT EXISTS ({earlier})")
    return " AND ".join(clauses)


def _check_order(log: Log) -> None:
    """Refuse rows whose extra columns belong to other rows, as verl-recipe's DAPO trainer writes them."""
    if not log.has("pred"):
        return
    pred, output = log.text("pred"), log.text("output")
    usable = (
        f"{pred} IS NOT NULL AND {output} IS NOT NULL AND NOT starts_with({pred}, '[') AND lower({pred}) NOT IN ('none', 'null', 'nan')"
    )
    n, inside = log.one(f"SELECT count_if({usable}), count_if({usable} AND contains({output}, {pred})) FROM log")
    if n >= _FEWEST and 2 * inside < n:
        raise refusal(
            log.files,
            "verl",
            f"Its reward columns belong to other rows than its texts: on {n - inside:,} of {n:,} rows `pred` is not in `output`, as "
            "in dumps of verl-recipe's DAPO trainer, which writes the two in different orders.",
            "Score the outputs again (flatspot rescore), or log with verl's own trainer.",
        )


def _training_score(log: Log, is_eval: str, caveats: list[Caveat]) -> tuple[str, bool]:
    """SQL of the total of a row of training, and whether a penalty on the length was added to its score."""
    score, penalty = log.number("score"), log.number("overlong_reward")
    if not log.has("overlong_reward"):
        return score, False
    rows = f"SELECT {score} AS s, {penalty} AS p FROM log WHERE NOT ({is_eval}) AND isfinite({score}) AND isfinite({penalty})"
    found = log.db.execute(rows).fetchnumpy()
    scores, penalties = (np.ma.filled(np.ma.asarray(found[name]).astype(np.float64), np.nan) for name in ("s", "p"))
    cut = penalties != 0
    if not cut.any():
        return score, False
    raw = np.unique(scores[~cut].round(6))
    if not len(raw) and log.has("acc"):
        raw = np.array([0.0, 1.0])
    is_raw = np.isin(scores[cut].round(6), raw).mean()
    holds = np.isin((scores[cut] - penalties[cut]).round(6), raw).mean()
    if is_raw == holds:
        raise refusal(
            log.files,
            "verl",
            "Its score and its overlong_reward do not show whether the one holds the other.",
            "State it: --reward-col score where it does, else --reward-col score --reward-col overlong_reward.",
        )
    how = "score is the raw reward, and the total is score + overlong_reward" if is_raw > holds else "score holds overlong_reward already"
    caveats.append(("length-penalty", f"A penalty on the length is part of the reward: {how}. Some of the std is of lengths."))
    return (f"({score} + coalesce({penalty}, 0))" if is_raw > holds else score), True


def _failures(log: Log, caveats: list[Caveat], is_eval: str) -> str:
    """SQL of the error of a row, which verl scores 0."""
    said = [
        f"CASE WHEN lower({log.text('timeout')}) IN ('true', '1', '1.0') THEN 'the reward timed out' END" if log.has("timeout") else "",
        f"CASE WHEN lower({log.text('error')}) NOT IN ('none', 'null', 'false', '0', 'nan', '[]') THEN {log.text('error')} END"
        if log.has("error")
        else "",
    ]
    said = [sql for sql in said if sql]
    if not said:
        return "NULL::VARCHAR"
    failed = f"coalesce({', '.join(said)})" if len(said) > 1 else said[0]
    n = log.one(f"SELECT count_if({failed} IS NOT NULL) FROM log")[0]
    if n:
        text = f"On {noun(n, 'row')} the reward failed or timed out, which verl scores 0: they are errors here."
        caveats.append(("errors-not-zeros", text))
    return failed


def _refuse_single_draws(log: Log, is_eval: str, where: str) -> None:
    """Refuse validations with one completion of each prompt in a step, or with copies of one, where there are no rows of training."""
    rows = f"SELECT _file, {log.text('step')} AS step, {log.text('input')} AS prompt, {log.text('output')} AS output FROM log"
    groups = f"SELECT count(*) AS n, count(DISTINCT output) AS texts FROM ({rows} WHERE {is_eval} AND {where}) GROUP BY _file, step, prompt"
    most, several, texts, training = log.one(
        f"SELECT max(n), count_if(n > 1), max(texts), (SELECT count_if(NOT ({is_eval})) FROM log) FROM ({groups})"
    )
    if training or not most:
        return
    way_on = (
        "Validate with val_kwargs.n=8, do_sample=True and temperature=1.0, or inspect the training's rollouts (trainer.rollout_data_dir)."
    )
    if most == 1:
        raise refusal(
            log.files, "verl's validation", "Each prompt has one completion in a step, and other steps have other policies.", way_on
        )
    if texts == 1 and several > 1:
        raise refusal(log.files, "verl's validation", "All completions of a prompt are copies, as greedy decoding draws them.", way_on)


VERL = Format(
    name="verl",
    title="verl",
    writers="verl 0.9 and 0.10, V1 and V0 trainers, with `trainer.rollout_data_dir` or `trainer.validation_data_dir`",
    files="`1.jsonl`, `2.jsonl`, …: one per step",
    hides={
        "several-policies": "each step has another policy",
        "survivors-only": "with `algorithm.filter_groups.enable` flat groups are dropped before the dump, and nothing marks it",
        "errors-not-zeros": "a reward that failed is 0; the V1 trainer does not say which",
        "length-penalty": "the score may hold a penalty on the length",
        "padding-rows": "rows that fill up a batch",
        "several-outputs": "a rollout may have several rows with one score",
        "evaluation-split": "validations have prompts of their own",
    },
    told_by=_told,
    arrange=_arrange,
)

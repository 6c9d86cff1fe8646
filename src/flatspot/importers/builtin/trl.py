"""TRL's completions: a Parquet file per logged step, a column per reward function."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.batches import evaluation_ends, missing_steps, repeated_batches, reward_columns
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import PLACE
from flatspot.importers.builtin.trainer_state import read_trainer_state
from flatspot.importers.cells import literal
from flatspot.importers.sample import Sample
from flatspot.rollouts.notes import Caveat

_ADVANTAGES = ("advantage", "advantages")
_CONTRADICTED = 0.02  # of the groups, from which on the advantages contradict the weights
_ONE_DRAW = "Each prompt has one completion in a step, so nothing shows how its rewards vary."


def _told(sample: Sample) -> str | None:
    return "" if {"step", "prompt", "completion", "advantage"} <= sample.columns.keys() else None


def _told_distillation(sample: Sample) -> str | None:
    return "" if {"step", "prompt", "completion"} == sample.columns.keys() else None


def arrange_trl(log: Log, _: Sequence[str] = ()) -> Arranged:
    """The rows of TRL's completions."""
    return arrange_batches(log, "TRL", step="step", unit="step")


def arrange_batches(log: Log, title: str, *, step: str, unit: str, order: str = "_row") -> Arranged:
    """The rows of a log that has batches with a column per reward function, and the advantages.

    step   the column of the step
    unit   "step", or "row" where each row of the file is a batch
    order  SQL: a number that grows within a batch
    """
    state = read_trainer_state(log.files)
    rewards = [name for name in state.rewards if log.has(name)] or reward_columns(log, "completion", _ADVANTAGES)
    if not rewards:
        raise refusal(
            log.files,
            title,
            "It has no rewards: no column of numbers stands between completion and advantage "
            f"({', '.join(name for name in log.types if name not in (PLACE, '_file', '_row'))}).",
            "Name one that stands elsewhere with --reward-col, or score the completions: flatspot rescore.",
        )
    of_step = f"TRY_CAST({log.text(step)} AS BIGINT)"
    batch = of_step if unit == "step" else "_row"
    advantages = [name for name in _ADVANTAGES if log.has(name)]
    rewards, others = _rewarded(log, rewards, advantages, batch) if not state.rewards else (rewards, [])
    again, caveats = repeated_batches(log, ["prompt", "completion", *rewards, *advantages], batch, order)
    caveats = [*missing_steps(log, of_step), *others, *caveats]
    evaluated = state.evaluated if unit == "step" else frozenset()
    ends = evaluation_ends(log, log.text("prompt"), batch, order, where=again or "true", evaluated=evaluated)
    caveats += _evaluations_not_found(evaluated - {at for _, at in ends})
    split = "CASE " + " ".join(
        f"WHEN _file = {literal(f)} AND {batch} = {u} AND {order} >= {row} THEN 'eval'" for (f, u), row in ends.items()
    )
    weights = state.weights(rewards) if len(rewards) > 1 else None
    if len(rewards) > 1 and weights is None and advantages:
        caveats += _contradicted(log, rewards, advantages[0], batch)
    runs = f"CAST(dense_rank() OVER (ORDER BY _file, {batch}) AS VARCHAR)"
    names: dict[str, str | tuple[str, ...]] = {"prompt": "prompt", "completion": "completion", "reward": tuple(rewards), "step": step}
    return Arranged(
        names=names | {"drawn_with": "batch"} | ({"split": "split"} if ends else {}),
        weights=weights,
        derived={"batch": runs} | ({"split": f"{split} ELSE 'train' END"} if ends else {}),
        dropped=advantages,
        where=again,
        caveats=caveats,
    )


def _rewarded(log: Log, columns: list[str], advantages: Sequence[str], batch: str) -> tuple[list[str], list[Caveat]]:
    """The columns that the advantages are of, and the caveat: what else a trainer logs, such as a length, stands after the rewards."""
    if len(columns) > 1 and advantages and _disagreeing(log, columns, advantages[0], batch) > 0.5:  # a length differs in nearly every group
        for n in range(len(columns) - 1, 0, -1):
            if _disagreeing(log, columns[:n], advantages[0], batch) <= _CONTRADICTED:
                left_out = ", ".join(f"`{name}`" for name in columns[n:])
                return columns[:n], [f"{left_out}: not part of the reward, for the trainer's advantages are those of the columns before."]
    return columns, []


def _disagreeing(log: Log, columns: Sequence[str], advantage: str, batch: str) -> float:
    """The share of the groups whose advantages do not grow in step with the sum of the columns; 1 where none has any."""
    total = " + ".join(f"coalesce({log.number(name)}, 0)" for name in columns)
    rows = f"SELECT {batch} AS unit, _file, hash({log.text('prompt')}) AS prompt, {total} AS total, {log.number(advantage)} AS a FROM log"
    facts = "max(total) - min(total) > 1e-6 AS varies, max(a) - min(a) > 0.02 AS moves, abs(corr(total, a)) AS fit"
    n, moving, off = log.one(
        f"""SELECT count(*), count_if(moves), count_if(varies <> moves OR (varies AND coalesce(fit, 0) < 0.999))
            FROM (SELECT {facts} FROM ({rows}) WHERE a IS NOT NULL GROUP BY unit, _file, prompt)"""
    )
    return off / n if moving else 1.0


def _evaluations_not_found(steps: frozenset[int]) -> list[Caveat]:
    if not steps:
        return []
    some = ", ".join(map(str, sorted(steps)[:3])) + (" …" if len(steps) > 3 else "")
    text = f"At step {some} the trainer was evaluated, which writes the evaluation's rows into the file of that step: they are judged, too."
    return [("evaluation-rows", text)]


def _contradicted(log: Log, rewards: Sequence[str], advantage: str, batch: str) -> list[Caveat]:
    """The caveat where the advantages of a group differ and its plain sum does not, or the other way round."""
    total = " + ".join(f"coalesce({log.number(name)}, 0)" for name in rewards)
    rows = f"SELECT {batch} AS unit, _file, hash({log.text('prompt')}) AS prompt, {total} AS total, {log.number(advantage)} AS a FROM log"
    facts = "max(total) - min(total) > 1e-6 AS varies, max(abs(a)) > 0.3 AS moves, max(abs(a)) < 1e-2 AS still"
    groups = f"SELECT {facts} FROM ({rows}) GROUP BY unit, _file, prompt"
    n, wrong = log.one(f"SELECT count(*), count_if((varies AND still) OR (moves AND NOT varies)) FROM ({groups})")
    if wrong <= _CONTRADICTED * n:
        return []
    text = (
        f"On {wrong:,} of {n:,} groups the trainer's advantages contradict the sum of the rewards: their weights are not 1 "
        "(--reward-weight)."
    )
    return [("weights-assumed", text)]


def _no_rewards(log: Log, _: Sequence[str]) -> Arranged:
    raise refusal(
        log.files,
        "TRL's distillation",
        "It holds prompts and completions without rewards.",
        "Draw and score completions of these prompts: flatspot diagnose.",
    )


TRL = Format(
    name="trl",
    title="TRL",
    writers="TRL's GRPOTrainer from 0.28 on, and what stands on it (unsloth, axolotl, open-r1), with `log_completions=True`",
    files="`completions/completions_00001.parquet`",
    hides={
        "several-policies": "each step has another policy",
        "missing-steps": "with `logging_steps` above 1, most steps are not written",
        "repeated-rows": "with `num_iterations` above 1 a batch is written again at the next step",
        "evaluation-rows": "an evaluation writes its rows into the file of its step, and nothing marks them",
        "weights-assumed": "the weights of several rewards are not in the file; trainer_state.json of a checkpoint beside it gives them",
    },
    told_by=_told,
    arrange=arrange_trl,
)
DISTILLATION = Format(
    name="trl",
    title="TRL's distillation",
    writers="TRL's distillation trainers",
    files="`completions/completions_00001.parquet`",
    hides={},
    told_by=_told_distillation,
    arrange=_no_rewards,
)

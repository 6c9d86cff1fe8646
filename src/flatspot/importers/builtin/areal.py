"""AReaL's dumped trajectories: a file per group, in the folder of its policy."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.core.shares import noun
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.format import Format
from flatspot.importers.sample import Sample
from flatspot.rollouts.notes import Caveat

_FOLDERS = r"/(eval-rollout|rollout)/([0-9]+)/[^/]*$"


def _told(sample: Sample) -> str | None:
    return "" if sample.has("task_id", "sample_idx", "seqlen", "prompt_len", "reward") else None


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    caveats: list[Caveat] = []
    folder = f"regexp_extract({log.path()}, '{_FOLDERS}', 1)"
    version = f"TRY_CAST(regexp_extract({log.path()}, '{_FOLDERS}', 2) AS BIGINT)"
    step = f"coalesce({version}, TRY_CAST({log.text('tail_version')} AS BIGINT))"
    versions, steps, moved = log.one(
        f"""SELECT count(DISTINCT {log.text("tail_version")}), count(DISTINCT {step}),
                   count_if({log.text("head_version")} <> {log.text("tail_version")}) FROM log"""
    )
    if moved or (versions > 1 and steps < 2):
        text = f"The weights changed while completions were drawn: {noun(moved, 'completion')} of more than one policy."
        caveats.append(("several-policies", text))
    changed = log.one(f"SELECT count_if({log.number('original_reward')} <> {log.number('reward')}) FROM log")[0]
    if changed:
        text = f"On {noun(changed, 'row')} the reward is not the task's (original_reward), but what the trainer made of it."
        caveats.append(("rescaled-rewards", text))
    return Arranged(
        names={
            "prompt": "prompt",
            "completion": "completion",
            "reward": "reward",
            "step": "version",
            "split": "split",
            "sample_idx": "sample_idx",
            "drawn_with": "group",
        },
        derived={
            "version": step,
            "split": f"CASE WHEN {folder} = 'eval-rollout' THEN '{EVALUATION}' ELSE 'train' END",
            "group": f"regexp_replace(_file, '[^/]*$', '') || coalesce({log.text('task_id')}, '')",
        },
        dropped=("version_rle", "segments"),
        policy=log.path(_FOLDERS),
        caveats=caveats,
    )


AREAL = Format(
    name="areal",
    title="AReaL",
    writers="AReaL with `rollout.dump_to_file: true`",
    files="`logs/USER/EXPERIMENT/TRIAL/rollout/0/5.jsonl`: one per group",
    hides={
        "several-policies": "completions may be of more than one policy",
        "evaluation-rows": "`eval-rollout` stands beside `rollout`",
        "rescaled-rewards": "`original_reward` shows where a reward was changed",
    },
    told_by=_told,
    arrange=_arrange,
)

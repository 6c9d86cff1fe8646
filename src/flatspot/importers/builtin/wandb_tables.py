"""Tables of Weights & Biases: TRL's completions of trainers that write no file, and what others log of theirs."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.trl import arrange_batches
from flatspot.importers.sample import Sample
from flatspot.readers.files import JSON

_KEYS = {"columns", "data", "column_types", "ncols", "nrows"}
_TITLE = "a W&B table"


def _told(sample: Sample) -> str | None:
    keys = sample.first.keys()
    return "" if sample.ending == JSON and {"columns", "data"} <= keys <= _KEYS and isinstance(sample.first["columns"], list) else None


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    if log.has("step", "prompt", "completion"):
        arranged = arrange_batches(log, _TITLE, step="step", unit="step")
        where = arranged.where or "true"
        n, prompts = log.one(f"SELECT count(*), count(DISTINCT ({log.text('step')}, {log.text('prompt')})) FROM log WHERE {where}")
        if n and n == prompts:
            raise refusal(
                log.files,
                _TITLE,
                "Each step has one completion of each prompt.",
                "Set log_unique_prompts=False, which logs whole groups, or draw new completions: flatspot diagnose.",
            )
        return arranged
    if log.has("global_step", "text", "reward"):
        raise refusal(
            log.files,
            f"OpenRLHF ({_TITLE})",
            "It has one sample of each step, and each table repeats those before it.",
            "OpenRLHF writes nothing else: wrap the reward function to record what it scores (flatspot.watch).",
        )
    if any(column.startswith("input_") for column in log.types) and any(column.startswith("score_") for column in log.types):
        raise refusal(
            log.files,
            f"verl's validation ({_TITLE})",
            "It has a few samples of each validation, one completion of each prompt.",
            "Set trainer.validation_data_dir and val_kwargs.n, and inspect the files there.",
        )
    raise refusal(
        log.files,
        _TITLE,
        f"Its columns ({', '.join(log.types)}) are not those of completions: step, prompt, completion and rewards.",
        "Read it as plain rows with --format generic, and name its columns.",
    )


WANDB = Format(
    name="wandb",
    title=_TITLE,
    writers="W&B's table of TRL (all versions, RLOO too) and ms-swift",
    files="`wandb/run-*/files/media/table/completions_9_b6a06e7782e79a1360dc.table.json`",
    hides={
        "repeated-rows": "the last table is there twice",
        "several-policies": "each step has another policy",
        "missing-steps": "steps that were not logged",
        "weights-assumed": "the weights of several rewards are not in the table",
    },
    told_by=_told,
    arrange=_arrange,
)

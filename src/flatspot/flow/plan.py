"""`flatspot plan` on one page: a judged run → what an RL run would see, and which prompts to label before it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.planning.forecast import PlanSettings, plan_groups
from flatspot.planning.label_files import write_plan
from flatspot.planning.labels import DEFAULT_STRATEGY, Label, LabelSettings, plan_labels
from flatspot.planning.summary import PlanSummary
from flatspot.runs.judging import check_last_judging
from flatspot.runs.run import Run, as_run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Plan:
    """What to do with the prompts of a run.

    run       it
    summary   the object that `flatspot plan --json` prints
    labels    the prompts to label, in order
    table     one row per prompt: `core.schema.PLAN`
    answers   how many answers of an earlier labels.jsonl were left in place
    """

    run: Run
    summary: PlanSummary
    labels: tuple[Label, ...] = field(repr=False)
    table: pa.Table = field(repr=False)
    answers: int = 0

    def write(self) -> Plan:
        """Write plan.parquet and labels.jsonl into the run folder; the plan with how many answers that were there stay.

        Raises `RunFolderError` where a file cannot be written, where the labels.jsonl that is there cannot be read, and where the folder
        was judged again since the run was opened.
        """
        check_last_judging(self.run.folder, self.run.summary)
        return replace(self, answers=write_plan(self.run.folder, self.labels, self.table))

    @property
    def labels_file(self) -> Path:
        """Where the prompts to label wait for their answers."""
        return self.run.folder / "labels.jsonl"


def plan(
    run: str | Path | Run,
    *,
    labels: int | str | None = None,
    strategy: str = DEFAULT_STRATEGY,
    seed: int = 0,
    share: float = 0.5,
    group_size: int | None = None,
    batch: int = 32,
    gen_batch: int | None = None,
    max_gen_batches: int = 10,
    write: bool = True,
) -> Plan:
    """Plan a warm-up and an RL run from a judged run: which prompts to label, train on, drop, or leave until after the warm-up.

    labels      how many prompts to label, or a share of the run's as "5%"; None: as recommended
    strategy    random, hardest, cover, facility-location, or one that a package adds to `flatspot.strategies`
    seed        draws the order of equals, and what random chooses
    share       the group size is recommended that makes this share of the groups mixed
    group_size  completions per prompt in the planned RL run; None: the run's
    batch       mixed groups in a training batch
    gen_batch   groups that a dynamic sampler draws at a time; None: `batch`
    max_gen_batches  how often it may, for one training batch
    write       plan.parquet and labels.jsonl into the run folder; answers already written there stay

    Raises `RunFolderError` where the run has not been judged or has no scored completion, `SettingsError` for a value out of its
    range; with `write`, what `Plan.write` raises.
    """
    run = as_run(run)
    forecast = plan_groups(run, PlanSettings(group_size, share, batch, gen_batch, max_gen_batches))
    selected = plan_labels(run, LabelSettings(labels, strategy, seed, share))
    planned = Plan(run, replace(forecast, labels=selected.summary), selected.labels, selected.table)
    return planned.write() if write else planned

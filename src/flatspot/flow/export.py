"""`flatspot export` on one page: the prompts of a judged run, or its completions, as a file another tool reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flatspot.core.errors import SettingsError
from flatspot.rollouts.locks import judging
from flatspot.runs.export import export_completions, export_for, export_prompts
from flatspot.runs.judging import check_rows_judged
from flatspot.runs.run import Run, as_run
from flatspot.runs.summary import Counts
from flatspot.runs.table import read_run


def export(
    run: str | Path | Run,
    path: str | Path,
    *,
    verdicts: Sequence[str] = (),
    completions: bool = False,
    trainer: str | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Write the prompts of a judged run (or their completions) to JSONL, CSV or Parquet, by the file's ending; returns how many rows.

    verdicts  only prompts with one of these (or with this one); empty: all
    trainer   "trl", "verl" or "prime-rl": rows as its data sets have them, with a `weight` for a sampler

    Raises `SettingsError` for another verdict or trainer, and `RunFolderError` where the run has other rows than it was judged on, before
    anything is written.
    """
    run = as_run(run)
    verdicts = [verdicts] if isinstance(verdicts, str) else list(verdicts)
    names = [name for name, _ in Counts().items()]
    if unknown := [name for name in verdicts if name not in names]:
        raise SettingsError(f"there is no verdict {unknown[0]!r}; there are: {', '.join(names)}")
    if trainer is not None and completions:
        raise SettingsError("a trainer draws its own completions: leave out completions (--completions), or the trainer (--for)")
    run.check_is_there()  # no lock is made in another folder
    with judging(run.folder):
        if run.judged is not None or (run.folder / "report.json").exists():  # a verdict stands beside the rows it rests on, and no others
            check_rows_judged(run.folder, run.summary, int(read_run(run.folder).n_rows.sum()))
        if trainer is not None:
            return export_for(run, trainer, Path(path), verdicts, say or (lambda _: None))
        return (export_completions if completions else export_prompts)(run, Path(path), verdicts, say or (lambda _: None))

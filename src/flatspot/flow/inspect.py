"""`flatspot inspect` on one page: logs of another trainer, or a run folder → rollouts → verdicts → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.options import InspectOptions
from flatspot.core.protocols import Say
from flatspot.core.recording import FOLDER as RECORDED
from flatspot.core.recording import is_recording
from flatspot.core.settings import Settings
from flatspot.flow.judge import judge_run
from flatspot.flow.settings import checked_settings
from flatspot.importers.generic import LogColumns
from flatspot.importers.runs import import_logs, import_recording
from flatspot.importers.search import is_run_folder
from flatspot.importers.window import window
from flatspot.rollouts.store import read_record
from flatspot.runs.judging import read_summary
from flatspot.runs.run import Run


def inspect(
    paths: object,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    reward_list: str | None = None,
    format: str = "auto",
    allow_pickle: bool = False,
    steps: str | tuple[int | None, int | None] | None = None,
    last: int | None = None,
    split: str | None = None,
    say: Say | None = None,
    **settings: Unpack[InspectOptions],
) -> Run:
    """Judge the rollouts of another trainer's logs, in the trainer's own format, or as CSV, TSV, JSONL, JSON or Parquet.

    paths        log files or folders of them; rows in memory: a table with an Arrow stream (pyarrow, pandas, polars), a
                 `datasets.Dataset`, a list of dicts; or one run folder of flatspot's, to judge its rows again
    columns      {"prompt", "reward", "prompt_id", "completion", …: the log's own name}; usual names are recognized, several rewards are
                 added up with the weights `reward_weights`
    reward_list  what a list of rewards on a row is: "completions" (one each) or "tokens" (of one completion); None: told by the rows
    format       "auto", what the files show; "generic", columns by their names; or a name of `core.log_formats`, or one that an installed
                 package adds to `flatspot.importers`
    allow_pickle also read logs that are pickles; nothing but plain values is loaded
    steps, last, split  which rows of a log are judged: those of the steps "A:B" (both with it), of the last so many, of one split
    settings     of `Settings`, those about judging, `reward_weights` and `out`
    """
    chosen = checked_settings(settings, InspectOptions)
    wanted = window(steps, last, split)
    paths = paths.folder if isinstance(paths, Run) else paths
    only = paths[0] if isinstance(paths, list | tuple) and len(paths) == 1 else paths
    own = chosen.out is None and not any((columns or {}).values()) and chosen.reward_weights is None and reward_list is None and not wanted
    if isinstance(only, str | Path) and format in ("auto", "flatspot") and is_recording(Path(only)):
        if own:  # the folder of a recording is the run folder of its rows
            settings_before = _as_before(Path(only), chosen, settings, say) if is_run_folder(Path(only)) else chosen
            return judge_run(import_recording(Path(only), say or (lambda _: None)), settings_before, say=say)
        paths = Path(only) / RECORDED
        only = paths
    if format == "auto" and isinstance(only, str | Path) and is_run_folder(folder := Path(only)):  # judge its rows again
        if not own:
            raise SettingsError(
                f"{folder} is a run folder: its rows are judged where they are, as they are, so --out, column names, --reward-weight, "
                "--reward-list, --steps, --last and --split do not apply. Other weights: flatspot rescore"
            )
        return judge_run(folder, _as_before(folder, chosen, settings, say), say=say)
    names = LogColumns(columns or {}, chosen.reward_weights, reward_list, wanted)
    folder = import_logs(paths, names, chosen.out, say or (lambda _: None), format, allow_pickle=allow_pickle)
    return judge_run(folder, chosen, say=say)


def _as_before(folder: Path, chosen: Settings, given: Mapping[str, object], say: Say | None) -> Settings:
    """The settings, with the run's own of those about judging that were not given: a run is judged again as it was."""
    try:
        summary = read_summary(folder)
    except RunFolderError:  # a damaged report.json is what this is to replace
        summary = None
    own: dict[str, object] = {"worst_case": "--worst-case" in (read_record(folder).request.resume or ())}
    if summary is not None:
        own |= {"group_size": summary.group_size, "target_error": summary.settings.target_error}
    kept = {name: value for name, value in own.items() if name not in given and value not in (None, getattr(chosen, name))}
    if kept and say is not None:
        words = [f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in kept.items()]
        say(f"judging with the run's own {', '.join(words)}; give others to change that")
    return replace(chosen, **kept)  # type: ignore[arg-type]  # each is of the kind of the setting it was

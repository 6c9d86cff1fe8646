"""`Run`: one run folder as an object, read when it is asked for and then remembered. Writers are in `rollouts.store`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.errors import NoSuchPrompt, RunFolderError, SettingsError
from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.core.request import Request
from flatspot.core.schema import GRADIENTS, ROLLOUTS, VERDICTS, arrow_schema
from flatspot.core.visible import visible
from flatspot.rollouts.completeness import Completeness, read_completeness
from flatspot.rollouts.notes import Notes, read_notes
from flatspot.rollouts.ownership import refuse_files
from flatspot.rollouts.prompts import read_prompt_table
from flatspot.rollouts.store import RunRecord, read_record, stored_prompt
from flatspot.rollouts.tables import read_batches, read_table
from flatspot.runs.clusters import clusters_of
from flatspot.runs.fitted import fit_run
from flatspot.runs.judging import check_last_judging, check_rows_judged, check_verdicts, read_summary
from flatspot.runs.summary import Summary
from flatspot.runs.table import RunTable, completions_of, read_known, read_run, rollout_files
from flatspot.runs.zones import top_of, zones_of
from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.forecast import SIZES
from flatspot.stats.known_mass import KnownMass
from flatspot.stats.models.fitted import FittedModel

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

_ROWS = 65536
_NUMERIC = tuple(column.name for column in VERDICTS if column.type in ("float64", "int32", "int64"))


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run folder: what was asked, its prompts and completions, and how they are judged.

    folder   where it is
    written  whether the last judging was written into the folder: not where it is read-only

    Each property is read once, on first use. After the folder was judged again, open it again.

    >>> from flatspot import ScriptedEngine, diagnose
    >>> answers = ScriptedEngine({"2+2=": {"4": 0.5, "5": 0.5}, "17*23=": {"400": 1.0}})
    >>> rows = [{"prompt": "2+2=", "reference": "4"}, {"prompt": "17*23=", "reference": "391"}]
    >>> run = diagnose(rows, answers, "exact_match", out=getfixture("tmp_path") / "run")
    >>> run.summary.counts.vanishing, run.request.rewards, run.prompt(1).text
    (1, ('exact_match',), '17*23=')
    """

    folder: Path
    written: bool = field(default=True)
    judged: tuple[pa.Table, Summary, FittedModel] | None = field(default=None)

    @cached_property
    def record(self) -> RunRecord:
        """run.json."""
        return read_record(self.folder)

    @property
    def request(self) -> Request:
        """What was asked: the prompts, the model, the rewards (a name each), the options."""
        return self.record.request

    @cached_property
    def notes(self) -> Notes:
        """What sampling or importing left to report."""
        return read_notes(self.folder)

    @cached_property
    def completeness(self) -> Completeness | None:
        """How many completions were planned, and how many are there; None for logs and watched trainings."""
        return read_completeness(self.folder, self.record)

    @cached_property
    def prompts(self) -> pa.Table:
        """One row per prompt, in order: `core.schema.PROMPTS`."""
        self.check_is_there()
        return read_prompt_table(self.folder)

    @property
    def rollouts(self) -> pa.Table:
        """Every completion with its reward, in the order sampled: `core.schema.ROLLOUTS`. Of a large run, read `completions` of some."""
        import pyarrow as pa

        none = arrow_schema(ROLLOUTS).empty_table()  # of a run that has no rows yet
        return pa.concat_tables([none, *map(read_table, rollout_files(self.folder))], promote_options="default")

    @cached_property
    def table(self) -> RunTable:
        """The rows, reduced to statistics of each prompt."""
        return read_run(self.folder)

    @cached_property
    def known(self) -> KnownMass | None:
        """What the probabilities of its completions prove, before anything is known of the reward; None where the rows do not tell them."""
        return read_known(self.folder, self.record.logprob_error)

    @property
    def evidence(self) -> Evidence:
        """The scored rewards of each prompt."""
        return self.table.evidence

    @cached_property
    def model(self) -> FittedModel:
        """The model fitted to the evidence; `summary` has the thresholds."""
        if self.judged is not None:
            return self.judged[2]
        summary = self.summary
        zones = zones_of(summary)
        sizes = sorted({*SIZES, summary.group_size})
        check_rows_judged(self.folder, summary, int(self.table.n_rows.sum()))
        clusters = clusters_of(self.prompts, summary.settings.cluster_col)
        known = None if summary.proved is None else self.known  # as it was judged
        return fit_run(replace(self.table, clusters=clusters, known=known), top_of(summary), zones, sizes)

    @cached_property
    def verdicts(self) -> pa.Table:
        """One row per prompt, in order: `core.schema.VERDICTS`. Raises `RunFolderError` where the run has not been judged."""
        if self.judged is not None:
            return self.judged[0]
        file = self.folder / "verdicts.parquet"
        if not file.exists():
            raise self._not_judged(file.name)
        verdicts = read_table(file, [column.name for column in VERDICTS])
        ids = self.prompts["prompt_id"].combine_chunks()
        if not ids.equals(verdicts["prompt_id"].combine_chunks()):
            lacking = len(set(ids.to_pylist()) - set(verdicts["prompt_id"].to_pylist()))
            why = f"{lacking} of the {len(ids)} prompts have no verdict" if lacking else "verdicts.parquet is of different prompts"
            raise RunFolderError(f"{self.folder}: {why}. Run flatspot inspect {self.folder}, which judges all.")
        if (self.folder / "report.json").exists():
            check_verdicts(self.folder, verdicts, self.summary)
        return verdicts

    @cached_property
    def summary(self) -> Summary:
        """The object that `--json` prints. Raises `RunFolderError` where the run has not been judged."""
        if self.judged is not None:
            return self.judged[1]
        summary = read_summary(self.folder)
        if summary is None:
            raise self._not_judged("report.json")
        return summary

    def check_is_there(self) -> None:
        """Raise `RunFolderError` where the folder has no prompts."""
        if not (self.folder / "prompts.parquet").exists():
            raise self._not_judged("prompts.parquet")

    def _not_judged(self, name: str) -> RunFolderError:
        refuse_files(self.folder)
        if (self.folder / "run.json").exists() and name != "prompts.parquet":
            return RunFolderError(f"{self.folder} has not been judged yet (it has no {name}). Judge it: flatspot inspect {self.folder}")
        return RunFolderError(
            f"{self.folder} has no {name}: it is not a run folder, or its run has not been judged yet. "
            f"Run flatspot diagnose … --out {self.folder}"
        )

    @cached_property
    def gradients(self) -> pa.Table | None:
        """One row per prompt whose gradient was measured: `core.schema.GRADIENTS`; None where none was."""
        file = self.folder / "gradients.parquet"
        return read_table(file, [column.name for column in GRADIENTS], optional=("std_hi",)) if file.exists() else None

    @cached_property
    def ids(self) -> list[str]:
        """[M] ids of the prompts, in order."""
        return [str(name) for name in self.prompts["prompt_id"].to_pylist()]

    def numbers(self, name: str) -> Floats:
        """[M] a numeric column of the verdicts, NaN for null. Raises `SettingsError` for another name."""
        if name not in _NUMERIC:
            raise SettingsError(f"expected a numeric column of the verdicts, got {name!r}; there are: {', '.join(_NUMERIC)}")
        return np.asarray(self.verdicts[name].to_numpy(), np.float64)

    def prompt(self, row: int) -> Prompt:
        """The prompt of a row (of a negative one, counted from the end), with its columns as JSON stored them.

        Raises `NoSuchPrompt`, an `IndexError`, where there is no such row.
        """
        n = len(self.prompts)
        if not -n <= row < n:
            raise NoSuchPrompt(f"{self.folder} has {n} prompts, in rows 0 to {n - 1}; got row {row}")
        return stored_prompt(self.prompts.slice(row % n, 1).to_pylist()[0])

    def completions(self, prompt_ids: Sequence[str] | None = None, *, per_prompt: int = 64) -> pa.Table:
        """The completions of some prompts (one id, or several; None: of all), at most so many of each, in the order sampled.

        Raises `SettingsError` for an id that is not one of the run's, and where `per_prompt` is negative.
        """
        ids = [prompt_ids] if isinstance(prompt_ids, str) else self.ids if prompt_ids is None else list(prompt_ids)
        if prompt_ids is not None and (unknown := sorted(set(ids) - set(self.ids))):
            raise SettingsError(f"{self.folder} has no prompt with the id {unknown[0]!r}; Run.ids has those of its {len(self.ids)} prompts")
        if per_prompt < 0:
            raise SettingsError(f"per_prompt must be at least 0, got {per_prompt}")
        return completions_of(self.folder, ids, per_prompt=per_prompt)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Some columns of the rollouts (None: all), as tables of many rows at a time: for runs that do not fit in memory.

        Raises `SettingsError` for a column that rollouts do not have.
        """
        names = [columns] if isinstance(columns, str) else columns
        own = [column.name for column in ROLLOUTS]
        if unknown := [name for name in names or () if name not in own]:
            raise SettingsError(f"rollouts have no column {unknown[0]!r}; there are: {', '.join(own)}")
        return (batch for file in rollout_files(self.folder) for batch in read_batches(file, _ROWS, names))

    def to_arrow(self) -> pa.Table:
        """One row per prompt: its text and its verdict with all numbers."""
        return self.verdicts.add_column(1, "prompt", self.prompts["prompt"])

    def to_pandas(self) -> pandas.DataFrame:
        """`to_arrow` as a pandas DataFrame. Raises `MissingExtra` where pandas is not installed."""
        require("pandas", extra=None, purpose="Run.to_pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """`to_arrow` as a polars DataFrame. Raises `MissingExtra` where polars is not installed."""
        frame: polars.DataFrame = require("polars", extra=None, purpose="Run.to_polars").from_arrow(self.to_arrow())
        return frame

    def judged_as(self, verdicts: pa.Table, summary: Summary, model: FittedModel) -> Run:
        """This run with these verdicts; what was read of it stays read."""
        run = replace(self, judged=(verdicts, summary, model))
        own = {f.name for f in fields(self)} | {"verdicts", "summary", "model"}
        run.__dict__.update({name: value for name, value in self.__dict__.items() if name not in own})
        return run

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report as one HTML file; by default report.html in the run folder. Returns where.

        Raises `RunFolderError` where that would replace the report of a later judging.
        """
        target = Path(path) if path is not None else self.folder / "report.html"
        if path is None:
            check_last_judging(self.folder, self.summary)
        _above("flatspot.report.run.html", "write_report")(self, target)
        return target

    def plan(self, **options: Any) -> Any:
        """`flatspot.plan` of this run."""
        return _above("flatspot", "plan")(self, **options)

    def export(self, path: str | Path, **options: Any) -> int:
        """`flatspot.export` of this run: write its prompts (or completions) to a file; returns how many rows."""
        rows: int = _above("flatspot", "export")(self, path, **options)
        return rows

    def rescore(self, reward: object, **options: Any) -> Run:
        """`flatspot.rescore` of this run: its completions under another reward, in a folder of their own."""
        run: Run = _above("flatspot", "rescore")(self, reward, **options)
        return run

    def __repr__(self) -> str:
        try:
            counts = ", ".join(f"{n} {name}" for name, n in self.summary.counts.items() if n)
            return f"<Run {self.folder}: {self.summary.verdict}, {counts or 'no prompts'}>"
        except RunFolderError:
            damaged = (self.folder / "report.json").exists()
            return f"<Run {self.folder}: {'damaged report.json' if damaged else 'not judged'}>"

    def __str__(self) -> str:
        try:
            text: str = _above("flatspot.report.run.terminal", "render_terminal")(self.summary)
        except RunFolderError as error:  # it was not judged, or report.json is damaged: the message has the command that judges it
            return str(error)
        return text

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        try:
            html: str = _above("flatspot.report.run.notebook", "notebook_html")(self)
        except RunFolderError as error:
            return f"<p>{escape(visible(str(error)))}</p>"
        return html


def _above(module: str, name: str) -> Callable[..., Any]:
    """A function of the layers above this one, which start from a run: found by name when it is called, so that imports run one way."""
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def as_run(run: str | Path | Run) -> Run:
    """A run folder, or its path, as a `Run`."""
    return run if isinstance(run, Run) else Run(Path(run))


def open(folder: str | Path) -> Run:
    """A run folder as a `Run`. Raises `RunFolderError` where it is none.

    >>> open("a")
    Traceback (most recent call last):
    flatspot.core.errors.RunFolderError: a is not a run folder (it has no run.json). Start one: flatspot diagnose ... --out a
    """
    run = Run(Path(folder))
    _ = run.record  # read to be checked
    return run

"""The whole tool on one page: prompts + policy + reward → rollouts → stats → verdicts → report.

`diagnose` and `inspect` differ in where the rows come from; from the run folder on they are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.provenance import provenance
from flatspot.core.renamed import keywords
from flatspot.core.settings import Settings
from flatspot.flow.draw import draw_run, drop_references
from flatspot.flow.gradients import check_groups, check_weights, measure_gradients, read_gradients
from flatspot.flow.judge import judge_folder, judge_settings
from flatspot.rollouts.asked import digest, name_of, read_as, resume_words, reward_asked, reward_shown, what_is_asked
from flatspot.rollouts.completeness import check_none_lost, check_rows, is_complete, replay_stored
from flatspot.rollouts.locks import judging
from flatspot.rollouts.notes import keep_notes, other_caveats, read_notes, reward_facts
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.rounds import Decider, FixedCompletions
from flatspot.rollouts.store import RunRecord, open_run, prompt_table, read_record, write_table
from flatspot.rollouts.tables import read_table
from flatspot.runs.table import completions_of, read_run
from flatspot.stats.triage.decider import Adaptive
from flatspot.verdicts.ranges import usable_range

if TYPE_CHECKING:
    import pyarrow as pa

Say = Callable[[str], None]


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """A judged run.

    run       its folder
    summary   the object `--json` prints
    verdicts  one row per prompt: `core.schema.VERDICTS`
    written   whether verdicts and report were written into the folder: not where it is read-only
    """

    run: Path
    summary: Mapping[str, Any]
    verdicts: pa.Table = field(repr=False)
    written: bool = field(default=True, repr=False)

    @cached_property
    def prompts(self) -> pa.Table:
        """One row per prompt: `core.schema.PROMPTS`."""
        return read_table(self.run / "prompts.parquet")

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report as one HTML file; by default report.html in the run folder."""
        from flatspot.report.blocks import ReportData
        from flatspot.report.run.html import write_html
        from flatspot.report.run.shown import shown_prompts, with_completions

        path = Path(path) if path is not None else self.run / "report.html"
        shown = shown_prompts(len(self.verdicts))
        verdicts, prompts = self.verdicts.take(shown), self.prompts.take(shown)
        completions = completions_of(self.run, with_completions(verdicts))
        write_html(ReportData(self.summary, verdicts, prompts, completions, read_gradients(self.run)), path)
        return path

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.summary["counts"].items() if n)
        return f"<Diagnosis of {self.run}: {self.summary['verdict']}, {counts or 'no prompts'}>"

    def __str__(self) -> str:
        from flatspot.report.run.terminal import render_terminal

        return render_terminal(self.summary)


def diagnose(
    prompts: Any, policy: Any, reward: Any, *, on_progress: OnProgress | None = None, say: Say | None = None, **settings: Any
) -> Diagnosis:
    """Draw completions, score them, and judge which prompts RL can learn from.

    prompts   a file (JSONL, JSON, CSV, TSV, Parquet), `reasoning-gym:…`, a table in memory, or a list of texts, rows or `Prompt`s
    policy    a Hugging Face name or folder, a GGUF file, a (model, tokenizer) pair, or an `Engine`
    reward    TRL's callable, `module:function`, `file.py:function`, a built-in name, or several of these
    settings  the fields of `Settings`

    The run folder is written as it goes: the same call continues where a killed one stopped. Raises `FlatspotError` for what the user can
    mend; a completion whose reward fails is a row with an error, never an exception.

    >>> from flatspot.engines.scripted import ScriptedEngine
    >>> answers = ScriptedEngine({"2+2=": {"4": 0.5, "5": 0.5}, "17*23=": {"400": 1.0}})
    >>> rows = [{"prompt": "2+2=", "reference": "4"}, {"prompt": "17*23=", "reference": "391"}]
    >>> folder = getfixture("tmp_path") / "run"
    >>> diagnose(rows, answers, "exact_match", out=folder).verdicts["verdict"].to_pylist()
    ['learnable', 'vanishing']
    """
    from flatspot.engines.policy import DEFAULT_POLICY
    from flatspot.rewards import check_reward, load_reward
    from flatspot.tasks import load_prompts

    chosen = _settings(settings)
    asked_prompts = load_prompts(prompts, prompt_col=chosen.prompt_col, id_col=chosen.id_col, limit=chosen.limit)
    if chosen.max_generations is not None and chosen.max_generations < len(asked_prompts):
        raise SettingsError(
            f"--max-generations must be at least one for each of the {len(asked_prompts)} prompts, got {chosen.max_generations}"
        )
    groups = chosen.group_size if chosen.fixed_completions and chosen.max_completions % chosen.group_size == 0 else None
    with load_reward(reward, weights=chosen.reward_weights, timeout_s=chosen.reward_timeout_s, group_size=groups) as loaded:
        asked = what_is_asked(asked_prompts, policy, loaded, chosen)
        run = Path(chosen.out) if chosen.out is not None else Path("runs") / digest(asked)
        check_weights(policy, chosen)
        known = asked["model"]["stamp"] is not None or policy == DEFAULT_POLICY
        declared = chosen.reward_range or usable_range(loaded.range)
        decider = partial(_decider, run, chosen, declared)
        shown = {"prompts": name_of(prompts), "model": name_of(policy)} | reward_shown(reward, chosen) | {"out": str(run)} | read_as(chosen)
        shown |= {"resume": resume_words(chosen)}
        facts = {"shown": shown, "declared_range": declared}
        replay = replay_stored(run, asked, chosen.max_completions, decider)
        if not (known and is_complete(run, replay)):
            check_reward(loaded, asked_prompts, say or (lambda _: None))
            check_groups(loaded, chosen)
            draw_run(run, asked, asked_prompts, policy, loaded, chosen, decider, replay, facts, say or (lambda _: None), on_progress)
        measure_gradients(run, asked_prompts, policy, loaded, chosen, say or (lambda _: None))
        keep_notes(run, **facts)
        return judge_run(run, chosen, declared_range=declared, shown=shown, notes=read_notes(run)["caveats"], say=say)


def _decider(run: Path, settings: Settings, declared: tuple[float, float] | None, record: RunRecord) -> Decider:
    """Who decides what is drawn: a fixed number of samples, or triage."""
    r_star = np.asarray(read_table(run / "prompts.parquet", ["reference_reward"])["reference_reward"].to_numpy(), float)
    if settings.fixed_completions:
        return FixedCompletions(len(r_star), settings.max_completions)
    epsilon = judge_settings(settings, declared or (0.0, 1.0)).zones.epsilon
    return Adaptive(settings, epsilon, declared, r_star, record.rows_per_part, record.visit_cost)


def inspect(
    paths: Any,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    reward_list: str | None = None,
    format: str = "auto",
    say: Say | None = None,
    **settings: Any,
) -> Diagnosis:
    """Judge the rollouts of another trainer's logs: CSV, TSV, JSONL, JSON or Parquet, long, wide or in columns.

    paths        log files or folders of them; rows in memory: a table with an Arrow stream (pyarrow, pandas, polars), a
                 `datasets.Dataset`, a list of dicts; or one run folder of flatspot's, to judge its rows again
    columns      {"prompt", "reward", "prompt_id", "completion", …: the log's own name}; usual names are recognised, several rewards are
                 added up with the weights `reward_weights`
    reward_list  what a list of rewards on a row is: "completions" (one each) or "tokens" (of one completion); None: told by the rows
    format       "auto"; "generic", whatever an installed package would make of the files; or a format that one adds to `flatspot.importers`
    settings     of `Settings`, those about judging, `reward_weights` and `out`
    """
    from flatspot.importers.generic import LogColumns
    from flatspot.importers.runs import import_logs
    from flatspot.importers.search import is_run_folder

    chosen = _settings(settings)
    only = paths[0] if isinstance(paths, list | tuple) and len(paths) == 1 else paths
    if format == "auto" and isinstance(only, str | Path) and is_run_folder(folder := Path(only)):  # judge its rows again
        if chosen.out is not None or any((columns or {}).values()) or chosen.reward_weights is not None or reward_list is not None:
            raise SettingsError(
                f"{folder} is a run folder: its rows are judged where they are, as they are, so --out, column names, --reward-weight and "
                "--reward-list do not apply. Other weights: flatspot rescore"
            )
        notes = read_notes(folder)
        limits = notes.get("declared_range")
        declared = (float(limits[0]), float(limits[1])) if limits else None
        shown = notes["shown"] or {"out": str(folder)}
        return judge_run(folder, chosen, declared_range=declared, shown=shown, notes=notes["caveats"], say=say)
    given = LogColumns(columns or {}, chosen.reward_weights, reward_list)
    path, logs = import_logs(paths, given, chosen.out, say or (lambda _: None), format)
    notes = read_notes(path)
    shown = {"logs": logs, "columns": notes["columns"], "out": str(path), "grouped_by": notes.get("grouped_by", [])}
    return judge_run(path, chosen, shown=shown, notes=notes["caveats"], say=say)


def rescore(run: str | Path, reward: Any, *, on_progress: OnProgress | None = None, say: Say | None = None, **settings: Any) -> Diagnosis:
    """Score the completions of a run folder with another reward, into a folder of its own, and judge them; nothing is drawn.

    settings  of `Settings`: those of the reward, those about judging, and `out`

    `diagnose` with the same settings, the new reward and this folder goes on from there. Raises `FlatspotError` as `diagnose` does.
    """
    from flatspot.rewards import check_reward, load_reward, reference_rewards
    from flatspot.rollouts.rescore import score_again, stored_prompts, whole_groups

    source, chosen = Path(run), _settings(settings)
    old, notes, prompts = read_record(source), read_notes(source), stored_prompts(source)
    groups = whole_groups(source, old.kind, chosen.group_size)
    with load_reward(reward, weights=chosen.reward_weights, timeout_s=chosen.reward_timeout_s, group_size=groups) as loaded:
        check_reward(loaded, prompts, say or (lambda _: None))
        asked, identity = ({**part, "reward": reward_asked(loaded)} for part in (old.asked, old.identity))
        path = Path(chosen.out) if chosen.out is not None else Path("runs") / digest(asked)
        if path.resolve() == source.resolve():
            raise SettingsError(f"{source} is the run itself, and its rows stay as they are: give another --out")
        (say or (lambda _: None))(f"scoring the completions of {source} again, into {path}")
        with open_run(
            path,
            kind=old.kind,
            asked=asked,
            identity=identity,
            rows_per_part=old.rows_per_part,
            visit_cost=old.visit_cost,
            provenance=provenance(),
        ) as new:
            if not (path / "prompts.parquet").exists():
                write_table(prompt_table(prompts, reference_rewards(loaded, prompts)), path / "prompts.parquet")
            facts = reward_facts(path, loaded)
            facts.keep()
            rounds = score_again(source, new, prompts, loaded, on_scored=facts.keep, on_progress=on_progress)
        caveats = other_caveats(notes)
        if not all(drawn.fixed for drawn in rounds):
            text = f"How many completions each prompt has was decided by the rewards of {source}, not by these."
            caveats.append(["rescored-by-other-reward", text])
        kept = {name: value for name, value in notes["shown"].items() if not name.startswith("reward")}
        shown = kept | reward_shown(reward, chosen) | {"out": str(path), "rescored": str(source)}
        declared = chosen.reward_range or usable_range(loaded.range)
        drop_references(path, prompts)
        own = ("caveats", "reward_caveats", "whole_groups")
        facts.end(
            caveats, **{name: value for name, value in notes.items() if name not in own} | {"shown": shown, "declared_range": declared}
        )
    return judge_run(path, chosen, declared_range=declared, shown=shown, notes=read_notes(path)["caveats"], say=say)


def judge_run(
    run: Path,
    settings: Settings,
    *,
    declared_range: tuple[float, float] | None = None,
    shown: Mapping[str, Any] | None = None,
    notes: Sequence[Any] = (),
    say: Say | None = None,
) -> Diagnosis:
    """Judge the rows of a run folder; writes verdicts.parquet, report.json and report.html into it, where it can be written.

    Raises `RunFolderError` where its rows are gone, or fewer than were judged before.
    """
    from flatspot.report.json import write_json as write_report

    with judging(run, say) as writable:
        record = read_record(run)
        check_rows(run, record)
        table = read_run(run)
        check_none_lost(run, record, int(table.n_rows.sum()))
        judged = judge_folder(run, record, table, settings, declared_range, shown or {}, notes)
        diagnosis = Diagnosis(run, judged.summary, judged.verdicts, writable)
        if writable:
            write_table(judged.verdicts, run / "verdicts.parquet")
            write_report(judged.summary, run / "report.json")
            diagnosis.report()
    return diagnosis


def export(run: str | Path, path: str | Path, *, verdicts: Sequence[str] = (), completions: bool = False, say: Say | None = None) -> int:
    """Write the prompts of a judged run (or their completions) to JSONL, CSV or Parquet; returns how many rows."""
    from flatspot.rollouts.export import check_is_there, export_completions, export_prompts

    check_is_there(Path(run), "prompts.parquet")  # no lock is made in another folder
    with judging(Path(run)):
        return (export_completions if completions else export_prompts)(Path(run), Path(path), verdicts, say or (lambda _: None))


def _settings(given: Mapping[str, Any]) -> Settings:
    given = keywords(given, stacklevel=4)
    known = {f.name for f in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise SettingsError(f"unknown setting {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    settings = Settings(**given)
    judge_settings(settings, settings.reward_range or (0.0, 1.0))  # a wrong setting speaks now, not after the run
    return settings

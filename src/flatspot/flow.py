"""The whole tool on one page: prompts + policy + reward → rollouts → stats → verdicts → report.

`diagnose` and `inspect` differ in where the rows come from; from the run folder on they are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.core.protocols import Engine
from flatspot.core.provenance import provenance
from flatspot.core.records import Prompt, Sampling
from flatspot.rollouts.collect import OnProgress, collect
from flatspot.rollouts.store import RunFolder, open_run, prompt_table, prompt_text, read_record, write_table
from flatspot.stats.evidence import Floats
from flatspot.stats.table import completions_of, connect, read_run
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import judge

if TYPE_CHECKING:
    import pyarrow as pa

    from flatspot.rewards import LoadedReward

Say = Callable[[str], None]
# what one HTML file carries and a browser handles well; of a larger set, prompts at even distances
_PROMPTS_SHOWN = 50_000
_COMPLETIONS_SHOWN_FOR = 3000


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `diagnose` can be told; the defaults are TRL's where TRL has one.

    samples and sampling
        max_samples      completions per prompt
        temperature, top_p, top_k, max_new_tokens    see `Sampling`
        seed             two runs with one seed draw the same completions
    engine
        engine           auto, hf, openvino or scripted
        dtype, device    auto: float32 on a CPU, bfloat16 on a GPU
        memory_gib       bound on the engine's memory; None leaves it half of what is free
    reward
        reward_range     (lo, hi) the total can take; None: the reward's own, or what is seen
        reward_weights   one per reward; None: 1 each
        reward_timeout_s a reward call that takes longer is a failure of its row
    judging
        group_size, target_error    see `JudgeSettings`
    prompts
        prompt_col, id_col, limit   the columns of the prompt file, and how many of its rows to take
    out                  the run folder; None names one under runs/ by what it holds
    """

    max_samples: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    seed: int = 0
    engine: str = "auto"
    dtype: str = "auto"
    device: str = "auto"
    memory_gib: float | None = None
    reward_range: tuple[float, float] | None = None
    reward_weights: tuple[float, ...] | None = None
    reward_timeout_s: float = 10.0
    group_size: int = 8
    target_error: float = 0.03
    prompt_col: str = "prompt"
    id_col: str = "id"
    limit: int | None = None
    out: str | Path | None = None

    def __post_init__(self) -> None:
        if self.max_samples < 1:
            raise SettingsError(f"--max-samples must be at least 1, got {self.max_samples}")
        self.judging(self.reward_range or (0.0, 1.0))  # a wrong setting speaks now, not after the run
        assert self.sampling

    @property
    def sampling(self) -> Sampling:
        """The part of the settings that an engine sees."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_new_tokens)

    def judging(self, reward_range: tuple[float, float]) -> JudgeSettings:
        """The part of the settings that judging sees, for rewards in this range."""
        settings = JudgeSettings(*reward_range, group_size=self.group_size, target_error=self.target_error)
        assert settings.zones
        return settings


@dataclass(frozen=True)
class Diagnosis:
    """A judged run.

    run       its folder
    summary   the object `--json` prints
    verdicts  one row per prompt: `core.schema.VERDICTS`
    """

    run: Path
    summary: Mapping[str, Any]
    verdicts: pa.Table = field(repr=False)

    @cached_property
    def prompts(self) -> pa.Table:
        """One row per prompt: `core.schema.PROMPTS`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.run / "prompts.parquet")

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report as one HTML file; by default report.html in the run folder."""
        from flatspot.report.blocks import ReportData
        from flatspot.report.html import write_html

        path = Path(path) if path is not None else self.run / "report.html"
        shown = _evenly(len(self.verdicts), _PROMPTS_SHOWN)
        verdicts, prompts = self.verdicts.take(shown), self.prompts.take(shown)
        completions = completions_of(self.run, _shown_first(verdicts))
        write_html(ReportData(self.summary, verdicts, prompts, completions), path)
        return path

    def __str__(self) -> str:
        from flatspot.report.terminal import render_terminal

        return render_terminal(self.summary)


def diagnose(
    prompts: Any, policy: Any, reward: Any, *, on_progress: OnProgress | None = None, say: Say | None = None, **settings: Any
) -> Diagnosis:
    """Draw completions, score them, and judge which prompts RL can learn from.

    prompts   a file (JSONL, CSV, Parquet), `reasoning-gym:…`, or a list of texts, rows or `Prompt`s
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
    from flatspot.engines.registry import load_engine
    from flatspot.rewards import load_reward
    from flatspot.tasks import load_prompts

    chosen = _settings(settings)
    say = say or (lambda _: None)
    asked = load_prompts(prompts, prompt_col=chosen.prompt_col, id_col=chosen.id_col, limit=chosen.limit)
    with load_reward(reward, weights=chosen.reward_weights, timeout_s=chosen.reward_timeout_s) as loaded:
        engine = load_engine(chosen.engine, policy, dtype=chosen.dtype, device=chosen.device, memory_gib=chosen.memory_gib)
        for note in getattr(engine, "notes", ()):
            say(note)
        with _run_of(asked, engine, loaded, chosen) as run:
            _keep_prompts(run, asked, loaded)
            collect(run, asked, engine, loaded, chosen.sampling, seed=chosen.seed, policy=_name(policy), on_progress=on_progress)
            shown = {"prompts": _name(prompts), "model": _name(policy), "reward": _name(reward), "out": str(run.path)}
            return judge_run(run.path, chosen, declared_range=loaded.range, shown=shown, notes=tuple(getattr(engine, "notes", ())))


def inspect(
    paths: str | Path | Sequence[str | Path], *, columns: Mapping[str, str | None] | None = None, say: Say | None = None, **settings: Any
) -> Diagnosis:
    """Judge the rollouts of another trainer's logs: CSV, JSONL or Parquet, long or wide.

    columns   {"prompt", "reward", "prompt_id", "completion", …: the log's own name}; usual names are recognised
    settings  of `Settings`, those about judging and `out`
    """
    from flatspot.importers.generic import find_logs, import_generic

    chosen = _settings(settings)
    files = find_logs([paths] if isinstance(paths, str | Path) else paths)
    given = dict(columns or {})
    stamp = [{"file": str(f.resolve()), "bytes": f.stat().st_size, "modified_ns": f.stat().st_mtime_ns} for f in files]
    identity = {"logs": stamp, "columns": given}
    path = Path(chosen.out) if chosen.out is not None else Path("runs") / f"inspect-{_digest(identity)}"
    with open_run(path, kind="inspect", identity=identity, samples=1, prompts_per_part=1, provenance=provenance()) as run:
        notes_file = path / "import.json"
        if not run.parts_done() or not notes_file.exists():
            (say or (lambda _: None))(f"reading {len(files)} file{'s' if len(files) > 1 else ''} into {path}")
            with connect(path) as db:
                imported = import_generic(db, files, given, path / "rollouts" / "part-000-000000.parquet", path / "prompts.parquet")
            notes_file.write_text(json.dumps({"columns": dict(imported.columns), "caveats": list(imported.caveats)}), "utf-8")
        found = json.loads(notes_file.read_text("utf-8"))
        shown = {"logs": [str(f) for f in files], "columns": found["columns"], "out": str(path)}
        return judge_run(path, chosen, shown=shown, notes=tuple(found["caveats"]))


def judge_run(
    run: Path,
    settings: Settings,
    *,
    declared_range: tuple[float, float] | None = None,
    shown: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Diagnosis:
    """Judge the rows of a run folder; writes verdicts.parquet, report.json and report.html into it."""
    from flatspot.report.json import write_json

    table = read_run(run)
    limits, source, outside = _range(table.evidence.low, table.evidence.high, settings.reward_range, declared_range)
    judged = judge(table, settings.judging(limits), range_source=source, notes=[*notes, *outside])
    record = read_record(run)
    judged.summary["source"] = record.kind
    judged.summary["sampling"] = record.identity.get("sampling", {})
    judged.summary["engine"] = record.identity.get("engine", {})
    judged.summary["settings"] = dict(shown or {}) | {"target_error": settings.target_error, "seed": record.identity.get("seed")}
    judged.summary["provenance"] = dict(record.provenance) | {"judged": provenance()["created"]}
    write_table(judged.verdicts, run / "verdicts.parquet")
    write_json(judged.summary, run / "report.json")
    diagnosis = Diagnosis(run, judged.summary, judged.verdicts)
    diagnosis.report()
    return diagnosis


def export(run: str | Path, path: str | Path, *, verdicts: Sequence[str] = (), completions: bool = False) -> int:
    """Write the prompts of a judged run (or their completions) to JSONL, CSV or Parquet; returns how many rows."""
    from flatspot.rollouts.export import export_completions, export_prompts

    return (export_completions if completions else export_prompts)(Path(run), Path(path), verdicts)


def _settings(given: Mapping[str, Any]) -> Settings:
    known = {f.name for f in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise SettingsError(f"unknown setting {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    return Settings(**given)


@contextmanager
def _run_of(prompts: Sequence[Prompt], engine: Engine, reward: LoadedReward, settings: Settings) -> Iterator[RunFolder]:
    identity = {
        "prompts": {"n": len(prompts), "sha256": _digest([[p.id, prompt_text(p.text), dict(p.columns)] for p in prompts], 64)},
        "engine": dict(engine.describe()),
        "reward": dict(reward.describe()),
        "sampling": asdict(settings.sampling),
        "seed": settings.seed,
    }
    path = Path(settings.out) if settings.out is not None else Path("runs") / _digest(identity)
    size = max(1, engine.rows_per_call // settings.max_samples)
    with open_run(
        path, kind="diagnose", identity=identity, samples=settings.max_samples, prompts_per_part=size, provenance=provenance()
    ) as run:
        yield run


def _keep_prompts(run: RunFolder, prompts: Sequence[Prompt], reward: LoadedReward) -> None:
    """prompts.parquet, once: the prompts in order, each with what its own reference answers earn."""
    from flatspot.rewards import reference_rewards

    if not (run.path / "prompts.parquet").exists():
        write_table(prompt_table(prompts, reference_rewards(reward, prompts)), run.path / "prompts.parquet")


def _range(
    low: Floats, high: Floats, given: tuple[float, float] | None, declared: tuple[float, float] | None
) -> tuple[tuple[float, float], str, list[str]]:
    """((lo, hi), where it comes from, caveats): given by the user, declared by the reward, or read off the rewards."""
    seen = (float(np.nanmin(low)), float(np.nanmax(high))) if np.isfinite(low).any() else None
    limits = given or declared
    if limits is not None:
        slack = 1e-6 * (limits[1] - limits[0])
        if seen and (seen[0] < limits[0] - slack or seen[1] > limits[1] + slack):
            return (
                limits,
                "given",
                [f"Rewards from {seen[0]:.3g} to {seen[1]:.3g} were seen, outside the range {list(limits)}: mend --reward-range."],
            )
        return limits, "given", []
    if seen is None or (seen[0] >= 0 and seen[1] <= 1):
        return (0.0, 1.0), "assumed, as every reward lies inside it", []
    if seen[0] == seen[1]:
        return (min(0.0, seen[0]), max(1.0, seen[1])), "guessed around the one reward seen", []
    return seen, "taken from the smallest and largest reward seen", []


def _shown_first(verdicts: pa.Table) -> list[str]:
    """The prompts whose completions the report carries: all of a small set, of a large one those that need a look first."""
    ids, names = verdicts["prompt_id"].to_pylist(), verdicts["verdict"].to_pylist()
    order = {name: i for i, name in enumerate(("vanishing", "undecided", "unscored", "learnable", "solved"))}
    return [ids[i] for i in sorted(range(len(ids)), key=lambda i: order[names[i]])[:_COMPLETIONS_SHOWN_FOR]]


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """The indices of at most `most` of n things, at even distances."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)) if n else np.zeros(0, np.int64)


def _name(thing: Any) -> str:
    """How a prompt source, policy or reward is called in run.json and the report."""
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, list | tuple) and all(isinstance(item, str) or callable(item) for item in thing) and len(thing) <= 5:
        return ", ".join(_name(item) for item in thing)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "name", None) or type(thing).__name__
    return f"{name} (in memory)"


def _digest(value: Any, length: int = 8) -> str:
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    ).hexdigest()[:length]

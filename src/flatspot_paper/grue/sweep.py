"""A sweep declared in YAML: its points are finetunings of one task that differ in some settings, its result is one table.

    task: narrativeqa
    scale: small
    seeds: [0, 1]
    reference: {arm: sft+rft, labels: 1, sft_steps: 1}  # its reward is what each point's is divided by
    grids:
      - arm: rft
        learning_rate: [3.0e-4, 3.0e-3]  # a list is a dimension of the grid, a value is the same for all its points
      - {arm: sft+rft, labels: [0.05, 1], sft_steps: [0.4, 1]}

A point's settings: learning_rate, temperature, entropy_coef and rl_steps of RL; `labels`, the share of inputs whose references SFT
sees; and `sft_steps`, the share of its steps. Temperature also is that of the completions drawn after finetuning, as in the paper.

OUT/points/POINT/seed-N/                   sft/ and rl/, as of the stages; what is finished is left as it is
OUT/sweep.json                             the table
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.optional import require
from flatspot_paper.grue.finetune import Finetuning, finetuning_of
from flatspot_paper.grue.plan import SCALES, TaskPlan, plan_tasks
from flatspot_paper.grue.tasks import task_named

ARMS = ("rft", "sft", "sft+rft", "warmup+rft")
_RANGES: Mapping[str, tuple[float, float]] = {
    "learning_rate": (0, math.inf),
    "temperature": (0, math.inf),
    "entropy_coef": (-1e-300, math.inf),
    "rl_steps": (0, math.inf),
    "labels": (0, 1),
    "sft_steps": (0, 1),
}
_KEYS = ("task", "scale", "seeds", "reference", "grids", "algorithm", "model", "inputs", "completions", "rl_steps", "sft_steps")


@dataclass(frozen=True, slots=True)
class Point:
    """One finetuning: its arm, and the settings that are its own, by name."""

    arm: str
    changes: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """Its folder.

        >>> Point("rft", (("learning_rate", 0.001), ("temperature", 2))).name
        'rft,learning_rate=0.001,temperature=2'
        """
        return ",".join([self.arm, *(f"{name}={value:.15g}" for name, value in self.changes)])


@dataclass(frozen=True, slots=True)
class Sweep:
    """A file, read. `rl_steps` and `sft_steps` are of all points, None: the scale's."""

    task: str
    scale: str
    seeds: tuple[int, ...]
    reference: Point | None
    points: tuple[Point, ...]
    algorithm: str = "ppo"
    model: str | None = None
    inputs: int | None = None
    completions: int | None = None
    rl_steps: int | None = None
    sft_steps: int | None = None

    def jobs(self) -> list[tuple[Point, int]]:
        """Every point and seed, the reference first."""
        every = dict.fromkeys([*([self.reference] if self.reference else []), *self.points])
        return [(point, seed) for point in every for seed in self.seeds]


class Row(TypedDict):
    """A line of the table: a point and seed; `ratio` is its reward over the reference's of that seed, None without one or for 0."""

    point: str
    arm: str
    changes: dict[str, float]
    seed: int
    reward: dict[str, float]
    tenth: dict[str, float]
    ratio: float | None
    seconds: float


def read_sweep(file: Path) -> Sweep:
    """Read and check a file; raises SettingsError naming the first key or value that is wrong."""
    yaml = require("yaml", extra="train", purpose=f"reading the sweep {file}")
    try:
        keys = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"the sweep {file} cannot be read: {' '.join(str(error).split())}") from None
    try:
        return sweep_of(keys)
    except SettingsError as error:
        raise SettingsError(f"the sweep {file}: {error}") from None


def sweep_of(keys: Any) -> Sweep:
    """The sweep of a YAML file's keys.

    >>> [p.name for p in sweep_of({"task": "totto", "grids": [{"arm": "rft", "temperature": [1, 2]}]}).points]
    ['rft,temperature=1', 'rft,temperature=2']
    """
    if not isinstance(keys, dict) or not {"task", "grids"} <= set(keys):
        raise SettingsError("expected the keys task and grids, as in experiments/grue/table2.yaml")
    if unknown := next((key for key in keys if key not in _KEYS), None):
        raise SettingsError(f"there is no key {unknown!r}; the keys are {', '.join(_KEYS)}")
    scale, algorithm = str(keys.get("scale", "small")), str(keys.get("algorithm", "ppo"))
    if scale not in SCALES or algorithm not in ("ppo", "grpo"):
        raise SettingsError(f"expected scale {' or '.join(SCALES)} and algorithm ppo or grpo, got {scale!r} and {algorithm!r}")
    reference = keys.get("reference")
    points = [point for grid in _grids(keys["grids"]) for point in _points(grid)]
    alone = _points(reference) if reference is not None else []
    if len(alone) > 1:
        raise SettingsError("the reference is one point: give it values, not lists")
    counts = {name: keys.get(name) for name in ("inputs", "completions", "rl_steps", "sft_steps")}
    for name, value in counts.items():
        if value is not None and not _is_whole(value, 1):
            raise SettingsError(f"{name} is a whole number, 1 or more, got {value!r}")
    seeds = keys.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(_is_whole(seed, 0) for seed in seeds):
        raise SettingsError(f"seeds is a list of whole numbers, got {seeds!r}")
    if (model := keys.get("model")) is not None and not isinstance(model, str):
        raise SettingsError(f"model is the name or folder of a policy, got {model!r}")
    task = task_named(str(keys["task"])).name
    first = alone[0] if alone else None
    return Sweep(task, scale, tuple(dict.fromkeys(seeds)), first, tuple(dict.fromkeys(points)), algorithm, model, **counts)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _grids(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise SettingsError(f"grids is a list of grids, as - {{arm: rft, learning_rate: [3.0e-4, 3.0e-3]}}; got {value!r}")
    return value


def _points(grid: Any) -> list[Point]:
    if not isinstance(grid, dict) or grid.get("arm") not in ARMS:
        raise SettingsError(f"a grid names an arm, {', '.join(ARMS)}; got {grid!r}")
    names = [name for name in grid if name != "arm"]
    for name in names:
        if name not in _RANGES:
            raise SettingsError(f"a point has no setting {name!r}; its settings are {', '.join(_RANGES)}")
        if (name in ("labels", "sft_steps")) > grid["arm"].startswith("sft"):
            raise SettingsError(f"the arm {grid['arm']} has no SFT of a given length, so no {name}")
    values = [grid[name] if isinstance(grid[name], list) else [grid[name]] for name in names]
    for name, some in zip(names, values, strict=True):
        low, high = _RANGES[name]
        if not some:
            raise SettingsError(f"{name} is an empty list, so that its grid has no point")
        for value in some:
            if name == "rl_steps" and not _is_whole(value, 1):
                raise SettingsError(f"rl_steps is a whole number, 1 or more, got {value!r}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high or value == math.inf:
                kind = "a share above 0, at most 1" if high == 1 else "a number, 0 or more" if low < 0 else "a number above 0"
                raise SettingsError(f"{name} is {kind}, got {value!r} (in YAML 3e-4 is text: write 3.0e-4)")
    return [Point(grid["arm"], tuple(zip(names, chosen, strict=True))) for chosen in itertools.product(*values)]


def plan_of(sweep: Sweep, folder: Path | None = None, **options: Any) -> TaskPlan:
    """The plan of a sweep's task; `options` as of `plan_tasks`."""
    [plan] = plan_tasks(
        SCALES[sweep.scale], [sweep.task], model=sweep.model, inputs=sweep.inputs, completions=sweep.completions, folder=folder, **options
    )
    return plan


def settings_of(point: Point, sweep: Sweep, plan: TaskPlan, seed: int) -> tuple[TaskPlan, Finetuning, list[int] | None]:
    """(the plan, the finetuning, the inputs whose labels SFT sees or None: all) of a point.

    Of a share of the inputs at least one is taken, the first of a permutation with the seed.
    """
    own = dict(point.changes)
    how = finetuning_of(plan, sweep.scale, sweep.algorithm, rl_steps=sweep.rl_steps, sft_steps=sweep.sft_steps, seed=seed)  # type: ignore[arg-type]
    steps = {"steps": own["rl_steps"]} if "rl_steps" in own else {}
    rates: dict[str, Any] = {name: own[name] for name in ("learning_rate", "entropy_coef") if name in own}
    warmth = float(own.get("temperature", plan.sampling.temperature))

    def changed(rl: Any) -> Any:
        return replace(rl, **steps, **rates, sampling=replace(rl.sampling, temperature=warmth))

    sft = dict(how.sft)
    if "sft_steps" in own:
        if "max_steps" not in sft:
            raise SettingsError("sft_steps is a share of SFT's steps: give their number, sft_steps: 1000, as a key of the sweep")
        sft["max_steps"] = max(1, round(float(own["sft_steps"]) * int(str(sft["max_steps"]))))
    labels = None
    if own.get("labels", 1) < 1:
        size = plan.asked.size or 0
        labels = sorted(np.random.RandomState(seed).permutation(size)[: max(1, int(own["labels"] * size))].tolist())
    how = replace(how, rl=changed(how.rl), rl_after_sft=changed(how.rl_after_sft), sft=sft)
    return replace(plan, sampling=replace(plan.sampling, temperature=warmth)), how, labels


def rows_of(sweep: Sweep, numbers: Mapping[tuple[Point, int], Any]) -> list[Row]:
    """The table of the jobs that are finished."""
    rows: list[Row] = []
    for point, seed in sweep.jobs():
        if (point, seed) not in numbers:
            continue
        own = numbers[point, seed]
        reference = numbers.get((sweep.reference, seed)) if sweep.reference else None
        base = 0.0 if reference is None else reference["numbers"]["mean"]["value"]
        mean = own["numbers"]["mean"]
        rows.append({
            "point": point.name,
            "arm": point.arm,
            "changes": dict(point.changes),
            "seed": seed,
            "reward": mean,
            "tenth": own["numbers"]["percentiles"]["p10"],
            "ratio": mean["value"] / base if base else None,
            "seconds": own["seconds"],
        })  # fmt: skip
    return rows


def table_text(rows: Sequence[Row]) -> str:
    """The table for a terminal: a line per point, its seeds averaged, the lowest and highest in brackets where there are several."""
    lines = [f"{'point':<52}{'reward':<26}{'10th percentile of the std':<28}of the reference"]
    for name in dict.fromkeys(row["point"] for row in rows):
        some = [row for row in rows if row["point"] == name]
        ratios = [row["ratio"] for row in some if row["ratio"] is not None]
        share = _spread(ratios, ".0%") if ratios else "–"
        lines.append(f"{name:<52}{_of(some, 'reward'):<26}{_of(some, 'tenth'):<28}{share}")
    return "\n".join(lines)


def _of(rows: Sequence[Row], what: str) -> str:
    if len(rows) == 1:
        own: Mapping[str, float] = rows[0][what]  # type: ignore[literal-required]
        return f"{own['value']:.3f} ({own['low']:.3f}–{own['high']:.3f})"
    return _spread([row[what]["value"] for row in rows], ".3f")  # type: ignore[literal-required]


def _spread(values: Sequence[float], form: str) -> str:
    text = format(float(np.mean(values)), form)
    return text if len(values) == 1 else f"{text} ({format(min(values), form)}–{format(max(values), form)}, {len(values)} seeds)"

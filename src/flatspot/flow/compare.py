"""Two judged runs of the same prompts: which verdicts changed, and what changed in the rewards. Nothing is drawn, nothing is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.records import prompt_id
from flatspot.runs.comparison import ChangedPrompt, ChangeLimits, ComparedRun, ComparisonSummary, GroupSizes, OnlyIn, PairCounts
from flatspot.runs.run import Run, as_run
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.paired import Change, Rewards, compared_sizes, largest_std, mean_change, mixed_share, own_changes, std_of_first
from flatspot.verdicts.differing import differing, pairs_caveats, run_caveats, settings_caveats, settings_of
from flatspot.verdicts.judge import VERDICTS

if TYPE_CHECKING:
    import pyarrow as pa

PAIR_BY = ("auto", "id", "text")
_SHOWN = 10  # prompts listed of each kind; the table has all


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared.

    summary  the object that `flatspot compare --json` prints
    prompts  one row per prompt of both: its ids and text; of each run its verdict, mean and scored completions; the change in the mean,
             with its own 95% limits
    """

    summary: ComparisonSummary
    prompts: pa.Table = field(repr=False)

    def __str__(self) -> str:
        from flatspot.report.compare_text import compare_text

        return compare_text(self.summary)


@dataclass(frozen=True)
class _Side:
    """One run: its verdicts and prompts, its summary, its scored rewards and what it was asked."""

    run: Run
    settings: Mapping[str, object]
    texts: Sequence[str]


@dataclass(frozen=True)
class _Pairs:
    """Rows of A and of B that are one prompt; how many were paired by id, and how many ids name different texts."""

    a: Ints
    b: Ints
    by_id: int
    other_text: int


def compare(a: str | Path | Run, b: str | Path | Run, *, pair_by: str = "auto") -> Comparison:
    """Compare two judged run folders, prompt by prompt; `a` comes before `b`.

    pair_by  auto: by id where the text is the same too (or a log has no texts), then by text; id: by id, whatever the texts; text: by text

    Raises `RunFolderError` where a folder has not been judged, or the runs share no prompt.
    """
    if pair_by not in PAIR_BY:
        raise SettingsError(f"--pair-by must be one of {', '.join(PAIR_BY)}, got {pair_by!r}")
    runs = [as_run(run) for run in (a, b)]
    paths = [run.folder for run in runs]
    if paths[0].resolve() == paths[1].resolve():
        raise SettingsError(f"{paths[0]} was given twice: give the two runs to compare")
    first, second = (_side(run) for run in runs)
    pairs = _pair(first, second, pair_by)
    if len(pairs.a) == 0:
        raise RunFolderError(_nothing_shared(paths, pairs, pair_by))
    lo, hi = (of(side.run.summary.reward.range[i] for side in (first, second)) for i, of in ((0, min), (1, max)))
    rewards = [_rewards(side.run, rows) for side, rows in zip((first, second), (pairs.a, pairs.b), strict=True)]
    table = _table(first, second, pairs, rewards, lo, hi)
    summary = _summary(first, second, pairs, rewards, table, pair_by, lo, hi)
    own = [*run_caveats("A", first.run.summary), *run_caveats("B", second.run.summary)]
    caveats = (*settings_caveats(first.settings, second.settings), *own, *pairs_caveats(summary))
    return Comparison(replace(summary, caveats=caveats), table)


def _side(run: Run) -> _Side:
    _ = run.verdicts  # read to be checked
    texts = [_text(text, chat) for text, chat in zip(*(run.prompts[name].to_pylist() for name in ("prompt", "is_chat")), strict=True)]
    return _Side(run, settings_of(run.summary, run.record.identity), texts)


def _text(text: str, is_chat: bool) -> str:
    """A prompt's text as it is compared: of messages, roles and contents alone, in whatever order a file has their keys."""
    return prompt_id(json.loads(text)) if is_chat else text


def _pair(a: _Side, b: _Side, by: str) -> _Pairs:
    of_b = {name: row for row, name in enumerate(b.run.ids)}
    same_id = [(row, of_b[name]) for row, name in enumerate(a.run.ids) if name in of_b]
    other = [(i, j) for i, j in same_id if a.texts[i] and b.texts[j] and a.texts[i] != b.texts[j]]
    unlike = set(other)
    pairs = [] if by == "text" else [pair for pair in same_id if by == "id" or pair not in unlike]
    by_id = len(pairs)
    if by != "id":
        done_a, done_b = ({pair[k] for pair in pairs} for k in (0, 1))
        waiting: dict[str, list[int]] = {}
        for j in range(len(b.texts) - 1, -1, -1):
            if j not in done_b and b.texts[j]:
                waiting.setdefault(b.texts[j], []).append(j)
        for i, text in enumerate(a.texts):
            if i not in done_a and waiting.get(text):
                pairs.append((i, waiting[text].pop()))
    pairs.sort()
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return _Pairs(rows[:, 0], rows[:, 1], by_id, len(other))


def _nothing_shared(paths: Sequence[Path], pairs: _Pairs, by: str) -> str:
    how = {"auto": "neither an id with the same text, nor a text", "id": "no id", "text": "no text"}[by]
    way = f" {pairs.other_text} ids are in both and name different texts: --pair-by id pairs them all the same." if pairs.other_text else ""
    return f"{paths[0]} and {paths[1]} share no prompt ({how}), so there is nothing to compare.{way} Diagnose both on the same prompts."


def _rewards(run: Run, rows: Ints) -> Rewards:
    """The scored rewards of these rows' prompts, numbered as they are paired, in the order drawn."""
    import pyarrow as pa
    import pyarrow.compute as pc

    paired = pa.array([run.ids[row] for row in rows], pa.string())
    prompt: list[Ints] = []
    reward: list[Floats] = []
    for batch in run.batches(["prompt_id", "reward"]):
        at = pc.fill_null(pc.index_in(batch["prompt_id"].cast(pa.string()), value_set=paired), -1).to_numpy().astype(np.int64)
        values = np.asarray(batch["reward"].to_numpy(), np.float64)
        scored = (at >= 0) & np.isfinite(values)
        prompt.append(at[scored])
        reward.append(values[scored])
    joined, values = np.concatenate([np.zeros(0, np.int64), *prompt]), np.concatenate([np.zeros(0), *reward])
    order = np.argsort(joined, kind="stable")
    return Rewards(joined[order], values[order])


def _table(a: _Side, b: _Side, pairs: _Pairs, rewards: Sequence[Rewards], lo: float, hi: float) -> pa.Table:
    import pyarrow as pa

    change, low, high = own_changes(rewards[0], rewards[1], len(pairs.a), lo, hi)
    columns: dict[str, object] = {
        "prompt_id": [a.run.ids[row] for row in pairs.a],
        "prompt_id_b": [b.run.ids[row] for row in pairs.b],
        "prompt": a.run.prompts["prompt"].take(pairs.a),
        "is_chat": a.run.prompts["is_chat"].take(pairs.a),
    }
    for name, side, rows, scored in (("a", a, pairs.a, rewards[0]), ("b", b, pairs.b, rewards[1])):
        columns[f"verdict_{name}"] = side.run.verdicts["verdict"].take(rows)
        columns[f"mean_{name}"] = side.run.verdicts["mean"].take(rows)
        columns[f"n_scored_{name}"] = np.bincount(scored.prompt, minlength=len(rows))
    limits = {"change": change, "change_lo": low, "change_hi": high}
    return pa.table(columns | {name: pa.array(values, from_pandas=True) for name, values in limits.items()})


def _summary(
    a: _Side, b: _Side, pairs: _Pairs, rewards: Sequence[Rewards], table: pa.Table, by: str, lo: float, hi: float
) -> ComparisonSummary:
    n, size = len(pairs.a), b.run.summary.group_size
    k = compared_sizes(rewards[0], rewards[1], n)
    groups = np.minimum(k, size)
    sizes = groups[groups >= 2]  # of fewer there is neither a std nor a group
    smallest, largest = (int(sizes.min()), int(sizes.max())) if len(sizes) else (None, None)
    means = _numbers(table, "mean_a"), _numbers(table, "mean_b")
    stds = std_of_first(rewards[0], k), std_of_first(rewards[1], k)
    mixed = mixed_share(rewards[0], groups), mixed_share(rewards[1], groups)
    was, now = (table[name].to_pylist() for name in ("verdict_a", "verdict_b"))
    moved = Counter(zip(was, now, strict=True))
    low, high = _numbers(table, "change_lo"), _numbers(table, "change_hi")
    only_a, only_b = len(a.texts) - n, len(b.texts) - n
    return ComparisonSummary(
        a=_of_run(a),
        b=_of_run(b),
        differs=tuple(differing(a.settings, b.settings)),
        pairs=PairCounts(n, by, pairs.by_id, n - pairs.by_id, only_a, only_b, pairs.other_text),
        transitions={x: {y: moved[x, y] for y in VERDICTS} for x in VERDICTS},
        changed_verdicts=sum(count for (x, y), count in moved.items() if x != y),
        changed_by_error=_by_error(a, b, pairs),
        group_size=size,
        smaller_groups=int((sizes < size).sum()),
        sizes=GroupSizes(smallest, largest),
        mean=_limits(mean_change(*means, hi - lo)),
        std=_limits(mean_change(*stds, largest_std(smallest or 2, hi - lo))),
        mixed=_limits(mean_change(*mixed, 1.0)),
        rose=int((low > 0).sum()),
        fell=int((high < 0).sum()),
        most_changed=_most_changed(table),
        alone=OnlyIn(_alone(a, pairs.a), _alone(b, pairs.b)),
    )


def _limits(change: Change) -> ChangeLimits:
    return ChangeLimits(change.before, change.after, change.change, change.lo, change.hi, change.n)


def _of_run(side: _Side) -> ComparedRun:
    summary = side.run.summary
    return ComparedRun(
        run=str(side.run.folder),
        verdict=summary.verdict,
        n_prompts=len(side.texts),
        source=summary.source,
        model=summary.settings.model,
        reward=summary.settings.rewards or None,
        reward_range=summary.reward.range,
        completions_per_prompt=summary.generations.per_prompt,
        fractions=summary.fractions,
    )


def _by_error(a: _Side, b: _Side, pairs: _Pairs) -> float:
    """How many pairs hold a wrong verdict on either side, as the runs expect it: so many may differ though nothing changed."""
    wrong = [np.nan_to_num(side.run.numbers("error_probability")[rows]) for side, rows in ((a, pairs.a), (b, pairs.b))]
    decided = [
        np.isin(np.array(side.run.verdicts["verdict"].to_pylist())[rows], ("learnable", "vanishing", "solved"))
        for side, rows in ((a, pairs.a), (b, pairs.b))
    ]
    return float((1 - (1 - wrong[0]) * (1 - wrong[1]))[decided[0] & decided[1]].sum())


def _most_changed(table: pa.Table) -> tuple[ChangedPrompt, ...]:
    """The prompts whose change is surest: the limit nearest to 0 lies farthest from it, then the largest change."""
    change, low, high = (_numbers(table, name) for name in ("change", "change_lo", "change_hi"))
    sure = np.where(change > 0, low, -high)
    order = [int(i) for i in np.lexsort((-np.abs(change), -np.nan_to_num(sure, nan=-np.inf))) if np.isfinite(change[i]) and change[i] != 0]
    return tuple(ChangedPrompt(**row) for row in table.take(np.array(order[:_SHOWN], np.int64)).to_pylist())


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), np.float64)


def _alone(side: _Side, paired: Ints) -> tuple[str, ...]:
    left = np.setdiff1d(np.arange(len(side.texts)), paired)[:_SHOWN]
    return tuple(side.run.ids[row] for row in left)

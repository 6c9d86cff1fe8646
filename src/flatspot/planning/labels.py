"""Before a warm-up: which vanishing prompts to label, how many, in which order, and what that can gain at most.

What can be said before the warm-up is a ceiling: the share of the set that vanishes times what those prompts can still gain, where
a range or real answers bound that. A label is taken to reach another prompt as far as the two are alike, in text and in what the policy
answers; that is a guess, and the gain built on it is one to compare labels by, not a forecast of the reward after RL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.answers import answer_column
from flatspot.core.errors import SettingsError
from flatspot.core.records import Prompt
from flatspot.core.schema import PLAN, arrow_schema
from flatspot.planning.coverage import Coverage, coverage, recommended
from flatspot.planning.failing import POOL, drawn_order, failing_prompts, headroom
from flatspot.planning.label_words import Named, reason_of
from flatspot.planning.strategies import find_strategy
from flatspot.planning.summary import Actions, Answers, LabelSummary, Reward, SelectedLabel
from flatspot.runs.run import Run, as_run
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.forecast import SIZES, smallest_group
from flatspot.verdicts.withheld import SURVIVORS

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_STRATEGY = "facility-location"  # the best mean reward after RL at 5% of the labels, within noise: design/0014
MAX_SHARE = 0.05  # of the run's prompts: no more labels are recommended
_MOST = POOL // 2  # labels that a strategy orders; the rest come as drawn
_ACTIONS = {"learnable": "train", "solved": "drop", "vanishing": "defer", "undecided": "defer", "unscored": "fix"}


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Which labels to ask for.

    labels      a number, or a share of the run's prompts as "5%"; None: as many as is recommended, at most 5%
    strategy    random, hardest, cover, facility-location, or one that an installed package adds to `flatspot.strategies`
    seed        draws the order in which ties fall, and the prompts of "random"
    share       how often a group of a prompt is to be informative, for the completions per prompt
    """

    labels: int | str | None = None
    strategy: str = DEFAULT_STRATEGY
    seed: int = 0
    share: float = 0.5

    def __post_init__(self) -> None:
        find_strategy(self.strategy)
        if not 0 < self.share < 1:
            raise SettingsError(f"--share must lie in (0, 1), got {self.share}")
        self.budget(100)

    def budget(self, n_prompts: int) -> int | None:
        """How many labels are asked for, in a run of so many prompts; None where that is left open.

        >>> LabelSettings(labels="5%").budget(410), LabelSettings(labels=7).budget(410), LabelSettings().budget(410)
        (21, 7, None)
        """
        labels = self.labels
        if labels is None:
            return None
        text = str(labels).strip()
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 < share <= 1:
                    return max(1, math.ceil(share * n_prompts - 1e-9))
            elif int(text) >= 1:
                return int(text)
        except ValueError:
            pass
        raise SettingsError(f"--labels must be a number from 1, or a share of the prompts as 5%, got {text}")


@dataclass(frozen=True, slots=True)
class Label:
    """A prompt to label.

    order   its place, from 1
    covers  the share of what the vanishing prompts lack that it covers, beyond the labels before it
    gain    the same in mean reward; None where nothing bounds what the prompts can earn
    reason  why it was chosen
    """

    prompt: Prompt
    order: int
    covers: float
    gain: float | None
    reason: str


@dataclass(frozen=True)
class LabelPlan:
    """What to do with each prompt of a run.

    labels   the prompts to label, in order
    table    one row per prompt of the run: `core.schema.PLAN`
    summary  the numbers, as `flatspot plan --json` prints them under `labels`
    """

    labels: tuple[Label, ...]
    table: pa.Table
    summary: LabelSummary


def select_labels(run: str | Path | Run, settings: LabelSettings | None = None) -> list[Label]:
    """The prompts of a judged run folder to label, in order; empty where none is vanishing."""
    return list(plan_labels(run, settings).labels)


def plan_labels(run: str | Path | Run, settings: LabelSettings | None = None) -> LabelPlan:
    """What to do with each prompt of a judged run folder; writes nothing.

    Raises `RunFolderError` where the folder has not been judged, `ExtensionError` where a strategy of another package fails.
    """
    settings = settings or LabelSettings()
    run = as_run(run)
    m = len(run.ids)
    most, budget = max(1, math.ceil(MAX_SHARE * m)), settings.budget(m)
    failing, rows = failing_prompts(run, settings.seed, min(max(most, budget or 0), _MOST))
    order = find_strategy(settings.strategy)(failing, min(max(most, budget or 0), _MOST))
    covered = coverage(failing, order)
    advised = recommended(covered.share[:most])
    n = min(advised if budget is None else budget, len(order))
    covered = covered if n == len(order) else coverage(failing, order[:n])
    extra = _as_drawn(run, rows[order[:n]], (budget or 0) - n, settings.seed)
    chosen = np.concatenate([rows[order[:n]], extra])
    ceiling = _ceiling(run)
    parts = np.concatenate([np.diff(covered.share, prepend=0.0), np.zeros(len(extra))])
    table = _plan_table(run, settings, chosen, None if ceiling is None else parts * ceiling.mean, covered, rows)
    labels = _labels(run, table, chosen, parts)
    share = float(covered.share[-1]) if n else 0.0
    summary = LabelSummary(
        strategy=settings.strategy,
        seed=settings.seed,
        asked=budget,
        asked_share=str(settings.labels).strip() if str(settings.labels).strip().endswith("%") else None,
        n_prompts=m,
        limit=run.request.limit,
        n=len(chosen),
        answers=_answers(labels),
        vanishing=int(sum(name == "vanishing" for name in run.verdicts["verdict"].to_pylist())),
        compared=len(rows),
        recommended=advised,
        most=most,
        coverage=share,
        curve={str(k): float(covered.share[k - 1]) for k in _points(n)},
        ceiling=ceiling,
        ceiling_unknown=None if ceiling is not None else SURVIVORS if SURVIVORS in run.summary.caveat_codes else "range",
        gain=None if ceiling is None else Reward(share * ceiling.mean, share * ceiling.lo, share * ceiling.hi),
        actions=Actions(**Counter(table["action"].to_pylist())),
        samples=_sizes(table),
        chosen=tuple(SelectedLabel(x.order, x.prompt.id, x.covers, x.gain, x.reason) for x in labels),
    )
    return LabelPlan(labels, table, summary)


def _answers(labels: Sequence[Label]) -> Answers | None:
    """The column in which prompts to label have an answer already, and how many of them."""
    column = answer_column(label.prompt.columns for label in labels)
    return Answers(*column) if column else None


def _labels(run: Run, table: pa.Table, chosen: Ints, parts: Floats) -> tuple[Label, ...]:
    gain, reason = table["gain"].to_pylist(), table["reason"].to_pylist()
    return tuple(
        Label(run.prompt(int(row)), order, float(part), gain[row], reason[row])
        for order, (row, part) in enumerate(zip(chosen, parts, strict=True), 1)
    )


def _as_drawn(run: Run, chosen: Ints, n: int, seed: int) -> Ints:
    """More vanishing prompts than a strategy orders: as the seed draws them."""
    if n <= 0:
        return np.zeros(0, np.int64)
    vanishing = np.flatnonzero(np.array(run.verdicts["verdict"].to_pylist()) == "vanishing")
    left = vanishing[~np.isin(vanishing, chosen)]
    return np.asarray(left[drawn_order([run.ids[i] for i in left], seed)][:n], np.int64)


def _ceiling(run: Run) -> Reward | None:
    """Mean reward that the set would gain if every vanishing prompt came to earn what it may at most, with 95% limits; None if not known.

    The share that vanishes, with its limits under the fitted model, times the mean headroom of what vanishes. A log of survivors only does
    not show that share.
    """
    share = run.summary.fractions.vanishing
    if share.mean is None or share.lo is None or share.hi is None:
        return None
    p, left = run.numbers("p_vanishing"), headroom(run)
    may_vanish = p > 0  # not where the prompt has no reward
    mass = p[may_vanish].sum()
    mean = float(p[may_vanish] @ left[may_vanish] / mass) if mass > 0 else 0.0
    if not np.isfinite(mean):
        return None
    return Reward(mean * share.mean, mean * share.lo, mean * share.hi)


def _plan_table(run: Run, settings: LabelSettings, chosen: Ints, gains: Floats | None, covered: Coverage, rows: Ints) -> pa.Table:
    import pyarrow as pa

    ids, verdicts = run.ids, run.verdicts["verdict"].to_pylist()
    m = len(ids)
    place = {int(row): order for order, row in enumerate(chosen, 1)}
    actions = ["label" if i in place else _ACTIONS.get(name, "defer") for i, name in enumerate(verdicts)]
    nearest: list[str | None] = [None] * m
    similar: list[float | None] = [None] * m
    for at, row in enumerate(rows):
        if covered.nearest[at] >= 0:
            nearest[row], similar[row] = ids[int(chosen[covered.nearest[at]])], float(covered.similar[at])
    samples = smallest_group(run.model, settings.share)
    gain = gain_so_far = [None] * len(chosen)
    if gains is not None:
        gain, gain_so_far = gains.tolist(), np.cumsum(gains).tolist()
    columns: dict[str, Any] = {
        "prompt_id": ids,
        "verdict": verdicts,
        "action": actions,
        "order": [place.get(i) for i in range(m)],
        "gain": [gain[place[i] - 1] if i in place else None for i in range(m)],
        "gain_so_far": [gain_so_far[place[i] - 1] if i in place else None for i in range(m)],
        "nearest": nearest,
        "similarity": similar,
        "samples": [int(samples[i]) if samples[i] and verdicts[i] in ("learnable", "undecided") else None for i in range(m)],
    }
    means, n_samples = run.verdicts["mean"].to_pylist(), run.verdicts["n_samples"].to_pylist()
    p = run.verdicts["p_vanishing"].to_pylist()
    columns["reason"] = [
        reason_of(
            Named(verdicts[i], actions[i], p[i], means[i], n_samples[i], columns["samples"][i], similar[i], columns["gain"][i]),
            settings.strategy,
        )
        for i in range(m)
    ]
    return pa.table(columns, schema=arrow_schema(PLAN))


def _sizes(table: pa.Table) -> dict[str, int]:
    """How many prompts to train on take each group size; "more": none up to the largest."""
    rows = [size for action, size in zip(table["action"].to_pylist(), table["samples"].to_pylist(), strict=True) if action == "train"]
    return {str(size): rows.count(size) for size in SIZES} | {"more": rows.count(None)}


def _points(n: int) -> list[int]:
    """A few places of the coverage curve: 1, 2, 4, … and its end."""
    return sorted({min(2**k, n) for k in range(n.bit_length() + 1)}) if n else []

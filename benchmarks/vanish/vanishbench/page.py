"""The results as the page that people read, and as the table of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vanishbench.entries import ENTRIES, Kind
from vanishbench.measure import Job, Mean, Outcome, as_good, mean_of
from vanishbench.tasks import TASKS

Outcomes = Mapping[Job, Outcome]
_PAGE = Path(__file__).with_name("page.md")
_VERDICT = Path(__file__).with_name("verdict.md")  # written by hand, of the results that stand in results.json


def tasks_of(outcomes: Outcomes) -> list[str]:
    """In the order of `TASKS`."""
    return [task for task in TASKS if any(job.task == task for job in outcomes)]


def entries_of(outcomes: Outcomes) -> list[str]:
    """The listed ones in their order, then the others."""
    return list(dict.fromkeys([name for name in ENTRIES if any(job.entry == name for job in outcomes)] + [job.entry for job in outcomes]))


def of(outcomes: Outcomes, task: str, entry: str) -> list[Outcome]:
    """One outcome per seed."""
    return [outcomes[job] for job in sorted(outcomes, key=lambda job: job.seed) if (job.task, job.entry) == (task, entry)]


def is_reference(entry: str) -> bool:
    """Whether it has more labels than the budget, and no rank."""
    return entry in ENTRIES and ENTRIES[entry].all_labels


def best_of(outcomes: Outcomes, task: str, kinds: Sequence[Kind] | None = None) -> str:
    """The ranked entry with the largest share on a task."""
    ranked = [e for e in entries_of(outcomes) if not is_reference(e) and (kinds is None or (e in ENTRIES and ENTRIES[e].kind in kinds))]
    return max(ranked, key=lambda entry: share(outcomes, task, entry).mean)


def share(outcomes: Outcomes, task: str, entry: str) -> Mean:
    """Share of the reachable gain over the seeds."""
    return mean_of([outcome.share for outcome in of(outcomes, task, entry)])


def among_best(outcomes: Outcomes, task: str, entry: str) -> bool:
    """Whether it is the best ranked entry, or about as good."""
    if is_reference(entry):
        return False
    best = [outcome.share for outcome in of(outcomes, task, best_of(outcomes, task))]
    return as_good([outcome.share for outcome in of(outcomes, task, entry)], best)


def ranks(outcomes: Outcomes) -> dict[str, float]:
    """The mean rank over the tasks; entries with the same share to a percent share theirs."""
    ranked = [entry for entry in entries_of(outcomes) if not is_reference(entry)]
    total = dict.fromkeys(ranked, 0.0)
    for task in tasks_of(outcomes):
        shares = {entry: round(share(outcomes, task, entry).mean, 2) for entry in ranked}
        for entry, own in shares.items():
            total[entry] += sum(other > own for other in shares.values()) + (1 + sum(other == own for other in shares.values())) / 2
    return {entry: rank / len(tasks_of(outcomes)) for entry, rank in total.items()}


def _percent(mean: Mean) -> str:
    half = "" if mean.half != mean.half else f"\u00a0±\u00a0{100 * mean.half:.0f}"  # no break in a narrow column
    return f"{round(100 * mean.mean)}{half}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def in_short(outcomes: Outcomes, *, explained: bool = False) -> str:
    """A row per entry: share of the reachable gain on each task, the mean over the tasks, and the mean rank; best first.

    explained  what is flat stands below the name of each task, for a page
    """
    tasks, entries, rank = tasks_of(outcomes), entries_of(outcomes), ranks(outcomes)
    overall = {entry: sum(share(outcomes, task, entry).mean for task in tasks) / len(tasks) for entry in entries}
    rows = []
    for entry in sorted(entries, key=lambda entry: (is_reference(entry), -overall[entry])):
        cells = [_percent(share(outcomes, task, entry)) for task in tasks]
        cells = [f"**{cell}**" if among_best(outcomes, task, entry) else cell for task, cell in zip(tasks, cells, strict=True)]
        name = f"*{entry}* (reference)" if is_reference(entry) else entry
        rows.append([name, *cells, f"{100 * overall[entry]:.0f}", f"{rank[entry]:.1f}" if entry in rank else "–"])
    head = [f"{task}<br><sub>{TASKS[task].about}</sub>" for task in tasks] if explained else tasks
    return _table(["entry", *head, "mean", "mean rank"], rows)


def _settings(outcomes: Outcomes) -> str:
    rows = []
    for task in tasks_of(outcomes):
        some = of(outcomes, task, entries_of(outcomes)[0])
        kinds = ", ".join(f"{n} {name}" for name, n in TASKS[task].kinds)
        start, best = (mean_of([getattr(outcome, name) for outcome in some]).mean for name in ("start", "best"))
        rows.append([f"`{task}`", TASKS[task].about, kinds, TASKS[task].labels, f"{start:.2f}", f"{best:.2f}"])
    return _table(["task", "what is flat", "240 prompts", "a label helps", "reward at the start", "best possible"], rows)


def _rules() -> str:
    rows = []
    for name, listed in ENTRIES.items():
        text = " ".join((listed.rule.__doc__ or "").split())
        rows.append([name, listed.kind, text])
    return _table(["entry", "kind", "what it does"], rows)


def _task_table(outcomes: Outcomes, task: str) -> str:
    rows = []
    for entry in sorted(entries_of(outcomes), key=lambda entry: -share(outcomes, task, entry).mean):
        own = of(outcomes, task, entry)
        value = mean_of([outcome.value for outcome in own])
        early = [mean_of([(o.value_at(part * o.budget) - o.start) / (o.best - o.start) for o in own]).mean for part in (1 / 8, 1 / 2)]
        mark = "**" if among_best(outcomes, task, entry) else ""
        half = "" if value.half != value.half else f"\u00a0±\u00a0{value.half:.3f}"
        flat = mean_of([outcome.on_flat / max(outcome.spent, 1) for outcome in own]).mean
        rows.append(
            [
                f"*{entry}*" if is_reference(entry) else entry,
                f"{mark}{value.mean:.3f}{half}{mark}",
                f"{mark}{_percent(share(outcomes, task, entry))}{mark}",
                *(str(round(100 * gain)) for gain in early),
                f"{mean_of([outcome.spent for outcome in own]).mean:,.0f}",
                f"{100 * flat:.0f}%" if own[0].spent else "–",
                f"{mean_of([outcome.labels for outcome in own]).mean:.0f}",
            ]
        )
    head = ["entry", "expected reward", "gain, %", "at 1/8 of the budget", "at half", "completions", "of flat prompts", "labels"]
    return f"### {task}\n\n" + _table(head, rows)


def render(outcomes: Outcomes) -> str:
    """The page: page.md with the tables in it."""
    from vanishbench.measure import float_digest

    text = _PAGE.read_text()
    n_seeds = len({job.seed for job in outcomes})
    parts = {
        "in_short": in_short(outcomes, explained=True),
        "settings": _settings(outcomes),
        "entries": _rules(),
        "verdict": _VERDICT.read_text().strip(),
        "tasks": "\n\n".join(_task_table(outcomes, task) for task in tasks_of(outcomes)),
        "seeds": str(n_seeds),
        "digest": float_digest(outcomes),
    }
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text

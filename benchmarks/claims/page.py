"""The rows as the page that people read, and as the list of what does not hold."""

from __future__ import annotations

import itertools
from collections import Counter

from claimed import CLAIMED
from held_back import HELD_BACK

HEAD = """# Claim against realized

Written by `python benchmarks/claims/run.py`; do not edit. {minutes:.0f} minutes of one core, {least} to {most} sets a row.
Measured: {measured}.

Every number that flatspot prints with a stated error or a level, compared with the truth of sets drawn from {binary} populations of binary
and {graded} families of graded rewards (`binary_sets.py`, `graded_sets.py`). The truth is computed by `truths.py`, which calls nothing of
flatspot: exact sums, or integrals of the distribution function over 1,000 cells.

- An **error** holds where the realized one is at most 1.5 points above the stated one, over the sets whose output does not itself say that
  it cannot promise it (`model-misfit`, `worst-case-error`, `few-prompts`, and `provisional-model` with a number; *said*: the share of
  sets with one of them). Where that is all of them, the row holds by saying so. The realized error is that of all sets.
- **Limits** hold where they cover the truth at most 5 points less often than their level.
- A **cost** holds where it is at most 1.35 of the fewest completions of whoever knows the population (`oracle.py`). Where these are under
  four, it is not judged, and stands in a line of its own: so few completions do not tell such a population, in which nearly every prompt is
  of one kind or where both verdicts are right, from one in which they would be wrong, and honesty takes more.

**Bold**: does not hold. *Italic*: does not hold, by less than two standard errors. ± is the standard error over the sets.
"""
ONCE = "written after flatspot's numbers were, and measured once:\n"
WHY = """Why a folder of its own beside `benchmarks/triage`: that one compares rules of stopping with each other, on what they cost at equal
error, and tunes the rivals. This one compares what is printed with what is true, of everything printed, for logs as much as for triage; its
truths must not come from the code that they judge, and it is to be run while that code changes (`--quick`, under three minutes).
"""


def failures(rows):
    """What does not hold, the worst first, and how much was judged."""
    bad = [row for row in rows if row["holds"] is False]
    lines = [_line(row) for row in sorted(bad, key=_shortfall, reverse=True)]
    judged = sum(row["holds"] is not None for row in rows)
    return "\n".join([*lines, f"{judged - len(bad)} of {judged} hold; {sum(row['noise'] for row in bad if 'noise' in row)} miss by noise"])


def _shortfall(row):
    if row["kind"] == "cost":
        return row["ratio"] / 10
    return row["claim"] - row["realized"] if row["kind"] == "limits" else (row["silent"] or row["realized"]) - row["claim"]


def _line(row):
    where = f"{row['set']}, {row['section']}, {row['prompts']} prompts" + (f" x {row['completions']}" if "completions" in row else "")
    if row["kind"] == "cost":
        return f"{row['number']:42} {row['realized']:.1f} for {row['claim']:.1f}  {where}"
    noise = " (noise)" if row.get("noise") else ""
    said = f" said in {row['said']:.0%}" if row.get("said") else ""
    return f"{row['number']:42} {row['realized']:6.1%} for {row['claim']:6.1%} ± {row['se']:.1%}{said}{noise}  {where}"


def render(results, n_jobs):
    """The page of {name of the job: {rows, seconds}}, of which there would be `n_jobs`."""
    rows = [row for result in results.values() for row in result["rows"]]
    sets = {kind: len({row["set"] for row in rows if row["rewards"] == kind} - set(HELD_BACK[kind])) for kind in ("binary", "graded")}
    n_sets = [row["sets"] for row in rows] or [0]
    minutes = sum(result["seconds"] for result in results.values()) / 60
    days = Counter(result["measured"] for result in results.values())
    measured = ", ".join(f"{n} jobs {day}" for day, n in sorted(days.items()))
    head = HEAD.format(measured=measured, minutes=minutes, least=min(n_sets), most=max(n_sets), **sets)
    held = [row for row in rows if row["set"] in HELD_BACK[row["rewards"]]]
    if len(results) < n_jobs:
        head += f"\n{len(results)} of {n_jobs} jobs are measured here, what matters most first. A missing row is not one that holds.\n"
    parts = [head, WHY, "## In short\n", _short([row for row in rows if row not in held])]
    parts += ["The same of the populations and families of `held_back.py`, " + ONCE, _short(held)] if held else []
    for kind, held_back in itertools.product(("binary", "graded"), (False, True)):
        of = [row for row in rows if row["rewards"] == kind and (row["set"] in HELD_BACK[kind]) == held_back]
        parts += [f"## {kind.capitalize()} rewards{', held back' * held_back}\n"] if of else []
        for title, chosen, joined in _tables(of):
            if chosen:
                parts += [f"### {title}\n", _matrix(chosen, joined)]
    parts += [
        "## Where it is stated\n",
        "What each page says of errors and levels, and the rows or the test that back it (`claimed.py`).\n",
    ]
    backed = [f"| `{page}` | {words} | {f'`{by}`' if by.startswith('tests/') else by} |" for page, words, by in CLAIMED]
    parts += ["\n".join(["| page | words | backed by |", "| --- | --- | --- |", *backed])]
    return "\n".join(parts).rstrip() + "\n"


def _tables(rows):
    """(title, rows, whether the numbers of a setting share a cell) of each table: a set per line, a setting per column."""
    triaged, logs = ([row for row in rows if row["section"] == section] for section in ("triage", "fixed"))

    def named(of, *starts):
        return [row for row in of if row["number"].startswith(starts)]

    def parted(of):
        own = [row for row in of if row["number"].endswith("of this set")]
        return [row for row in of if row not in own], own

    states, sizes = "vanishing / learnable / solved", "groups of 4 / 8 / 16 / 32"
    shares, own_shares = parted([row for row in named(rows, "share") if "probe" not in row["number"]])
    mixed, own_mixed = parted(named(rows, "mixed groups"))
    yield "Error of the verdicts of triage, for a target", named(triaged, "error"), False
    yield "Error of the verdicts of triage, as predicted", named(triaged, "predicted"), False
    yield "Error of the verdicts on logs, as predicted, for a target of 5% / 2%", named(logs, "predicted"), True
    yield "Worst-case error: how often the limit (97.5%) was at least the error", named(rows, "worst-case"), False
    yield "Undecided prompts of triage", named(triaged, "undecided"), False
    yield "Completions per prompt, and over the fewest", named(triaged, "completions"), False
    yield f"Share of prompts like these, 95% limits: {states}", shares, True
    yield f"Share of these very prompts, 95% limits: {states}", own_shares, True
    yield f"Prompts of this set that may and must be called so, 95% limits: {states}", named(rows, "called"), True
    yield f"Mixed groups of prompts like these, 90% limits: {sizes}", mixed, True
    yield f"Mixed groups of these very prompts, 90% limits: {sizes}", own_mixed, True
    yield "Groups that fill a batch of 32 mixed ones, 90% limits", named(rows, "groups that fill"), True
    yield "What a warm-up says of a probe, 95% limits", [row for row in rows if row["number"].endswith("of a probe")], False
    each = [row for row in rows if row["number"].endswith("of a prompt")]
    yield "95% limits of a prompt: std / mean / mixed groups / gain, and in the tenth of the prompts where they cover least", each, True


def _matrix(rows, joined):
    """A line per set and a column per setting: of errors for each number, else with the cells of all numbers in one."""
    cells = {}
    for row in rows:
        cells.setdefault(row["set"], {}).setdefault(_column(row, joined), []).append(_cell(row))
    columns = list(dict.fromkeys(column for own in cells.values() for column in own))
    lines = ["| " + " | ".join(["set", *columns]) + " |", "| --- " * (len(columns) + 1) + "|"]
    lines += ["| " + " | ".join([name, *(" / ".join(own.get(column, [])) for column in columns)]) + " |" for name, own in cells.items()]
    return "\n".join(lines) + "\n"


def _column(row, joined):
    where = f"{row['prompts']} prompts" + (f" × {row['completions']}" if "completions" in row else ", triage" if joined else "")
    number = row["number"].removesuffix(" of a probe")
    return where if joined else f"{number.split(', ', 1)[-1]}, {where}"


def _cell(row):
    if row["kind"] == "cost":
        ratio = f" ({row['ratio']:.2f})" if row["ratio"] is not None else ""
        return _marked(f"{row['realized']:.1f}{ratio}", row)
    if row["kind"] == "undecided":
        return f"{100 * row['realized']:.1f}"
    text = f"{100 * row['realized']:.1f} ± " + ("–" if row["se"] is None else f"{100 * row['se']:.1f}")
    if row["kind"] == "error":
        predicted = f" for {100 * row['claim']:.1f}" if row["number"].startswith("predicted") else ""
        return _marked(text + predicted, row) + (f", said {row['said']:.0%}" if row["said"] else "")
    tenth = f" ({100 * row['worst_tenth']:.0f})" if "worst_tenth" in row else ""
    return _marked(f"{100 * row['realized']:.0f}", row) + tenth


def _marked(text, row):
    return text if row["holds"] is not False else f"*{text}*" if row.get("noise") else f"**{text}**"


def _short(rows):
    """How many rows of each kind of number hold."""
    groups = {}
    for row in rows:
        if row["holds"] is not None or row.get("told") is False:
            groups.setdefault((row["rewards"], _group(row)), []).append(row)
    lines = ["| rewards | number | rows | hold | miss by noise | do not hold | said | mean | worst |", "| --- " * 9 + "|"]
    for (kind, number), own in groups.items():
        bad = [row for row in own if row["holds"] is False]
        noise = sum(bool(row.get("noise")) for row in bad)
        worst = max(own, key=_shortfall)
        shown = f"{_cell(worst).split(',')[0].strip('*')} ({worst['set']})"
        mean = sum(row["realized"] * row["sets"] for row in own) / sum(row["sets"] for row in own)
        middle = f"{mean:.1f}" if own[0]["kind"] == "cost" else f"{100 * mean:.1f}"
        said = f"{sum(row['said'] for row in own) / len(own):.0%}" if "said" in own[0] else ""
        judged = (len(own) - len(bad), noise, len(bad) - noise) if own[0]["holds"] is not None else ("", "", "")
        lines.append("| " + " | ".join(map(str, (kind, number, len(own), *judged, said, middle, shown))) + " |")
    return "\n".join(lines) + "\n"


def _group(row):
    number = row["number"].split(", ")[0] if row["kind"] in ("error", "cost") or "worst" in row["number"] else row["number"]
    how = "worst case" if row["number"].endswith("worst case") else "normalized" if row["number"].endswith("normalized") else ""
    source = "triage" if row["section"] == "triage" else "logs"
    cost = "fewest under four" if row.get("told") is False else ""
    return ", ".join(filter(None, (number, how, cost, source)))

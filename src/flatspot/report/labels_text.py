"""What `flatspot plan` prints about labels. No numbers are computed here."""

from __future__ import annotations

from collections.abc import Mapping

from flatspot.planning.summary import Actions, Answers, LabelSummary, Reward, SelectedLabel
from flatspot.report.formats import count, decimal, noun, percent, visible, wrap_labeled
from flatspot.report.prompt_line import prompt_line

_SHOWN = 8  # labels listed; labels.jsonl has all


def labels_text(labels: LabelSummary, prompts: Mapping[str, str], files: tuple[str, str] | None, then: str, *, width: int = 80) -> str:
    """The plan of labels as lines of at most `width` columns.

    prompts  the chosen prompts by id: their text, of a chat what was asked last
    files    where the plan and the labels were written; None: they were not
    then     the command that learns the labels
    """
    lines = [*wrap_labeled("Labels", _headline(labels), width)]
    if labels.n:
        lines += [
            "",
            f"order   {'covers' if labels.ceiling is None else 'gain  '}  prompt",
            *(_row(row, prompts, width) for row in labels.chosen[:_SHOWN]),
        ]
        if labels.n > _SHOWN:
            lines.append(f"{'…':>5}           {count(labels.n - _SHOWN)} more{f' in {files[1]}' if files else ''}")
        lines += ["", *wrap_labeled("Gain", _gain(labels), width), *wrap_labeled("Covers", _curve(labels), width)]
    lines += wrap_labeled("Others", _others(labels.actions, labels.samples), width)
    lines += [f"Plan    {files[0]}"] if files else []
    if labels.n and files:
        lines += wrap_labeled("Answers", _own_answers(labels.answers, labels.n), width) if labels.answers else []
        lines += [f"Fill    {files[1]}: write the answer of each"] if labels.answers != Answers("answer", labels.n) else []
        lines += [f"Then    {then}"]
    return "\n".join(lines)


def _own_answers(answers: Answers, n: int) -> str:
    column = visible(answers.column)
    there = f"already there for {count(answers.n)} of {count(n)}, in the column {column!r}."
    if column == "answer":
        return there
    return f"{there} If that is what the policy should write, no answer is missing: add --answer-col {column} to the command below."


def _share_in_numbers(labels: LabelSummary) -> str:
    """What a share of the prompts comes to, and of which prompts; "" where a number was asked for."""
    return f" {labels.asked_share} of {_whole_run(labels)} is {count(labels.asked)}." if labels.asked_share else ""


def _whole_run(labels: LabelSummary) -> str:
    limit = f" (--limit {count(labels.limit)}, not the whole file)" if labels.limit else ""
    return f"the {noun(labels.n_prompts, 'prompt')} of this run{limit}"


def _headline(labels: LabelSummary) -> str:
    if not labels.vanishing:
        return "none: no prompt is settled as vanishing, so there is nothing to label."
    how = f"{noun(labels.n, 'prompt')} of {count(labels.vanishing)} vanishing, chosen by {labels.strategy}.{_share_in_numbers(labels)}"
    if labels.compared < labels.vanishing:
        how += f" Of so many, {count(labels.compared)} were compared, most of them sampled at random."
    if labels.asked is None:
        return (
            f"{how} Recommended: the knee of the coverage curve, or 16 if that is more; at most 5% of {_whole_run(labels)}: "
            f"{count(labels.most)}."
        )
    if labels.asked > labels.n:
        return f"{how} {count(labels.asked)} were requested, and there are no more."
    return f"{how} Recommended are {count(labels.recommended)}."


def _row(row: SelectedLabel, prompts: Mapping[str, str], width: int) -> str:
    text = prompt_line(prompts.get(row.prompt_id, row.prompt_id), False, max(16, width - 16))
    return f"{row.order:>5}   {percent(row.covers) if row.gain is None else decimal(row.gain, 3):<8}{text}"


def _gain(labels: LabelSummary) -> str:
    if labels.ceiling is None or labels.gain is None:
        why = (
            "nobody states what a prompt can earn: judge the run again with --reward-range (flatspot inspect), or diagnose with "
            "--answer-col"
        )
        if labels.ceiling_unknown == "survivors-only":
            why = (
                "a log of groups whose rewards differ does not show how many prompts vanish: log the dropped groups too, or draw new "
                "completions (flatspot diagnose)"
            )
        return (
            f"no upper bound, as {why}. {percent(labels.coverage)} of it lies with prompts like the labels; how far a warm-up really "
            "carries over is only known after it."
        )
    return (
        f"at most {_limits(labels.ceiling)} of mean reward, if every vanishing prompt came to earn the most it can. "
        f"{_limits(labels.gain)} of it lies with prompts like the labels; how far a warm-up really carries over is only known after it."
    )


def _curve(labels: LabelSummary) -> str:
    return " · ".join(f"{k} {'label' if k == '1' else 'labels'} {percent(share)}" for k, share in labels.curve.items())


def _others(actions: Actions, samples: Mapping[str, int]) -> str:
    sizes = ", ".join(f"{count(n)} in groups of {'more than 128' if size == 'more' else size}" for size, n in samples.items() if n)
    parts = [f"train on {count(actions.train)} learnable" + (f" ({sizes})" if sizes else "")]
    parts += [f"drop {count(actions.drop)} solved"] if actions.drop else []
    parts += [f"defer {count(actions.defer)} until after the warm-up"] if actions.defer else []
    parts += [f"fix the reward for {count(actions.fix)}"] if actions.fix else []
    return "; ".join(parts) + "."


def _limits(reward: Reward) -> str:
    return f"{decimal(reward.mean)} [{decimal(reward.lo)}–{decimal(reward.hi)}]"

"""What `flatspot plan` prints about labels. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from flatspot.report.formats import count, decimal, noun, percent, visible
from flatspot.report.prompt_line import prompt_line

_SHOWN = 8  # labels listed; labels.jsonl has all


def labels_text(found: Mapping[str, Any], prompts: Mapping[str, str], files: tuple[str, str], then: str, *, width: int = 80) -> str:
    """The plan of labels as lines of at most `width` columns.

    found    the object under `labels` of `flatspot plan --json`
    prompts  the chosen prompts by id: their text, of a chat what was asked last
    files    where the plan and the labels were written
    then     the command that learns the labels
    """
    actions = found["actions"]
    lines = [*_wrap("Labels", _headline(found), width)]
    if found["n"]:
        lines += ["", "order   gain    prompt", *(_row(row, prompts, width) for row in found["chosen"][:_SHOWN])]
        if found["n"] > _SHOWN:
            lines.append(f"{'…':>5}           {count(found['n'] - _SHOWN)} more in {files[1]}")
        lines += ["", *_wrap("Gain", _gain(found), width), *_wrap("Covers", _curve(found), width)]
    lines += _wrap("Others", _others(actions, found["samples"]), width)
    lines += [f"Plan    {files[0]}"]
    if found["n"]:
        own = _own_answers(found)
        lines += [*_wrap("Answers", own, width)] if own else []
        lines += [f"Fill    {files[1]}: write the answer of each"] if not _all_answered(found) else []
        lines += [f"Then    {then}"]
    return "\n".join(lines)


def _all_answered(found: Mapping[str, Any]) -> bool:
    return bool(found["answers"]) and found["answers"]["column"] == "answer" and found["answers"]["n"] == found["n"]


def _own_answers(found: Mapping[str, Any]) -> str:
    if not found["answers"]:
        return ""
    column, n = found["answers"]["column"], found["answers"]["n"]
    there = f"already there for {count(n)} of {count(found['n'])}, in the column {visible(column)!r}."
    if column == "answer":
        return there
    column = visible(column)
    return f"{there} If that is what the policy should write, nothing need be filled in: add --answer-col {column} to the command below."


def _asked(found: Mapping[str, Any]) -> str:
    """What a share of the prompts comes to, and of which prompts; "" where a number was asked for."""
    if not found["asked_share"]:
        return ""
    return f" {found['asked_share']} of {_whole_run(found)} is {count(found['asked'])}."


def _whole_run(found: Mapping[str, Any]) -> str:
    limit = f" (--limit {count(found['limit'])}, not the whole file)" if found["limit"] else ""
    return f"the {noun(found['n_prompts'], 'prompt')} of this run{limit}"


def _headline(found: Mapping[str, Any]) -> str:
    if not found["vanishing"]:
        return "none: no prompt is settled as vanishing, so there is nothing to label."
    how = f"{noun(found['n'], 'prompt')} of {count(found['vanishing'])} vanishing, chosen by {found['strategy']}.{_asked(found)}"
    if found["compared"] < found["vanishing"]:
        how += f" Of so many, {count(found['compared'])} were compared, most of them drawn at random."
    if found["asked"] is None:
        return (
            f"{how} Recommended: the knee of the coverage curve, or 16 if that is more; at most 5% of {_whole_run(found)}: "
            f"{count(found['most'])}."
        )
    if found["asked"] > found["n"]:
        return f"{how} {count(found['asked'])} were asked for, and there are no more."
    return f"{how} Recommended are {count(found['recommended'])}."


def _row(row: Mapping[str, Any], prompts: Mapping[str, str], width: int) -> str:
    text = prompt_line(prompts.get(row["prompt_id"], row["prompt_id"]), False, max(16, width - 16))
    return f"{row['order']:>5}   {decimal(row['gain'], 3):<8}{text}"


def _gain(found: Mapping[str, Any]) -> str:
    top, gain = found["ceiling"], found["gain"]
    return (
        f"at most {_limits(top)} of mean reward, if every vanishing prompt came to earn what is achievable. {_limits(gain)} of it lies "
        "with prompts like the labels; how far a warm-up really carries over is only known after it."
    )


def _curve(found: Mapping[str, Any]) -> str:
    return " · ".join(f"{k} {'label' if k == '1' else 'labels'} {percent(share)}" for k, share in found["curve"].items())


def _others(actions: Mapping[str, int], samples: Mapping[str, int]) -> str:
    sizes = ", ".join(f"{count(n)} in groups of {'more than 128' if size == 'more' else size}" for size, n in samples.items() if n)
    parts = [f"train on {count(actions['train'])} learnable" + (f" ({sizes})" if sizes else "")]
    parts += [f"drop {count(actions['drop'])} solved"] if actions["drop"] else []
    parts += [f"defer {count(actions['defer'])} until after the warm-up"] if actions["defer"] else []
    parts += [f"mend the reward for {count(actions['mend'])}"] if actions["mend"] else []
    return "; ".join(parts) + "."


def _limits(found: Mapping[str, float]) -> str:
    return f"{decimal(found['mean'])} [{decimal(found['lo'])}–{decimal(found['hi'])}]"


def _wrap(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=f"{label:<8}", subsequent_indent=" " * 8, break_on_hyphens=False)

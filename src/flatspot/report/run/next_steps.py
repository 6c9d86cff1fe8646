"""What to do next: a sentence and a command that runs as it stands, by the verdict on the set."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from flatspot.core.records import Sampling
from flatspot.core.request import IN_MEMORY, Request
from flatspot.core.settings import MOST_WEIGHED, Settings
from flatspot.core.shares import exact
from flatspot.report.blocks import Step
from flatspot.report.formats import noun, number, percent, visible

if TYPE_CHECKING:
    from flatspot.runs.summary import Summary

_MANY = 0.2  # of the prompts
_HALF = 0.5  # of the completions
_LOGS = ("inspect", "watch")  # sources of rows that somebody else drew


def next_steps(summary: Summary) -> tuple[Step, ...]:
    """The steps that follow from the verdict, most important first; of a run that was stopped, only how to resume it."""
    if unfinished := _unfinished(summary):
        return unfinished
    n = dict(summary.counts.items())
    by_verdict = {
        "proceed": _proceed,
        "warm-up": _warm_up,
        "fix-reward": _fix_reward,
        "fix-data": _fix_data,
        "fix-sampling": _fix_sampling,
        "draw-more": _draw_more,
    }
    build = by_verdict.get(summary.verdict or "")
    steps = build(summary, n) if build else ()
    # a few undecided ones change nothing that was said above
    if n["undecided"] > _MANY * sum(n.values()) and summary.source not in _LOGS and summary.verdict not in ("draw-more", "fix-sampling"):
        many = noun(n["undecided"], "prompt is", "prompts are")
        steps += (Step(f"{many} undecided: raise --max-completions; the run resumes."),)
    return steps


def _unfinished(summary: Summary) -> tuple[Step, ...]:
    """The step of a run that was stopped: the command that resumes it, with every option that its rows depend on."""
    if summary.drawn is None or summary.drawn.ended:
        return ()
    return (Step("Resume the run.", shlex.join(_resume_words(summary))),)


def _resume_words(summary: Summary, but: Sequence[str] = ()) -> list[str]:
    """The command that resumes this run, less these options and their values."""
    options = list(summary.settings.resume or ())
    for name in but:
        if name in options:
            at = options.index(name)
            options = options[:at] + options[at + 2 :]
    return [*shlex.split(diagnose_command(summary, out=run_folder(summary))), *options]


def _proceed(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    wanted = ("learnable", "undecided")
    text = f"Train on the {noun(sum(n[name] for name in wanted), ' and '.join(name for name in wanted if n[name]) + ' prompt')}."
    if (mixed := summary.to_train.informative) is not None:
        text += f" Of groups of {summary.group_size} from these prompts, {percent(mixed)} will be mixed."
    keep = Step(text, export_command(summary, wanted, "train.jsonl"))
    rest = Step("Label, hint or drop the vanishing ones.", export_command(summary, ("vanishing",), "to-label.jsonl"))
    return (*([keep] if any(n[name] for name in wanted) else []), *([rest] if n["vanishing"] else []))


def _warm_up(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    of_total = summary.rule.startswith("vanishing prompts")  # else the verdict is that of one reward, and the others' prompts are no help
    if summary.health.flat_reward and not (of_total and n["vanishing"]):
        return (
            Step("Read a few completions: does the reward that stays flat recognize a right answer?", completions_command(summary)),
            Step("If so, judge these completions by that reward alone, and warm up.", rescore_command(_by_flat_reward(summary))),
        )
    if not n["vanishing"]:  # where most of what vanishes is not yet certain, the undecided ones are the place to look
        return (
            Step(
                "Write answers for some of the vanishing prompts; a few are often enough.",
                export_command(summary, ("vanishing", "undecided"), "to-label.jsonl"),
            ),
            Step("Finetune on these answers (SFT), then diagnose again.", diagnose_command(summary, model="CHECKPOINT", out="WARM")),
        )
    look = (Step("Every reward is the lowest: read a few completions first; are none of them right?", completions_command(summary)),)
    return (
        *(look if "all-low" in summary.caveat_codes and _has_completions(summary) else ()),
        Step("Choose what to label, and write the answers; a few are often enough.", plan_command(summary)),
        Step("Finetune on these answers (SFT); it stops once RL can take over.", warmup_command(summary)),
    )


def _by_flat_reward(summary: Summary) -> Summary:
    """The summary as if the run had the reward alone that stays flat; REWARD where its name tells no single one."""
    name = re.escape(str(summary.health.flat_reward))
    named = [reward for reward in summary.settings.rewards if re.fullmatch(rf"(.*[:.])?{name}(\[.*\])?", reward, re.DOTALL)]
    rewards = tuple(named) if len(named) == 1 else ("REWARD",)
    return replace(summary, settings=replace(summary.settings, rewards=rewards, reward_weights=None))


def _fix_reward(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    if summary.health.error_share:
        text = "See what the reward function failed on, and why: the columns error and completion."
    else:
        text = "See which completions got which rewards; a working reward tells good ones from bad ones."
    if not _has_completions(summary):
        return Step(text, completions_command(summary)), Step("Fix the reward function and diagnose again.", diagnose_command(summary))
    again = Step("Fix the reward function and score these completions again.", rescore_command(summary))
    return Step(text, completions_command(summary)), again


def _has_completions(summary: Summary) -> bool:
    return summary.health.distinct_share is not None


def _fix_data(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    keep = ("learnable", "vanishing", "undecided")
    return (
        Step("Keep the prompts that are not solved, and look for harder ones.", export_command(summary, keep, "unsolved.jsonl")),
        Step("Diagnose the new set.", diagnose_command(summary, exported="unsolved.jsonl")),
    )


def _fix_sampling(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    limit = number(summary.sampling.get("max_new_tokens"))
    if summary.source in _LOGS or limit is None:
        text = "Raise the trainer's limit of the completion length (max_completion_length in TRL, response_length in verl), and log again."
        return (Step(text), Step("See what was cut: the columns truncated and completion.", completions_command(summary)))
    if (summary.health.error_share or 0) > _HALF:
        return (
            Step("See what could not be drawn, and why: the columns prompt and error.", completions_command(summary)),
            Step("Leave these prompts out or shorten them, or lower --max-new-tokens, and diagnose again.", diagnose_command(summary)),
        )
    longer = replace(summary, sampling={**summary.sampling, "max_new_tokens": 4 * limit})
    return (
        Step("See where the completions were cut: the columns truncated and completion.", completions_command(summary)),
        Step("Let completions end, with a larger --max-new-tokens, and diagnose again.", diagnose_command(longer)),
    )


def _draw_more(summary: Summary, n: Mapping[str, int]) -> tuple[Step, ...]:
    each = summary.generations.per_prompt
    if summary.source in _LOGS:
        text = f"The log holds too few completions per prompt ({each:.1f}): inspect more of it, or sample more of these prompts."
        return (Step(text, diagnose_command(summary)),)
    more, every = _more_completions(summary, each)
    left_out = ("--max-completions", "--max-generations", *(("--round-size",) if every else ()))
    words = [*_resume_words(summary, left_out), "--max-completions", str(more), *(("--fixed-completions",) if every else ())]
    return (Step(f"Sample up to {more} completions per prompt ({each:.1f} so far); the run resumes.", shlex.join(words)),)


def _more_completions(summary: Summary, each: float) -> tuple[int, bool]:
    """How many completions of a prompt to ask for, at least twice as many as before; whether that takes --fixed-completions from now on."""
    more, options = 2 ** math.ceil(math.log2(max(4 * each, 64))), summary.settings.resume
    if options is None:
        return min(more, MOST_WEIGHED), False
    before = int(options[options.index("--max-completions") + 1]) if "--max-completions" in options else Settings().max_completions
    more, fixed = max(more, 2 * before), "--fixed-completions" in options
    if not fixed and more > MOST_WEIGHED and (before < MOST_WEIGHED or "--max-generations" in options):
        return MOST_WEIGHED, False
    if not fixed and more <= MOST_WEIGHED:
        return more, False
    size = summary.group_size  # whole groups, which some rewards compare
    return math.ceil(more / size) * size, not fixed


def run_folder(summary: Summary) -> str:
    """The run folder, or the word RUN."""
    return visible(summary.settings.out or "RUN")


def export_command(summary: Summary, verdicts: tuple[str, ...], path: str) -> str:
    """The command that writes the prompts of these verdicts, with all their columns, to a file `diagnose` can read."""
    wanted = [word for name in verdicts for word in ("--verdict", name)]
    return shlex.join(["flatspot", "export", run_folder(summary), *wanted, "--to", path])


def plan_command(summary: Summary) -> str:
    """The command that chooses the prompts to label and writes them, ready to be filled, into the run folder."""
    return shlex.join(["flatspot", "plan", run_folder(summary), "--labels", "5%"])


def warmup_command(summary: Summary) -> str:
    """The command that finetunes the run's policy on the labels, with placeholders in capitals for what the run does not name."""
    request, run = summary.settings, run_folder(summary)
    words = ["flatspot", "warmup", run, "--labels", f"{run}/labels.jsonl"]
    scripted = summary.engine.get("engine") == "scripted"  # which nothing can train
    words += [] if _usable(request.model) and not scripted else ["--model", "MODEL"]
    named = bool(request.rewards) and all(map(_usable, request.rewards))
    words += _timeout_words(request) if named else reward_words(request)
    here = ["--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false"]  # what TRL needs without a GPU
    return shlex.join([*words, "--out", "WARM", *(here if summary.engine.get("device") == "cpu" else [])])


def completions_command(summary: Summary) -> str:
    """The command that writes every completion of the run with its reward or error."""
    return shlex.join(["flatspot", "export", run_folder(summary), "--completions", "--to", "completions.jsonl"])


def rescore_command(summary: Summary) -> str:
    """The command that scores the run's completions with a fixed reward."""
    answers = summary.settings.answer_col
    named = [] if answers is None else ["--answer-col", visible(answers)]
    return shlex.join(["flatspot", "rescore", run_folder(summary), *reward_words(summary.settings), *named])


def diagnose_command(summary: Summary, model: str | None = None, out: str | None = None, exported: str | None = None) -> str:
    """The `flatspot diagnose` command of this run, with placeholders in capitals for what the summary does not say.

    exported  a file that `export_command` wrote, in place of the run's prompts; its columns have the usual names
    """
    request = summary.settings
    prompts = [exported] if exported else prompt_words(request, ("prompt_col", "prompt_template", "id_col", "limit", "answer_col"))
    words = ["flatspot", "diagnose", *prompts, "--model", model or _or_placeholder(request.model, "MODEL"), *reward_words(request)]
    if model is None and summary.engine.get("engine") == "scripted":
        words += ["--engine", "scripted"]
    for name, usual in asdict(Sampling()).items():  # another sampling is another policy
        if (value := number(summary.sampling.get(name))) is not None and value != usual:
            words += [f"--{name.replace('_', '-')}", exact(value)]
    words += ["--group-size", str(summary.group_size)] if summary.group_size != Settings().group_size else []
    return shlex.join([*words, *_template_words("--chat-template-kwargs", summary), *(["--out", out] if out else [])])


def train_command(summary: Summary, model: str, out: str, options: Sequence[str] = ()) -> str:
    """The `flatspot train` command of this run's prompts and reward, from another policy; `options` are TRL's own."""
    request = summary.settings
    rewards = reward_words(replace(request, reward_weights=None))
    words = ["flatspot", "train", *prompt_words(request, ("prompt_col", "prompt_template", "limit")), "--model", model, *rewards]
    weights = _weights(request)  # an option of TRL's there, which takes them all at once
    words += ["--out", out, *(["--reward_weights", *weights] if weights else []), *_template_words("--chat_template_kwargs", summary)]
    return shlex.join([*words, *options])


def _template_words(option: str, summary: Summary) -> list[str]:
    """The values that the run's chat template got, which make its prompts; of TRL's trainers the option has another spelling."""
    values = summary.engine.get("chat_template_kwargs")
    return [option, visible(json.dumps(values, ensure_ascii=False))] if values else []


def prompt_words(request: Request, names: Sequence[str]) -> list[str]:
    """The prompts of the run, and those of these settings that were not left as they are."""
    values = [(name, getattr(request, name)) for name in names if getattr(request, name) is not None]
    options = [word for name, value in values for word in (f"--{name.replace('_', '-')}", visible(str(value)))]
    return [_or_placeholder(request.prompts, "PROMPTS"), *options]


def reward_words(request: Request) -> list[str]:
    """--reward and its value, once per reward; their weights and their time limit where these were set."""
    rewards = [_or_placeholder(reward, "REWARD") for reward in request.rewards] or ["REWARD"]
    words = [word for reward in rewards for word in ("--reward", reward)]
    return words + [word for weight in _weights(request) for word in ("--reward-weight", weight)] + _timeout_words(request)


def _timeout_words(request: Request) -> list[str]:
    return ["--reward-timeout", exact(request.reward_timeout_s)] if request.reward_timeout_s is not None else []


def _weights(request: Request) -> list[str]:
    weights = request.reward_weights or ()
    return [exact(weight) for weight in weights] if len(weights) == len(request.rewards) else []


def _or_placeholder(name: str | None, placeholder: str) -> str:
    return visible(name) if name and _usable(name) else placeholder


def _usable(name: str | None) -> bool:
    return bool(name) and IN_MEMORY not in str(name)

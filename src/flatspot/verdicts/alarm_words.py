"""Alarms in sentences: what the data show, and how to fix it. No numbers are computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flatspot.core.shares import percent
from flatspot.verdicts.alarms import Alarm

_SENTENCES = {
    "nan-loss": (
        "The loss or the gradient norm is not a finite number: every further update is lost. Go back to the last checkpoint; lower the"
        " learning rate, or train in a wider number format."
    ),
    "zero-learning-rate": "The learning rate is 0: nothing changes, whatever the rewards are. Check --learning_rate and the schedule.",
    "everything-clipped": (
        "{share} of the tokens lie beyond the clipping limits, where the gradient is 0: raise --epsilon, or make fewer updates per "
        "generation batch (--num_iterations, --steps_per_generation)."
    ),
    "blocked-gradient": (
        "The groups have advantages, yet the gradient norm is 0: nothing that is trained is reached. Check which parameters require a "
        "gradient, adapters, and the loss."
    ),
    "masked-truncation": (
        "{share} of the completions are cut by the token limit, and --mask_truncated_completions leaves them out of the loss: raise "
        "--max_completion_length."
    ),
    "broken-groups": (
        "The rows do not come as whole groups of one prompt, so advantages compare answers to different prompts. Check "
        "--num_generations and whatever reorders the rows."
    ),
    "reward-failures": (
        "{share} of the completions have no reward: a reward function raised or returned no number. Read the column `error` of the run"
        " folder."
    ),
    "unparsed-reward": (
        "The reward finds no answer to score{about}: it returns None, or pays nothing for the right answer either. Compare what it "
        "looks for with a few completions."
    ),
    "zero-weights": "The rewards differ, but those that do have weight 0 in the sum: check --reward_weights.",
    "reward-cut": "The rewards differ, but --reward_clip_range cuts all of a group to one value: widen it, or rescale the reward.",
    "truncation": (
        "{share} of the completions in groups without a gradient are cut by the token limit before they can earn anything: raise "
        "--max_completion_length."
    ),
    "all-high": (
        "{share} of the groups without a gradient have the best reward throughout: these prompts are solved. Give the run harder ones."
    ),
    "duplicated-completions": (
        "In {share} of the groups without a gradient all completions are one text: check temperature and seeds, or the policy has "
        "collapsed."
    ),
    "constant-reward": "Every completion earns {about}: the reward does not depend on the answer.",
    "all-low": (
        "{share} of the groups without a gradient have the worst reward throughout: the task is out of reach, or the reward does not "
        "recognize a right answer. Read a few completions; a short SFT phase on a few prompts then fixes this, more RL will not."
    ),
    "all-low-or-high": (
        "Almost every prompt is either solved or out of reach, so {share} of the groups give no gradient. Change the prompts: "
        "flatspot inspect lists them."
    ),
    "shaping-only": "The reward {about!r} is the same within every group; all that is learned comes from the other rewards.",
    "noisy-reward": (
        "{share} of the completions that came twice in a group got different rewards: the reward adds noise, which produces a "
        "gradient without a learning signal."
    ),
}


def alarm_sentence(alarm: Alarm) -> str:
    """The sentence of an alarm.

    >>> alarm_sentence(Alarm("constant-reward", 1.0, "0.5"))
    'Every completion earns 0.5: the reward does not depend on the answer.'
    """
    about = alarm.about
    if alarm.cause == "unparsed-reward":
        about = f" in {percent(alarm.share)} of the completions"
    return _SENTENCES[alarm.cause].format(share=percent(alarm.share), about=about)


Share = tuple[float, int]


def watch_summary(run: str, updates: int, history: Sequence[Mapping[str, Any]], first: Share | None, last: Share | None) -> str:
    """What a watched training was like, in lines; `first` and `last` are (share of mixed groups, groups) of its first and last window.

    `first` alone is None where a training went on, and what came before left no record.

    >>> alarm = {"cause": "all-low", "step": 7, "until": None, "says": "Out of reach."}
    >>> print(watch_summary("runs/rl", 80, [alarm], (0.25, 256), (0.0, 256)))
    summary of 80 updates, recorded in runs/rl
    mixed groups: 25% of the first 256, 0% of the last 256
    alarm all-low, from step 7 to the end: Out of reach.
    next: flatspot inspect runs/rl
    """
    lines = [f"summary of {updates} update{'' if updates == 1 else 's'}, recorded in {run}"]
    if last is None:
        lines.append("mixed groups: not known, for no group has a total reward that could be read")
    else:
        start = "not known of the first" if first is None else f"{percent(first[0])} of the first {first[1]}"
        lines.append(f"mixed groups: {start}, {percent(last[0])} of the last {last[1]}")
    for alarm in history:
        until = "to the end" if alarm.get("until") is None else f"to step {alarm['until']}"
        lines.append(f"alarm {alarm['cause']}, from step {alarm['step']} {until}: {alarm['says']}")
    return "\n".join([*lines, *([] if history else ["no alarm"]), f"next: flatspot inspect {run}"])

"""What makes a comparison of two runs mislead, in sentences. No numbers are computed here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flatspot.runs.comparison import ComparisonSummary
from flatspot.runs.summary import Summary
from flatspot.verdicts.caveats import FEW_PROMPTS

RunSettings = Mapping[str, object]
"""What of a run a comparison turns on, by name; None where the run does not say."""

_JUDGED = {"group_size": "group size", "target_error": "target error"} | {
    name: f"--{name.replace('_', '-')}" for name in ("worst_case", "advantage", "top_reachable", "answer_col")
}


def settings_of(summary: Summary, identity: Mapping[str, Any]) -> RunSettings:
    """What of a run a comparison turns on, by name; None where the run does not say."""
    request, engine = summary.settings, dict(identity.get("engine") or {})
    policy = {key: engine.pop(key) for key in ("policy", "fingerprint", "revision", "sha256") if key in engine}
    return {
        "source": summary.source,
        "model": policy or request.model,
        "reward": identity.get("reward") or list(request.rewards) or None,  # of a watched training its names alone are known
        "reward range": list(summary.reward.range),
        "sampling": identity.get("sampling"),
        "seed": identity.get("seed"),
        "engine": engine.get("engine"),
        "dtype": engine.get("dtype"),
        "group size": summary.group_size,
        "target error": request.target_error,
        "--worst-case": request.worst_case,
        "--advantage": summary.advantage,
        "--top-reachable": bool(request.top_reachable),
        "--answer-col": request.answer_col or "none",
    }


def differing(a: RunSettings, b: RunSettings) -> list[str]:
    """The names of the settings that are not the same in both."""
    return [name for name in a if json.dumps(a[name], sort_keys=True, default=str) != json.dumps(b[name], sort_keys=True, default=str)]


def settings_caveats(a: RunSettings, b: RunSettings) -> list[str]:
    """What a reader must know of two runs' settings before trusting what changed: `settings_of` each."""
    names, texts = differing(a, b), []
    if a["reward"] is None or b["reward"] is None:
        texts.append("What scored the rows of a log is not recorded: make sure that both runs have the same reward.")
    elif "reward" in names:
        texts.append(
            "The runs were scored by different rewards: the changes compare two measures, not two policies. Score both by one: "
            "flatspot rescore."
        )
    if "reward range" in names:
        texts.append(
            f"The reward ranges differ ({_pair(a, b, 'reward range')}), and so do the limits of the verdicts: state the same "
            "--reward-range for both."
        )
    first, second = a["sampling"], b["sampling"]
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first and second and "sampling" in names:
        parts = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        values = "; ".join(f"{key} {first.get(key)} and {second.get(key)}" for key in parts)
        texts.append(f"The completions were sampled differently ({values}): part of what changed may be that.")
    if "source" in names:
        texts.append(
            f"One run is of {a['source']} and one of {b['source']}: a training's completions come from a policy that changed meanwhile."
        )
    if judged := [name for name in _JUDGED.values() if name in names]:
        texts.append(f"The verdicts were judged by different settings ({', '.join(f'{name} {_pair(a, b, name)}' for name in judged)}).")
    if others := [name for name in ("engine", "dtype") if name in names]:
        texts.append(f"The completions come from different engines ({', '.join(f'{name} {_pair(a, b, name)}' for name in others)}).")
    policy = {"model", "reward", "sampling", "seed", "source", "engine", "dtype"}
    drawn = a["seed"] is not None and b["seed"] is not None  # by us: whoever else drew did not say how
    if drawn and not policy & set(names):
        texts.append(
            "Model, reward, sampling and seed are the same, so both runs sampled the same completions: no change means nothing here."
        )
    elif drawn and policy & set(names) == {"seed"}:
        texts.append("Only the seed differs: whatever changed is chance.")
    return texts


def run_caveats(name: str, summary: Summary) -> list[str]:
    """What a run's own summary says against its figures and touches the comparison; `name` is A or B."""
    drawn, codes, texts = summary.drawn, summary.caveat_codes, []
    if drawn is not None and not drawn.ended:
        texts.append(
            f"{name} was stopped at {drawn.completions:,} of the {drawn.planned:,} completions it planned so far, so its figures are "
            "provisional. Run the same flatspot diagnose again to resume it."
        )
    if "noisy-reward" in codes:
        texts.append(f"In {name} equal completions of a prompt got different rewards: part of what changed may be noise.")
    if "outside-range" in codes:
        texts.append(f"{name} has rewards outside its range, which the limits of every change rest on: state the right --reward-range.")
    return texts


def pairs_caveats(summary: ComparisonSummary) -> list[str]:
    """The same of the pairs and their completions."""
    pairs, texts = summary.pairs, []
    if pairs.only_a or pairs.only_b:
        texts.append(
            f"Compared are the {pairs.n} prompts of both runs; the {pairs.only_a} of A alone and the {pairs.only_b} of B alone "
            "count for nothing here."
        )
    if pairs.other_text and pairs.by == "id":
        texts.append(
            f"{pairs.other_text} of the {pairs.n} pairs {'has' if pairs.other_text == 1 else 'have'} the same id and different "
            "texts: they are different prompts."
        )
    elif pairs.other_text:
        ids = "id is in both runs and names" if pairs.other_text == 1 else "ids are in both runs and name"
        texts.append(f"{pairs.other_text} {ids} different texts, so these prompts are not paired by id; --pair-by id does so all the same.")
    if pairs.n < FEW_PROMPTS:
        texts.append(f"Only {pairs.n} {'prompt is' if pairs.n == 1 else 'prompts are'} in both: what changed on average is uncertain.")
    texts += _left_out(summary)
    if summary.smaller_groups:
        drawn = all(run.source == "diagnose" for run in (summary.a, summary.b))
        texts.append(
            f"On {summary.smaller_groups} of the {pairs.n} prompts a run has fewer than {summary.group_size} scored completions: "
            "groups there are taken as large as they can be."
            + (" Diagnose both with --fixed-completions to have more of each." if drawn else "")
        )
    return texts


def _left_out(summary: ComparisonSummary) -> list[str]:
    """Over how many of the pairs the means are, where that is not all of them."""
    n, texts = summary.pairs.n, []
    for what, change, lacking in (
        ("The mean reward is", summary.mean, "no"),
        ("Reward std and mixed groups are", summary.std, "fewer than two"),
    ):
        if change.n < n:
            completions = f"{lacking} scored completion{'' if lacking == 'no' else 's'}"
            texts.append(f"{what} over {change.n} of the {n} prompts: the others have {completions} in one of the runs.")
    return texts


def _pair(a: RunSettings, b: RunSettings, name: str) -> str:
    return f"{_value(a[name])} and {_value(b[name])}"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

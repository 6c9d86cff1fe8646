"""What makes a comparison of two runs mislead, in sentences. No numbers are computed here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flatspot.runs.summary import Summary
from flatspot.verdicts.caveats import FEW_PROMPTS

_JUDGED = {"group_size": "group size", "target_error": "target error", "worst_case": "--worst-case"}


def settings_of(summary: Summary, identity: Mapping[str, Any]) -> dict[str, Any]:
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
    }


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The names of the settings that are not the same in both."""
    return [name for name in a if json.dumps(a[name], sort_keys=True, default=str) != json.dumps(b[name], sort_keys=True, default=str)]


def settings_caveats(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What a reader must know of two runs' settings before trusting what changed: `settings_of` each."""
    names, found = differing(a, b), []
    if a["reward"] is None or b["reward"] is None:
        found.append("What scored the rows of a log is not recorded: make sure that both runs have the same reward.")
    elif "reward" in names:
        found.append(
            "The runs were scored by different rewards: the changes compare two measures, not two policies. Score both by one: "
            "flatspot rescore."
        )
    if "reward range" in names:
        found.append(
            f"The reward ranges differ ({_pair(a, b, 'reward range')}), and so do the limits of the verdicts: state the same "
            "--reward-range for both."
        )
    if "sampling" in names and a["sampling"] and b["sampling"]:
        parts = [key for key in {**a["sampling"], **b["sampling"]} if a["sampling"].get(key) != b["sampling"].get(key)]
        values = "; ".join(f"{key} {a['sampling'].get(key)} and {b['sampling'].get(key)}" for key in parts)
        found.append(f"The completions were sampled differently ({values}): part of what changed may be that.")
    if "source" in names:
        found.append(
            f"One run is of {a['source']} and one of {b['source']}: rows of a training are of a policy that changed while it drew them."
        )
    if judged := [name for name in _JUDGED.values() if name in names]:
        found.append(f"The verdicts were judged by different settings ({', '.join(f'{name} {_pair(a, b, name)}' for name in judged)}).")
    if others := [name for name in ("engine", "dtype") if name in names]:
        found.append(f"The completions come from different engines ({', '.join(f'{name} {_pair(a, b, name)}' for name in others)}).")
    policy = {"model", "reward", "sampling", "seed", "source", "engine", "dtype"}
    drawn = a["seed"] is not None and b["seed"] is not None  # by us: whoever else drew did not say how
    if drawn and not policy & set(names):
        found.append("Model, reward, sampling and seed are the same, so both runs drew the same completions: no change says nothing here.")
    elif drawn and policy & set(names) == {"seed"}:
        found.append("Only the seed differs: whatever changed is chance.")
    return found


def run_caveats(name: str, summary: Summary) -> list[str]:
    """What a run's own summary says against its figures and touches the comparison; `name` is A or B."""
    drawn, codes, found = summary.drawn, summary.caveat_codes, []
    if drawn is not None and not drawn.ended:
        found.append(
            f"{name} was stopped at {drawn.completions:,} of the {drawn.planned:,} completions it planned so far, so its figures are "
            "provisional. The same flatspot diagnose goes on."
        )
    if "noisy-reward" in codes:
        found.append(f"In {name} equal completions of a prompt got different rewards: part of what changed may be noise.")
    if "outside-range" in codes:
        found.append(f"{name} has rewards outside its range, which the limits of every change rest on: state the right --reward-range.")
    return found


def pairs_caveats(summary: Mapping[str, Any]) -> list[str]:
    """The same of the pairs and their completions: `summary` is the object of --json, without caveats."""
    pairs, found = summary["pairs"], []
    if pairs["only_a"] or pairs["only_b"]:
        found.append(
            f"Compared are the {pairs['n']} prompts of both runs; the {pairs['only_a']} of A alone and the {pairs['only_b']} of B alone "
            "count for nothing here."
        )
    if pairs["other_text"] and pairs["by"] == "id":
        found.append(
            f"{pairs['other_text']} of the {pairs['n']} pairs {'has' if pairs['other_text'] == 1 else 'have'} the same id and different "
            "texts: the runs asked them different things."
        )
    elif pairs["other_text"]:
        ids = "id is in both runs and names" if pairs["other_text"] == 1 else "ids are in both runs and name"
        found.append(
            f"{pairs['other_text']} {ids} different texts, so these prompts are not paired by id; --pair-by id does so all the same."
        )
    if pairs["n"] < FEW_PROMPTS:
        found.append(
            f"Only {pairs['n']} {'prompt is' if pairs['n'] == 1 else 'prompts are'} in both: what changed on average is uncertain."
        )
    found += _left_out(summary)
    if summary["smaller_groups"]:
        drawn = all(summary[run]["source"] == "diagnose" for run in ("a", "b"))
        found.append(
            f"On {summary['smaller_groups']} of the {pairs['n']} prompts a run has fewer than {summary['group_size']} scored completions: "
            "groups there are taken as large as they can be."
            + (" Diagnose both with --fixed-completions to have more of each." if drawn else "")
        )
    return found


def _left_out(summary: Mapping[str, Any]) -> list[str]:
    """Over how many of the pairs the means are, where that is not all of them."""
    n, found = summary["pairs"]["n"], []
    for what, key, lacking in (("The mean reward is", "mean", "no"), ("Reward std and mixed groups are", "std", "fewer than two")):
        if summary[key]["n"] < n:
            completions = f"{lacking} scored completion{'' if lacking == 'no' else 's'}"
            found.append(f"{what} over {summary[key]['n']} of the {n} prompts: the others have {completions} in one of the runs.")
    return found


def _pair(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> str:
    return f"{_value(a[name])} and {_value(b[name])}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

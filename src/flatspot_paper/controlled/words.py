"""The results as text: a table per group, and its conclusions. Computes nothing."""

from __future__ import annotations

from flatspot_paper.controlled.results import ControlledResults, Metric, OverSeeds

_NAMES = {"sft": "SFT", "rft": "RFT", "reinforce": "REINFORCE"}
_GROUPS = {
    "small_std": "small reward std: the samples whose label moved",
    "large_std": "large reward std: the other training samples",
}
# key, heading, shape, width: the widest cell and a space
_METRICS: tuple[tuple[Metric, str, str, int], ...] = (
    ("reward", "reward", "{:.3f}", 15),
    ("reward_std", "reward std", "{:.4f}", 16),
    ("accuracy", "accuracy", "{:.3f}", 14),
    ("grad_norm", "|gradient|", "{:.1e}", 18),
)


def results_text(results: ControlledResults) -> str:
    """The results for a terminal, 80 columns wide."""
    plan, schedule = results["plan"], results["plan"]["schedule"]
    setting = plan["setting"]
    seeds = sorted({run["seed"] for run in results["runs"]})
    count = f"{len(seeds)} seeds, mean (and largest distance from it)" if len(seeds) > 1 else f"seed {seeds[0]}"
    lines = [
        f"{setting['dataset']}, {setting['model']}, {results['variant']}, {plan['scale']} scale",
        count,
        f"data from {results['source']}",
        f"{schedule['pretrain_epochs']} epochs of pretraining, {schedule['epochs']} of finetuning at learning rate {plan['lr']:g}",
    ]
    for group, title in _GROUPS.items():
        lines += ["", title, f"  {'':<10}{'':<5}" + "".join(f"{name:>{width}}" for _, name, _, width in _METRICS)]
        for method, groups in results["over_seeds"].items():
            for when, values in groups[group].items():
                cells = "".join(f"{_cell(values[key], shape):>{width}}" for key, _, shape, width in _METRICS)
                lines.append(f"  {_NAMES[method] if when == 'start' else '':<10}{when:<5}{cells}".rstrip())
    return "\n".join([*lines, "", *conclusions(results)])


def _cell(spread: OverSeeds, shape: str) -> str:
    mean, low, high = spread["mean"], spread["min"], spread["max"]
    far = max(high - mean, mean - low)
    return shape.format(mean) + (f" ({shape.format(far)})" if spread["std"] is not None else "")


def conclusions(results: ControlledResults) -> list[str]:
    """One sentence per method: the share of each group that it fits."""
    sentences = []
    for method, groups in results["over_seeds"].items():
        small, large = (groups[group]["end"]["accuracy"]["mean"] for group in ("small_std", "large_std"))
        sentences.append(f"{_NAMES[method]} fits {small:.0%} of the samples with a small reward std and {large:.0%} of the others.")
    return sentences

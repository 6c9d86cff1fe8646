"""docs/reference/json.md: the objects of `--json`, from the dataclasses that print them and what their fields are annotated with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args, get_origin

from flatspot.core.json_tree import dataclass_in, json_fields
from flatspot.core.request import Request
from flatspot.planning.summary import PlanSummary
from flatspot.runs.comparison import ComparisonSummary
from flatspot.runs.demo_summary import DemoResults
from flatspot.runs.recipe_summary import RecipeSummary
from flatspot.runs.summary import Counts, Fractions, Share, Summary
from flatspot.runs.warmup_summary import WarmupSummary, WatchSummary
from flatspot.verdicts.codes import CODES

_INTRO = """# The object of `--json`

`flatspot diagnose … --json` and `flatspot inspect … --json` print one JSON object; `report.json` in the run folder is the same, and so
is `run.summary.to_json()` in Python. A number that is not known is `null`. Keys may be added under the same `schema_version`; a key that
changes its meaning, or goes, raises it. `VERDICT` stands for each of `learnable`, `vanishing`, `solved`, `undecided`, `unscored`; `*` for
any name, such as that of a reward; `[]` for each item of a list."""

# the keys of a run's summary by section, with what stands below a table
_SECTIONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "The verdict",
        (
            "schema_version", "source", "verdict", "reason", "rule", "n_prompts", "counts", "fractions", "predicted_error",
            "predicted_error_limit", "proved", "predicted_error_unproved", "caveats", "caveat_codes",
        ),
        "",
    ),
    (
        "The rewards",
        ("reward", "reward_model", "components"),
        "The shares below a limit are of measured stds. With few completions many stds are 0 by chance: they are not the share of "
        "vanishing\nprompts.",
    ),
    (
        "What the verdicts depend on",
        (
            "epsilon", "group_size", "advantage", "scale", "mixed_threshold", "gain_threshold", "reach_threshold", "forecast",
            "population", "to_train",
        ),
        "",
    ),
    ("What was sampled", ("generations", "drawn", "health", "sampling", "engine"), ""),
    (
        "Over the steps",
        ("steps",),
        "Of logs and watched trainings. [Verdicts](../explanation/verdicts.md#over-the-steps) says how changes are told from chance.",
    ),
    ("Gradients", ("gradients",), "Only where `--gradients` measured them; a number that the prompts are too few for is `null`."),
    ("Where it comes from", ("settings", "provenance"), ""),
)  # fmt: skip

_CURVE = """A row of the curve has `step`, `labels`, `elapsed` (seconds), `saved` (whether its checkpoint was still there), and of the
probe `generations`, `seconds`, `scored` (share of the prompts with any reward); the shares of the run's prompts `learnable`, `solved`,
`vanishing`, `recovered` (learnable or solved), `ready` (mean pass@K, with its standard error `sd` for the probed prompts) and `kept` (of
those learnable at the start, how many still are, or are solved), each with `mean`, `lo` and `hi` (95%); mean `reward`; mean `entropy` and
`heldout_loss` per token, in nats. The first row has `labels_solved`, the share of labeled prompts that the policy solves already. Values
that were not measured are `null`. A row whose policy had outputs that are not finite has no shares."""

_OTHERS: tuple[tuple[str, type[object], str], ...] = (
    ("flatspot plan", PlanSummary, ""),
    ("flatspot compare", ComparisonSummary, ""),
    ("flatspot run", RecipeSummary, "Also `report.json` in the recipe's folder."),
    ("flatspot demo --train", DemoResults, "Also `results.json` in its folder."),
    ("flatspot warmup", WarmupSummary, _CURVE),
    ("flatspot watch-checkpoints", WatchSummary, ""),
)


def json_page(generated: str) -> str:
    """The page, below the line that names its generator."""
    parts = [generated, _INTRO]
    keys = dict(_rows(Summary))
    for title, names, note in _SECTIONS:
        rows = {key: text for key, text in keys.items() if key.partition(".")[0] in names}
        parts += [f"## {title}", _table("key", "meaning", rows), *([note] if note else [])]
        if title == "The verdict":
            parts += [
                "## Codes of caveats",
                "For programs: a code never changes its meaning, while its sentence may.",
                _table("code", "what it is about", CODES),
            ]
    for verb, kind, note in _OTHERS:
        parts += [f"## `{verb}`", _table("key", "meaning", dict(_rows(kind))), *([note] if note else [])]
    return "\n\n".join(parts) + "\n"


def _rows(kind: type[object], path: str = "") -> Iterator[tuple[str, str]]:
    """(key, meaning) of a dataclass and of those in it, in order; what was explained before, and what a request holds, is one row."""
    for key, field in json_fields(kind).items():
        place, inner = f"{path}{key}", dataclass_in(field.kind)
        yield place, field.meaning
        if inner in (None, Request) or field.meaning.startswith("as in"):
            continue
        if inner is Counts:
            yield f"{place}.VERDICT", "how many prompts got it"
        elif inner is Fractions:
            yield f"{place}.VERDICT", _FRACTION
            yield from _rows(Share, f"{place}.VERDICT.")
        elif inner is not None:
            yield from _rows(inner, f"{place}{_inside(field.kind)}.")


_FRACTION = (
    "of learnable, vanishing and solved: under the fitted model, so that undecided prompts count by what they probably are, and these "
    "three add up to 1. Of undecided and unscored: the share of prompts that got the label"
)


def _inside(kind: object) -> str:
    """How the items of a type are written in a key: `[]` of a list, `.*` of a mapping by names."""
    origin = get_origin(kind)
    if origin is tuple:
        return "[]"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return ".*" + _inside(get_args(kind)[1])
    return ""


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---|", *(f"| `{key}` | {text} |" for key, text in rows.items())])

"""The page of the formats of logs, from their table in the code."""

from __future__ import annotations

from flatspot.importers.detection import FORMATS

_INTRO = """`flatspot inspect` tells a log's format by its columns or keys. Where several formats are in one folder, `--format NAME` picks
one; files that trainers write beside their rollouts are passed over. `--format generic` reads columns by their names instead, as
[Read the logs of a run](../how-to/inspect-logs.md) says.

What a format hides is said with a code in `caveat_codes`, where a log shows it: [all codes](json.md#codes-of-caveats). Where a log holds
only groups whose rewards differ (`survivors-only`), `verdict` is null, and so are `fractions` and `forecast`: each prompt is judged, and
nothing is said of the set."""


def log_formats_page(head: str) -> str:
    """A section per format: who writes it, which files, and what it hides."""
    names = list(dict.fromkeys(format.name for format in FORMATS if format.hides))
    rows = ["| `--format` | written by | files |", "|---|---|---|"]
    readable = [format for name in names for format in FORMATS if format.name == name and format.hides]
    rows += dict.fromkeys(f"| `{format.name}` | {format.writers} | {format.files} |" for format in readable)
    hidden = ["| `--format` | code | what is hidden |", "|---|---|---|"]
    for name in names:
        of_name = {code: text for format in FORMATS if format.name == name for code, text in format.hides.items()}
        hidden += [f"| `{name}` | `{code}` | {text} |" for code, text in of_name.items()]
    parts = [
        head,
        "# Formats of logs",
        _INTRO,
        "\n".join(rows),
        "## What each format hides",
        "\n".join(hidden),
        "## What is refused",
        _REFUSED,
    ]
    return "\n\n".join(parts) + "\n"


_REFUSED = """These are refused by name, with what to do instead:

- logs without rewards: TRL's and NeMo-RL's distillation, verl's generation server, ROLL's agentic pipeline;
- one completion of each prompt, as validations with n = 1 write them, OpenRLHF's W&B table, and W&B tables with `log_unique_prompts`;
- copies of one completion, as greedy decoding draws them (verl, lm-eval, inspect_ai);
- one metric for several responses (lm-eval with `repeats`);
- data sets with a pass rate per prompt (`*_solve_rate`, `*_pass_rate`, `difficulty`): the mean of another policy;
- rows whose rewards belong to other rows (dumps of verl-recipe's DAPO trainer);
- pickles (slime), unless `--allow-pickle` is given; then plain values are loaded, and no code of the pickle runs."""

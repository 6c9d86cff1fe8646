"""The benchmark's results as the page people read."""

from __future__ import annotations

RULES = ("EB-DP", "oracle prior", "flat prior", "SPRT nominal", "SPRT tuned", "fixed K", "first mixed")
HEAD = """# Triage, measured

Written by `python benchmarks/triage/compare.py`; do not edit. Seconds: {seconds}.

EB-DP is `flatspot.triage`: no label, no knowledge of the population. The *oracle prior* knows the distribution of p. *Tuned* rules
(SPRT tuned, fixed K, first mixed) were given the truth to choose their setting: the cheapest one with at most the target error, or EB-DP's.
1,000 prompts, 20 sets each, cap 64. The binary rows are older than the pilot of two completions and the two that every rule now takes
(design/0029); the five populations that came with these are not in them yet.
A cell is generations per prompt (realized error, %). **Bold**: the cheapest that meets the target within a point, when it is not EB-DP.
"–": no setting reaches the error.
"""
WORST_CASE = """The same sets, drawn with `worst_case`. *limit*: the 97.5% upper limit of the error; what is held to the target lies above
it, at twice the drop of the log likelihood. *above*: the share of sets whose realized error was above the target.
"""

OTHER = """*noise*: standard error, over the sets, of the difference between the error and what was predicted; of 2 or 3 sets it is
itself rough. With centered advantages the error is above by more than three of it for few-valued rewards of one Dirichlet at 2% (there with
either kind), zero-inflated ones at 5%, normal ones, and two-point ones with noise, by far.

Two points with noise are binned after the first round, at a distance of 0.06 from the model. Sampling the open prompts further brings it
just under 0.05 in two of three sets: then they pass for normal, a prompt that showed one point alone is called vanishing, and no caveat
says so. In the third set the bins stay, and there it is prompts with noise around one point that are wrongly called learnable. *model* is
that of the last set.

The prior of the variances is the cause for the normal ones. It is a scaled inverse chi-square, fitted by moments, with a long tail of
large variances; the stds of this population are at most 0.3, with a long tail of small ones. After 4 completions, a small std that came
out large is taken at its word, and a vanishing prompt is called learnable. Under the true distribution of the stds, 0.9% would be
predicted of the same completions, and 1.1% of the verdicts would be wrong; under the inverse chi-square it is 0.3% and 2.4% (6 sets).
"""
INSIDE = ("mean", "mixed", "gain")
LIMITS = """Share of 1,000 prompts whose true mean, mixed groups and gain lie within their 95% limits. Where the model is right it is near
95%. A continuous rest is taken for normal: the gain of a bounded or skewed one is off by its shape, and more completions narrow the
limits around the wrong value. Those of binary rewards are exact, and hold for at least 95% of every prompt.
"""


def render(results, limits, engine=None, real=None):
    """Markdown; `engine` and `real` are what engine_side.py and real.py wrote."""
    parts = [
        HEAD.format(seconds=", ".join(f"{name} {s}" for name, s in results["seconds"].items())),
        "## Binary, at equal error\n",
        equal_error(results["binary"]),
    ]
    parts += ["\n## Binary, at equal generations\n", "Realized error, %, of each rule's best setting that costs no more than EB-DP.\n"]
    parts += [equal_cost(results["binary"]), "\n## Against the targets\n", _targets(results["binary"], limits)]
    columns = ("population", "target", "error", "limit", "above", "generations", "undecided")
    parts += ["\n## With `worst_case`\n", WORST_CASE, _plain(results["worst_case"], columns)]
    parts += ["\n## Few prompts, target 3%\n", _plain(results["small"], ("population", "n_prompts", "error", "generations", "undecided"))]
    parts += ["\n## Forecast of mixed groups\n", _forecast(results)]
    columns = ("population", "advantage", "target", "model", "error", "predicted", "noise", "generations", "undecided", "sets", "caveat")
    parts += ["\n## Other rewards, 500 prompts\n", OTHER, _plain(results["other"], columns)]
    parts += ["\n## Limits of graded rewards\n", LIMITS, _plain(results["limits"], ("population", "model", "completions", *INSIDE))]
    if real:
        parts += [
            "\n## Real rewards\n",
            "`python benchmarks/triage/real.py`: SmolLM2-135M-Instruct on reasoning-gym prompts (sample_real.py), replayed 10 times.\n",
            real,
        ]
    if engine:
        parts += ["\n## What rounds cost the engine\n", _engine(engine)]
    return "\n".join(parts) + "\n"


def _engine(engine):
    out = []
    for name, case in engine["cases"].items():
        for how in ("fixed", "adaptive"):
            numbers = case[how]
            lost = f"{100 * case['lost']:.0f}%" if how == "adaptive" else ""
            cells = [f"{numbers['tokens_per_second']:.0f}", lost, numbers["rows"], numbers["rounds"], f"{numbers['seconds']:.0f}"]
            out.append([name, how, *cells])
    head = ["prompts", "drawn", "tokens/s", "lost", "completions", "rounds", "seconds"]
    text = f"`python benchmarks/triage/engine_side.py --engine {engine['engine']}`: SmolLM2-135M-Instruct, up to 16 completions a prompt, "
    text += "target 5%.\n\n"
    return text + _table(head, out)


def _table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows])


def equal_error(rows):
    out = []
    for row in rows:
        good = {k: row[k]["generations"] for k in RULES if row[k] and row[k]["error"] <= row["target"] + 0.01 and k != "oracle prior"}
        best = min(good, key=good.get) if good else None
        cells = []
        for rule in RULES:
            numbers = row[rule]
            cell = f"{numbers['generations']:.1f} ({100 * numbers['error']:.1f})" if numbers else "–"
            cells.append(f"**{cell}**" if rule == best and rule != "EB-DP" else cell)
        out.append([row["population"], f"{row['target']:.0%}", *cells])
    return _table(["population", "target", *RULES], out)


def equal_cost(rows):
    names = ("SPRT tuned", "fixed K", "first mixed")
    out = []
    for row in rows:
        cells = [f"{100 * row[n + ', same cost']['error']:.1f}" if row[n + ", same cost"] else "–" for n in names]
        out.append([row["population"], f"{row['EB-DP']['generations']:.1f}", f"{100 * row['EB-DP']['error']:.1f}", *cells])
    return _table(["population", "generations", "EB-DP", *names], out)


def _targets(rows, limits):
    out = []
    for row in rows:
        ours = row["EB-DP"]
        checks = {
            "error": ours["error"] <= row["target"] + 0.01,
            "generations": ours["generations"] <= limits[row["target"]],
            "half of SPRT": ours["generations"] <= row["SPRT nominal"]["generations"] / 2,
            "1.35 of oracle": ours["generations"] <= 1.35 * row["oracle prior"]["generations"],
        }
        out.append(
            [row["population"], f"{row['target']:.0%}", f"{100 * ours['undecided']:.1f}", *("yes" if v else "NO" for v in checks.values())]
        )
    names = ["error within 1 point", "generations", "half of nominal SPRT's", "within 1.35 of the oracle's"]
    return _table(["population", "target", "undecided, %", *names], out)


def _forecast(results):
    inside = {row["population"]: row["inside"] for row in results["coverage"]}
    at = [row for row in results["binary"] if row["target"] == 0.03]
    out = [[r["population"], *r["forecast error"], *(f"{100 * x:.0f}" for x in inside.get(r["population"], []))] for r in at]
    head = [
        "population",
        *(f"distance at K = {k}, points" for k in (4, 8, 16, 32)),
        *(f"90% limits hold at {k}, %" for k in (4, 8, 16, 32)),
    ]
    return "Distance from the set's own share (1,000 prompts, target 3%); coverage of the population's (300 prompts).\n\n" + _table(
        head, out
    )


def _plain(rows, columns):
    def cell(name, value):
        if name in ("error", "predicted", "noise", "undecided", "target", "limit", "above", *INSIDE):
            return f"{100 * value:.1f}%"
        return (
            f"{value:.1f}" if isinstance(value, float) else {True: "yes", False: ""}.get(value, value) if isinstance(value, bool) else value
        )

    return _table(columns, [[cell(c, row[c]) for c in columns] for row in rows])

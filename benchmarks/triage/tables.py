"""The benchmark's results as the page people read."""

from __future__ import annotations

RULES = ("EB-DP", "oracle prior", "flat prior", "SPRT nominal", "SPRT tuned", "fixed K", "first mixed")
HEAD = """# Triage, measured

Written by `python benchmarks/triage/compare.py`; do not edit. Seconds: {seconds}.

EB-DP is `flatspot.triage`: no label, no knowledge of the population. The *oracle prior* knows the distribution of p. *Tuned* rules
(SPRT tuned, fixed K, first mixed) were given the truth to choose their setting: the cheapest one with at most the target error, or EB-DP's.
1,000 prompts, {sets} sets each, cap 64. What is stated against what is true is in `benchmarks/claims`.
The rows are older than the pilot of two completions and the two that every rule now takes (design/0029), and were not measured since; the
five populations that came with these are not in them yet.
A cell is generations per prompt (realized error, %). **Bold**: the cheapest that meets the target within a point, when it is not EB-DP.
"–": no setting reaches the error.
"""


def render(results, limits, sets, engine=None, real=None, masses=None):
    """Markdown; `engine`, `real` and `masses` are what engine_side.py, real.py and masses.py wrote."""
    parts = [
        HEAD.format(sets=sets, seconds=", ".join(f"{name} {s}" for name, s in results["seconds"].items())),
        "## Binary, at equal error\n",
        equal_error(results["binary"]),
    ]
    parts += ["\n## Binary, at equal generations\n", "Realized error, %, of each rule's best setting that costs no more than EB-DP.\n"]
    parts += [equal_cost(results["binary"]), "\n## Against the targets\n", _targets(results["binary"], limits)]
    if real:
        parts += [
            "\n## Real rewards\n",
            "`python benchmarks/triage/real.py`: SmolLM2-135M-Instruct on reasoning-gym prompts (sample_real.py), replayed 10 times.\n",
            real,
        ]
    if masses:
        parts += ["\n## With the probabilities of completions\n", masses.rstrip()]
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

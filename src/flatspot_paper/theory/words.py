"""The output of `flatspot reproduce theory`."""

from __future__ import annotations

from pathlib import Path

from flatspot_paper.theory.results import TheoryResults

_NAMES = {
    "score": "score: std·√E‖s‖²",
    "collision": "collision: γ·std·√ΣE[1−‖p‖²]",
    "lipschitz": "Lipschitz: √L·γ·std",
    "median": "median: √2·L·γ·E|r−median|",
    "theorem_1": "Theorem 1: 6·L·γ·std^(2/3)",
    "theorem_1_kl": "Theorem 1 with a KL penalty",
    "surrogate": "PPO's clipped surrogate",
}


def results_text(results: TheoryResults, out: Path) -> str:
    """The results as text: violations, tightness, slopes, separation, objectives."""
    bounds = results["bounds"]
    bands = bounds["theorem_1"]["times_the_norm"]
    lines = [
        f"{results['models']} random policies, seed {results['seed']}: {results['violations']} violations of {len(bounds)} bounds",
        "",
        "How many times the true norm a bound is (median), by std",
        f"  {'std below':32}" + "".join(f"{band['std_to']:>10g}" for band in bands),
        f"  {'policies':32}" + "".join(f"{band['n']:>10}" for band in bands),
    ]
    for name, tightness in bounds.items():
        cells = "".join(f"{band['median']:>10.3g}" if band["n"] else f"{'-':>10}" for band in tightness["times_the_norm"])
        lines.append(f"  {_NAMES[name]:32}{cells}")
    lines += ["", "Slope against the std, log-log (± standard error)"]
    for label, slopes in results["slopes"].items():
        lines.append(f"  {label}: " + ", ".join(f"{name} {s['slope']:.2f} ± {s['se']:.2f}" for name, s in slopes.items()))
    lines += ["", f"One token, ∇V = Δ·p·(e_y − p): relative error at most {results['identity']['largest_relative_error']:.0e}"]
    lines += [
        "",
        "Time to p = 1/2, in units of 1/learning rate",
        f"  {'p0':>8}{'std0':>9}{'RL':>11}{'SFT':>9}{'RL·std0²':>10}  in the bounds",
    ]
    for row in results["separation"]:
        cells = f"{row['p0']:>8.0e}{row['std0']:>9.4f}{row['rl']:>11.4g}{row['sft']:>9.4g}{row['rl_times_variance']:>10.3f}"
        lines.append(f"  {cells}  {'yes' if row['inside_bounds'] else 'NO'}")
    lines += ["", "Exact steps from p = 1e-4 to 1/2 (two arms, rate 0.5)"]
    sizes = [key for key in results["objectives"][0] if key != "objective"]
    lines.append(f"  {'':12}" + "".join(f"{size:>13}" for size in sizes))
    lines += [f"  {row['objective']:12}" + "".join(f"{row[size]:>13,}" for size in sizes) for row in results["objectives"]]
    lines += ["", f"{results['seconds']:.0f} s. Written to {out}: results.json, {', '.join(results['figures'])}"]
    return "\n".join(lines)

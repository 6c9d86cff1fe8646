"""Claim against realized: python benchmarks/claims/run.py [--quick] [--only WORD ...] [--jobs N]

Every number that flatspot prints with a stated error or level, on populations and families whose truth is known. Writes results.json and
README.md beside this file; what was measured survives an interruption in progress.jsonl, as long as neither flatspot's numbers nor this
folder change. `--only` measures the jobs whose name has one of the words, and keeps the rest of results.json; `--quick` measures little of
everything in under three minutes, and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from judge import rows_of
from measure import FAMILIES, adaptive, fixed
from page import failures, render

HERE = Path(__file__).parent
PROGRESS = HERE / "progress.jsonl"
QUICK = {
    "binary": (".04, .5", ".02, .12, .98", "hard"),
    "graded": ("0, .5, 1, few kinds", "format and correct", "beta, low means", "partial credit", "four families"),
}

# what is measured of each population, by kind: (section, arguments); sets chosen for about an hour on one core
JOBS = {
    "binary": [
        *(("fixed", {"m": 300, "completions": k, "sets": 16}) for k in (4, 8, 16)),
        ("fixed", {"m": 1000, "completions": 8, "sets": 10}),
        *(("fixed", {"m": m, "completions": 8, "sets": 10}) for m in (20, 50)),
        ("triage", {"m": 300, "sets": 16}),
        ("triage", {"m": 1000, "sets": 6}),
        ("triage", {"m": 300, "sets": 8, "targets": (0.03,), "whole": True}),
        *(("triage", {"m": m, "sets": 30, "targets": (0.05, 0.03)}) for m in (10, 20, 50)),
        ("triage", {"m": 300, "sets": 12, "targets": (0.05, 0.02), "worst_case": True}),
    ],
    "graded": [
        *(("fixed", {"m": 300, "completions": k, "sets": 20}) for k in (4, 8, 16)),
        ("fixed", {"m": 1000, "completions": 8, "sets": 8}),
        *(("fixed", {"m": m, "completions": 8, "sets": 16}) for m in (20, 50)),
        ("triage", {"m": 300, "sets": 16}),
        ("triage", {"m": 300, "sets": 8, "targets": (0.05,), "advantage": "normalized"}),
        ("triage", {"m": 1000, "sets": 4, "targets": (0.05, 0.02)}),
        *(("triage", {"m": m, "sets": 20, "targets": (0.05, 0.03)}) for m in (20, 50)),
    ],
}
QUICK_JOBS = {
    "binary": [
        ("fixed", {"m": 300, "completions": 8, "sets": 6}),
        ("triage", {"m": 300, "sets": 6, "targets": (0.05, 0.02)}),
        ("triage", {"m": 20, "sets": 10, "targets": (0.03,)}),
    ],
    "graded": [
        ("fixed", {"m": 200, "completions": 8, "sets": 4}),
        ("triage", {"m": 200, "sets": 3, "targets": (0.05,)}),
        ("triage", {"m": 20, "sets": 6, "targets": (0.05,)}),
    ],
}


def named(name, section, arguments):
    rest = ", ".join(f"{key} {value}" for key, value in arguments.items() if key not in ("sets",))
    return f"{FAMILIES[name][0]}: {name}: {section}, {rest}"


def measured(job):
    name, section, arguments = job
    began = time.process_time()
    observed = {"fixed": fixed, "triage": adaptive}[section](name, **arguments)
    about = {"set": name, "rewards": FAMILIES[name][0], "section": section, "prompts": arguments["m"]}
    if section == "fixed":
        about["completions"] = arguments["completions"]
    return named(*job), {"rows": rows_of(observed, about), "seconds": round(time.process_time() - began, 1)}


def digest():
    """Of everything the numbers depend on."""
    source = HERE.parents[1] / "src" / "flatspot"
    files = sorted([*(source / "stats").rglob("*.py"), source / "verdicts" / "caveats.py", *HERE.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def resumed():
    """What an interrupted run of the same code measured."""
    if not PROGRESS.exists():
        return {}
    lines = [json.loads(line) for line in PROGRESS.read_text().splitlines() if line.endswith("}")]
    return {line["job"]: line["result"] for line in lines if line["code"] == digest()}


def run(jobs, n_processes, keep):
    """{name of the job: result}; `keep`: in progress.jsonl as well."""
    done = resumed() if keep else {}
    left = [job for job in jobs if named(*job) not in done]
    code = digest()
    with multiprocessing.get_context("spawn").Pool(n_processes, initializer=os.nice, initargs=(5,)) as pool:
        for at, (name, result) in enumerate(pool.imap_unordered(measured, left), 1):
            done[name] = result
            bad = sum(row["holds"] is False for row in result["rows"])
            said = f"{at}/{len(left)} {name}: {result['seconds']:.0f} s, {bad} of {len(result['rows'])} do not hold"
            print(said, file=sys.stderr, flush=True)
            if keep:
                with PROGRESS.open("a") as file:
                    file.write(json.dumps({"code": code, "job": name, "result": result}) + "\n")
    return {named(*job): done[named(*job)] for job in jobs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little of everything, nothing written")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="the jobs whose name has one of these words; none: only the page")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    parser.add_argument("--sets", type=float, default=1.0, metavar="SHARE", help="of the sets of each row, at least 4 (default 1)")
    options = parser.parse_args()
    if options.quick:
        jobs = [(name, *job) for kind, names in QUICK.items() for name in names for job in QUICK_JOBS[kind]]
    else:
        jobs = [(name, *job) for name in FAMILIES for job in JOBS[FAMILIES[name][0]]]
    if options.only is not None:
        jobs = [job for job in jobs if any(word in named(*job) for word in options.only)]
    jobs = [(name, section, arguments | {"sets": max(3, round(options.sets * arguments["sets"]))}) for name, section, arguments in jobs]
    began = time.time()
    results = run(jobs, options.jobs, keep=not options.quick)
    rows = [row for result in results.values() for row in result["rows"]]
    print(failures(rows))
    if options.quick:
        return
    stored = HERE / "results.json"
    before = json.loads(stored.read_text())["jobs"] if options.only is not None and stored.exists() else {}
    everything = {named(*job) for name in FAMILIES for job in ((name, *one) for one in JOBS[FAMILIES[name][0]])}
    kept = {name: result for name, result in (before | results).items() if name in everything}
    stored.write_text(json.dumps({"jobs": kept}, indent=0) + "\n")
    (HERE / "README.md").write_text(render(kept))
    PROGRESS.unlink(missing_ok=True)
    print(f"{time.time() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

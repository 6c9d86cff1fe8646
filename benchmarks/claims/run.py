"""Claim against realized: python benchmarks/claims/run.py [--quick] [--only WORD ...] [--sets SHARE] [--jobs N]

Every number that flatspot prints with a stated error or level, on populations and families whose truth is known. Writes results.json and
README.md beside this file; what was measured survives an interruption in progress.jsonl, as long as neither flatspot's numbers nor this
folder change. `--only` measures the jobs whose name matches one of the words (`'graded*fixed'`), and keeps the rest of results.json;
`--quick` measures little of everything in under three minutes, and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import sys
import time
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from held_back import HELD_BACK
from judge import rows_of
from measure import FAMILIES, adaptive, fixed
from page import failures, render

HERE = Path(__file__).parent
PROGRESS = HERE / "progress.jsonl"
_FEWEST_SETS = 4
QUICK = {
    "binary": (".04, .5", ".02, .12, .98", "hard"),
    "graded": ("0, .5, 1, few kinds", "format and correct", "beta, low means", "partial credit", "four families"),
}

# what is measured of each population, by kind: (section, arguments); sets chosen for about an hour on one core
JOBS = {
    "binary": [
        ("triage", {"m": 300, "sets": 16, "whole": (0.03,)}),
        ("fixed", {"m": 300, "completions": 8, "sets": 16}),
        ("triage", {"m": 20, "sets": 40, "targets": (0.05, 0.03)}),
        ("triage", {"m": 300, "sets": 10, "targets": (0.05, 0.02), "worst_case": True}),
        *(("fixed", {"m": 300, "completions": k, "sets": 16}) for k in (4, 16)),
        ("fixed", {"m": 1000, "completions": 8, "sets": 10}),
        ("triage", {"m": 1000, "sets": 8, "targets": (0.05, 0.02)}),
        *(("triage", {"m": m, "sets": 30, "targets": (0.05, 0.03)}) for m in (10, 50)),
        ("fixed", {"m": 20, "completions": 8, "sets": 10}),
        ("fixed", {"m": 300, "completions": 2, "sets": 10}),
    ],
    "graded": [
        ("triage", {"m": 300, "sets": 10, "targets": (0.05, 0.02), "whole": (0.05,)}),
        ("fixed", {"m": 300, "completions": 8, "sets": 16}),
        ("triage", {"m": 20, "sets": 16, "targets": (0.05,)}),
        ("triage", {"m": 300, "sets": 6, "targets": (0.03,), "advantage": "normalized"}),
        *(("fixed", {"m": 300, "completions": k, "sets": 12}) for k in (4, 16)),
        ("triage", {"m": 50, "sets": 12, "targets": (0.05,)}),
        ("fixed", {"m": 1000, "completions": 8, "sets": 5}),
        ("triage", {"m": 300, "sets": 5, "targets": (0.05,), "worst_case": True}),
        ("fixed", {"m": 20, "completions": 8, "sets": 10}),
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


def every_job(held_back=False):
    """What matters most of each population first: an interrupted run has something of all of them."""
    of = [(name, kind) for name, (kind, _) in FAMILIES.items() if (name in HELD_BACK[kind]) == held_back]
    turns = itertools.zip_longest(*([(name, *job) for job in JOBS[kind]] for name, kind in of))
    return [job for turn in turns for job in turn if job is not None]


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
    spent = round(time.process_time() - began, 1)
    return named(*job), {"measured": date.today().isoformat(), "seconds": spent, "rows": rows_of(observed, about)}


def digest():
    """Of everything the numbers depend on."""
    source = HERE.parents[1] / "src" / "flatspot"
    files = sorted([*(source / "stats").rglob("*.py"), source / "verdicts" / "caveats.py", *HERE.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def resumed():
    """{(name of the job, sets): result} of an interrupted run of the same code."""
    if not PROGRESS.exists():
        return {}
    lines = [json.loads(line) for line in PROGRESS.read_text().splitlines() if line.endswith("}")]
    return {(line["job"], line["sets"]): line["result"] for line in lines if line["code"] == digest()}


def run(jobs, n_processes, keep):
    """{name of the job: result}; `keep`: in progress.jsonl as well."""
    before = resumed() if keep else {}
    done = {named(*job): before[key] for job in jobs if (key := (named(*job), job[2]["sets"])) in before}
    left = {named(*job): job for job in jobs if named(*job) not in done}
    code = digest()
    with multiprocessing.get_context("spawn").Pool(n_processes, initializer=os.nice, initargs=(5,)) as pool:
        for at, (name, result) in enumerate(pool.imap_unordered(measured, left.values()), 1):
            done[name] = result
            bad = sum(row["holds"] is False for row in result["rows"])
            said = f"{at}/{len(left)} {name}: {result['seconds']:.0f} s, {bad} of {len(result['rows'])} do not hold"
            print(said, file=sys.stderr, flush=True)
            if keep:
                line = {"code": code, "job": name, "sets": left[name][2]["sets"], "result": result}
                with PROGRESS.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return done


def chosen_jobs(options):
    jobs = every_job(options.held_back)
    if options.quick:
        jobs = [(name, *job) for kind, names in QUICK.items() for name in names for job in QUICK_JOBS[kind]]
    if options.only is not None:
        jobs = [job for job in jobs if any(fnmatchcase(named(*job), f"*{word}*") for word in options.only)]
    return [(name, section, rest | {"sets": max(_FEWEST_SETS, round(options.sets * rest["sets"]))}) for name, section, rest in jobs]


def write(results):
    """results.json and the page, of these and, where they are not all, of what was measured before."""
    stored, names = HERE / "results.json", [named(*job) for job in every_job() + every_job(held_back=True)]
    before = json.loads(stored.read_text())["jobs"] if stored.exists() else {}
    known = before | results
    kept = {name: known[name] for name in names if name in known}
    lines = (f"{json.dumps(name)}: {json.dumps(_rounded(result), separators=(',', ':'))}" for name, result in kept.items())
    stored.write_text('{"jobs": {\n' + ",\n".join(lines) + "\n}}\n")
    (HERE / "README.md").write_text(render(kept, len(names)))


def _rounded(value):
    """To five digits, for the file's size; what is not finite as null."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little of everything, nothing written")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="the jobs whose name matches one of these")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    parser.add_argument("--sets", type=float, default=1.0, metavar="SHARE", help=f"of the sets of each row, at least {_FEWEST_SETS}")
    parser.add_argument("--held-back", action="store_true", help="those of held_back.py alone")
    parser.add_argument("--page", action="store_true", help="measure nothing: the page, with what an interrupted run has")
    options = parser.parse_args()
    began = time.time()
    results = {name: result for (name, _), result in resumed().items()} if options.page else {}
    results |= {} if options.page else run(chosen_jobs(options), options.jobs, keep=not options.quick)
    print(failures([row for result in results.values() for row in result["rows"]]))
    print(f"{time.time() - began:.0f} s", file=sys.stderr)
    if not options.quick:
        write(results)
    if not (options.quick or options.page):
        PROGRESS.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

"""The report of a recipe: what it says of each outcome, in a terminal, in the file, and in a browser."""

from __future__ import annotations

import copy
import pathlib
import re
import sys

import numpy as np
import pyarrow as pa
import pytest

from flatspot.core.schema import PATHS, arrow_schema
from flatspot.report.recipe.blocks import composition_rows, cost_rows, headline, key_facts, reason
from flatspot.report.recipe.charts import moves, rewards, verdicts, warm_up
from flatspot.report.recipe.html import render_recipe_html, write_recipe_html
from flatspot.report.recipe.paths import MOST, Path, paths_between
from flatspot.report.recipe.terminal import recipe_text
from flatspot.runs.recipe_summary import RecipeSummary

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ruler import Ruler, all_of, at, words

pytestmark = pytest.mark.thorough

HOSTILE = "<script>window.hit=1</script>\u202e\x1b[31m"
CLIPPED = """[...document.querySelectorAll('[data-chart]')].flatMap(figure => {
  const {left, right, top, bottom} = figure.getBoundingClientRect();
  const out = text => {
    const r = text.getBoundingClientRect();
    return r.width && (r.left < left - 1 || r.right > right + 1 || r.top < top - 1 || r.bottom > bottom + 1);
  };
  return [...figure.querySelectorAll('text')].filter(out).map(text => text.textContent);
})"""
STAGES = ("before", "warmed", "after", "after-alone")
STATES = ("learnable", "vanishing", "solved", "undecided", "unscored")


def policy(mean, vanishing, n=100):
    counts = dict(zip(STATES, (n - int(vanishing * n), int(vanishing * n), 0, 0, 0), strict=True))
    fractions = {name: {"mean": counts[name] / n, "lo": 0.0, "hi": min(1.0, counts[name] / n + 0.1)} for name in STATES}
    return {"folder": "out/x", "verdict": "warm-up", "fractions": fractions, "counts": counts, "generations": 1234,
            "reward": {"mean": mean, "lo": mean - 0.05, "hi": mean + 0.05, "std": 0.1}}  # fmt: skip


def summary_of(**given):
    return RecipeSummary.from_json(values_of(**given))


def values_of(*, compare=True, warmed=True, over_alone=(0.2, 0.1, 0.3), over_before=(0.8, 0.7, 0.9), over_warmed=None):
    stages = [s for s in STAGES if (s != "after-alone" or compare) and (s != "warmed" or warmed)]
    curve = [
        {"step": s, "ready": {"mean": s / 10, "lo": s / 12, "hi": min(1.0, s / 8)}, "reward": s / 11, "generations": 30, "labels": 9}
        for s in range(0, 11, 2)
    ]
    points = [{"step": s, "generations": 64 * s + 100, "reward": s / 10, "lo": s / 12, "hi": min(1, s / 9)} for s in range(1, 9)]
    warmup = {"chosen_step": 8, "steps": 10, "labels": 10, "learnt": 9, "generations": 180, "why": "more cost than gain",
              "cause": "plateau", "recovered": True, "curve": curve, "notes": []}  # fmt: skip
    names = [n for n in ("before", "warmup", "train", "train-alone") if (n != "train-alone" or compare) and (n != "warmup" or warmed)]
    cost = [{"stage": name, "labels": 10 if name == "warmup" else None, "steps": 8, "generations": 512, "seconds": 75.0} for name in names]
    return {
        "schema_version": 1, "source": "run", "n_prompts": 100, "reward_range": [0.0, 1.0], "epsilon": 0.05, "reach_threshold": 4.3,
        "reward_model": "binary",
        "fewest_completions": 4, "policies": {s: policy(0.1 + 0.2 * i, 0.8 - 0.2 * i) for i, s in enumerate(stages)},
        "gain": {
            "over_before": dict(zip(("mean", "lo", "hi"), over_before, strict=True)),
            "over_warmed": over_warmed and dict(zip(("mean", "lo", "hi"), over_warmed, strict=True)),
            "over_alone": dict(zip(("mean", "lo", "hi"), over_alone, strict=True)) if compare else None,
        },
        "plan": None, "warmup": warmup if warmed else None,
        "rewards": {"train": points} | ({"train-alone": points} if compare else {}), "cost": cost,
        "training_cost": {"to train without": {"labels": 0, "steps": 8, "generations": 512, "seconds": 3700.0}} if compare else {},
        "alarms": {}, "caveats": ["one seed"], "settings": {"model": "m"}, "provenance": {"created": "2026-11-23T03:00:00+00:00"},
        "stages": [{"stage": s, "folder": f"out/{s}", "seconds": 1.0, "reused": False} for s in stages],
    }  # fmt: skip


def paths_of(n=100, stages=STAGES, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, (len(stages), n))
    rows = {
        "prompt_id": [f"p{i}" for _ in stages for i in range(n)],
        "stage": [stage for stage in stages for _ in range(n)],
        "verdict": [STATES[int(3 * x)] for x in p.reshape(-1)],
        "mean": p.reshape(-1),
        "std": np.sqrt(p * (1 - p)).reshape(-1),
    }
    return pa.table(rows, schema=arrow_schema(PATHS))


@pytest.mark.parametrize(
    ("given", "title", "tone"),
    [
        ({}, "The warm-up paid off", "good"),
        ({"over_alone": (0.1, -0.1, 0.3)}, "The warm-up made no clear difference", "plain"),
        ({"over_alone": (-0.2, -0.3, -0.1)}, "RL alone did better", "stop"),
        ({"compare": False}, "RL learned", "good"),
        ({"compare": False, "over_before": (0.0, -0.1, 0.1)}, "RL did not learn", "act"),
        ({"compare": False, "over_before": (-0.2, -0.3, -0.1)}, "RL made it worse", "stop"),
        ({"compare": False, "warmed": False}, "RL learned", "good"),
        ({"compare": False, "over_warmed": (0.3, 0.2, 0.4)}, "RL learned", "good"),
        ({"compare": False, "over_warmed": (0.0, -0.1, 0.1)}, "The warm-up helped, RL added nothing clear", "plain"),
        ({"compare": False, "over_warmed": (-0.3, -0.4, -0.2)}, "RL lost what the warm-up won", "stop"),
    ],
)
def test_the_headline_follows_the_limits(given, title, tone):
    summary = summary_of(**given)
    assert headline(summary) == (title, tone)
    assert ("RL alone, with as many completions" in reason(summary)) == given.get("compare", True)
    assert ("no warm-up" in reason(summary)) == (not given.get("warmed", True))


def test_the_terminal_fits_and_says_what_the_numbers_are():
    text = recipe_text(summary_of())
    assert max(map(len, text.splitlines())) <= 80
    assert "THE WARM-UP PAID OFF" in text and "+0.20 (95% interval +0.10 to +0.30)" in " ".join(text.split())
    assert "Stopped after step 10, and the checkpoint of step 8 was selected: more cost than gain." in " ".join(text.split())
    row = next(line for line in text.splitlines() if line.startswith("to train without"))
    assert row.split()[3:] == ["0", "8", "512", "1", "h", "1", "min"]
    assert "no warm-up" in recipe_text(summary_of(compare=False, warmed=False)) and recipe_text(RecipeSummary()).startswith("NO OUTCOME")


def test_counts_and_estimates_are_told_apart():
    values = values_of()
    values["policies"]["before"]["counts"] |= {"undecided": 7, "vanishing": 73}
    found = RecipeSummary.from_json(values)
    rows = {row.name: row.cells[0] for row in composition_rows(found)}
    assert rows["vanishing"] == "80% [0–90%]" and rows["undecided"] == "7 of 100" and rows["unscored"] == "0 of 100"
    said = "Undecided and unscored are counts of these prompts."
    assert said in " ".join(recipe_text(found).split()) and said in render_recipe_html(found, paths_of(5))
    assert recipe_text(RecipeSummary.from_json({"policies": {"before": {}}}))  # nothing known of it


def test_facts_and_tables_are_the_summarys_numbers():
    facts = {fact.label: fact.value for fact in key_facts(summary_of())}
    assert facts["mean reward after RL"] == "0.50" and facts["over RL alone"] == "+0.20" and facts["labels"] == "10"
    assert facts["of prompts still vanish"] == "40%" and facts["completions to train"] == "1,024"
    assert [row.name for row in cost_rows(summary_of())] == ["before", "warm-up", "RL", "RL alone", "to train without"]


def test_prompts_with_one_way_are_one_and_none_is_lost():
    table = pa.table(
        {
            "prompt_id": ["a", "b", "c", "a", "b", "c"],
            "stage": ["before"] * 3 + ["after"] * 3,
            "verdict": ["vanishing"] * 3 + ["solved", "solved", "learnable"],
            "mean": [0.0, 0.0, 0.0, 1.0, 1.0, None],
            "std": [0.0, 0.0, 0.0, 0.0, 0.0, None],
        },
        schema=arrow_schema(PATHS),
    )
    [path], left = paths_between(table, "before", "after", 1.0)
    assert (path.start, path.end, path.now, path.count, left) == ((0.0, 0.0), (1.0, 0.0), "solved", 2, 1)
    shown, left = paths_between(paths_of(20_000), "before", "after", 1.0)
    assert len(shown) == MOST and left == 20_000 - sum(path.count for path in shown)


def test_charts_of_what_is_missing_are_none_and_curves_hold_every_point():
    assert (
        warm_up([], 0) is None
        and rewards(RecipeSummary()) is None
        and verdicts(RecipeSummary()) is None
        and moves([], RecipeSummary(), 0.0) is None
    )
    curve = values_of()["warmup"]["curve"]
    chart = warm_up(curve, 8)
    ruler = Ruler(chart)
    assert [ruler.value(at(node)) for node in all_of(chart, "circle")[:6]] == [
        pytest.approx((row["step"], row["ready"]["mean"]), abs=0.02) for row in curve
    ]
    assert "selected: step 8, 80%" in words(chart)
    unprobed = [{"step": 0, "loss": None, "generations": 0}, *curve]
    assert warm_up(unprobed, 8) == chart


def test_rewards_and_verdicts_are_drawn_at_their_numbers():
    summary = summary_of()
    chart = rewards(summary)
    ruler = Ruler(chart)
    points = summary["rewards"]["train"]
    for style in ("dot", "other-dot"):
        assert [ruler.value(at(node)) for node in all_of(chart, "circle", style)] == [
            pytest.approx((row["generations"], row["reward"]), abs=0.3) for row in points
        ]
    parts = [float(node.get("width")[:-1]) for node in all_of(verdicts(summary), "rect", "part")]
    counts = [n for policy in summary["policies"].values() for n in policy["counts"].values() if n]
    assert parts == pytest.approx(counts, abs=0.02)  # of 100 prompts


def test_a_trail_leads_from_where_a_prompt_was_to_where_it_is():
    chart = moves([Path((0.0, 0.0), (0.75, 0.4), "learnable", 3), Path((0.5, 0.5), (0.5, 0.5), "solved", 1)], summary_of(), 0.5)
    ruler = Ruler(chart)
    [trail] = all_of(chart, "path", "trail")  # a prompt that stayed has no way
    ends = [ruler.value(tuple(map(float, pair.split()))) for pair in trail.get("d")[1:-1].split("L")]
    assert ends[0] == pytest.approx((0.0, 0.0), abs=0.01) and ends[2] == pytest.approx((0.75, 0.4), abs=0.02)
    assert trail.get("class") == "trail v-learnable"
    assert [ruler.value(at(node)) for node in all_of(chart, "use")] == [pytest.approx(end, abs=1e-3) for end in ((0.75, 0.4), (0.5, 0.5))]


def test_no_text_of_the_summary_can_leave_its_place():
    bad = values_of()
    bad["warmup"]["why"] = bad["settings"]["model"] = bad["stages"][0]["folder"] = bad["provenance"]["created"] = HOSTILE
    bad["caveats"] = [HOSTILE, "\ud800"]
    bad["settings"][HOSTILE] = HOSTILE
    html = render_recipe_html(RecipeSummary.from_json(bad), paths_of(5))
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert HOSTILE not in html and "\u202e" not in own and own.count("&lt;script&gt;") >= 5
    html.encode("utf-8")


def test_equal_input_gives_equal_bytes():
    assert render_recipe_html(summary_of(), paths_of()) == render_recipe_html(copy.deepcopy(summary_of()), paths_of())


@pytest.mark.parametrize(
    ("given", "n", "options"),
    [
        ({}, 100, {}),
        ({}, 100, {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}),
        ({"compare": False, "warmed": False}, 1, {}),
        ({"compare": False}, 0, {}),
    ],
)
def test_it_opens_and_draws_without_a_complaint(open_file, tmp_path, given, n, options):
    summary = summary_of(**given)
    write_recipe_html(summary, paths_of(n, tuple(summary.policies)), tmp_path / "report.html")
    page = open_file(tmp_path / "report.html", **options)
    assert page.trouble == []
    assert page.locator("h1").inner_text() == headline(summary)[0]
    assert page.locator("[data-chart=rewards] svg.plot").count() == 1
    assert page.locator("[data-chart=warmup] svg.plot").count() == (1 if given.get("warmed", True) else 0)
    ways = 0 if n == 0 else len(summary.policies) - 1
    assert page.locator("[data-chart^='way:'] svg.plot").count() == ways
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.evaluate(CLIPPED) == []


def test_it_is_readable_without_javascript(open_file, tmp_path):
    write_recipe_html(summary_of(), paths_of(), tmp_path / "report.html")
    page = open_file(tmp_path / "report.html", ready=False, java_script_enabled=False)
    assert page.locator("svg.plot:visible").count() == 7
    assert page.locator("tbody tr").count() == 6 + 5

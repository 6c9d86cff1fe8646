"""The report in a real browser, opened from its file as a reader would."""

from __future__ import annotations

import dataclasses
import json
import re

import pyarrow as pa
import pytest

from flatspot.runs.summary import Summary

pytestmark = pytest.mark.thorough

sync_api = pytest.importorskip("playwright.sync_api", reason="the report's browser tests need playwright: pip install 'flatspot[dev]'")
expect = sync_api.expect  # not page.wait_for_function: it evaluates text in the page, which the page's policy forbids

HOSTILE = [
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "<!--<script>window.hit=1",
    "<img src=x onerror=window.hit=1>",
    "javascript:window.hit=1",
    '"><svg onload=window.hit=1>',
    "data:text/html,<script>window.hit=1</script>",
    "a\u2028b\u2029c",
    "{{ 7*7 }} ${7*7} &lt;b&gt; &amp;",
    "\u202egnp.exe",
    "nul \x00 bell \x07 escape \x1b[31m",
]


def overflow(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def prompts_shown(page) -> list[str]:
    return page.locator("#table tr.row .open").all_inner_texts()


def status(page) -> str:
    return page.locator("#status").inner_text()


@pytest.mark.parametrize(
    ("n", "kind"), [(0, "binary"), (1, "binary"), (3, "binary"), (60, "binary"), (20, "equal"), (20, "unscored"), (80, "real")]
)
def test_it_opens_and_draws_without_a_complaint(open_report, make_report, n, kind):
    page = open_report(make_report(n, kind=kind))
    assert page.trouble == []
    assert page.locator("[data-chart=composition] svg.plot").count() == 1
    assert page.locator("[data-chart=forecast] circle").count() == 4
    scatter = page.locator("[data-chart=scatter]")
    assert scatter.count() == (0 if n == 0 or kind == "unscored" else 1)
    if scatter.count():
        assert scatter.locator("use[data-mark]").count() > 0
        box, mark = scatter.locator("svg.plot").bounding_box(), scatter.locator("use").first.bounding_box()
        assert mark["width"] > 5 and box["x"] - 20 < mark["x"] < box["x"] + box["width"]
    assert overflow(page) <= 0
    assert page.title() == "Warm up before RL · flatspot report"
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_bare_summary_opens(open_report, make_report):
    page = open_report(dataclasses.replace(make_report(3), summary=Summary()))
    assert page.trouble == []
    assert page.locator("h1").inner_text() == "No verdict"


def test_strangers_text_is_shown_and_never_run(open_report, make_report):
    data = make_report(len(HOSTILE), answers=2, text=lambda i, k: HOSTILE[i])
    everything = {"error": " ".join(HOSTILE), "count": 1}
    names = dict.fromkeys(HOSTILE, 0.5)
    n = data.prompts.num_rows
    data = type(data)(
        summary=Summary.from_json(
            data.summary.to_json()
            | {"reason": " ".join(HOSTILE), "caveats": HOSTILE, "health": {"errors": [everything]}, "sampling": dict.fromkeys(HOSTILE, "x")}
        ),
        verdicts=data.verdicts.set_column(data.verdicts.column_names.index("why"), "why", pa.array(HOSTILE))
        .drop_columns(["component_mean", "component_std"])
        .append_column("component_mean", pa.array([list(names.items())] * n, pa.map_(pa.string(), pa.float64())))
        .append_column("component_std", pa.array([list(names.items())] * n, pa.map_(pa.string(), pa.float64()))),
        prompts=data.prompts.set_column(
            1, "prompt", pa.array([json.dumps([{"role": text, "content": text}]) for text in HOSTILE])
        ).set_column(2, "is_chat", pa.array([True] * n)),
        completions=data.completions.set_column(
            data.completions.column_names.index("rewards"),
            "rewards",
            pa.array([list(names.items())] * data.completions.num_rows, pa.map_(pa.string(), pa.float64())),
        ),
    )
    page = open_report(data)
    for i in range(len(HOSTILE)):
        page.locator("#table tr.row .open").nth(i).click()
    expect(page.locator(".completions")).to_have_count(n)
    for value in page.locator("#component option").all_inner_texts()[:4]:
        page.locator("#component").select_option(value)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    assert page.trouble == []
    shown = page.locator(".completions .text").all_inner_texts()
    for text in HOSTILE[:7] + HOSTILE[8:9]:
        assert text in shown
    assert "⟦U+202E⟧gnp.exe" in shown and "nul ␀ bell ␇ escape ␛[31m" in shown
    assert overflow(page) <= 0


def test_filters_search_and_sorting(open_report, make_report):
    data = make_report(60)
    page = open_report(data)
    rows = {row["prompt_id"]: row for row in data.verdicts.to_pylist()}
    assert status(page) == "60 prompts"
    page.locator(".chip", has_text="learnable").click()
    n = sum(row["verdict"] == "learnable" for row in rows.values())
    assert status(page) == f"{n} of 60 prompts"
    page.get_by_role("button", name="Mean").click()
    means = [float(cell) for cell in page.locator("#table tr.row td:nth-child(3)").all_inner_texts()]
    assert means == sorted(means) and len(means) == n
    assert page.locator("#table th[aria-sort=ascending]").inner_text() == "Mean"
    page.get_by_role("button", name="Mean").click()
    assert page.locator("#table th[aria-sort=descending]").inner_text() == "Mean"
    page.locator("#clear").click()
    page.locator("#search").fill("prompt 17:")
    expect(page.locator("#status")).to_have_text(re.compile("^1 of"))
    assert prompts_shown(page)[0].startswith("Prompt 17:")
    page.locator("#search").fill("no such words")
    page.wait_for_selector("#table td.empty")
    assert page.locator("#table td.empty").inner_text() == "No prompt matches."
    assert page.trouble == []


def test_a_row_opens_and_closes_by_keyboard(open_report, make_report):
    page = open_report(make_report(3))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    button = page.locator("#table .open").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".completions")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator(".completions li").count() == 8
    assert "accuracy" in page.locator(".completions li").first.inner_text()
    page.keyboard.press("Enter")
    assert page.locator(".completions").count() == 0
    page.get_by_role("button", name="Std").focus()
    page.keyboard.press("Enter")
    assert page.locator("#table th[aria-sort]").inner_text() == "Std"


def test_an_opened_row_shows_the_right_answer(open_report, make_report):
    data = make_report(3)
    columns = pa.array([json.dumps({"reference": HOSTILE[0], "level": 3})] * 3)
    page = open_report(dataclasses.replace(data, prompts=data.prompts.set_column(3, "columns", columns)))
    page.locator("#table .open").first.click()
    page.wait_for_selector(".completions")
    assert page.locator(".detail h3").first.inner_text() == "Right answer"
    assert page.locator(".detail .asked", has_text="reference").locator(".text").inner_text() == HOSTILE[0]
    assert page.evaluate("window.hit") is None and page.trouble == []


def test_selecting_a_mark_shows_its_prompts(open_report, make_report):
    data = make_report(60)
    page = open_report(data)
    zeros = sum(row["mean"] == 0 and row["verdict"] == "vanishing" for row in data.verdicts.to_pylist())
    page.locator("[data-chart=scatter] use[data-mark]").first.click()
    expect(page.locator("#status")).to_have_text(re.compile("at the selected mark"))
    assert status(page).startswith(f"{zeros} of 60 prompts")  # the largest mark is drawn first: all its prompts are at (0, 0)


def test_selecting_a_mark_of_the_second_picture_shows_its_prompts(open_report, make_report):
    data = make_report(60)
    page = open_report(data)
    mark = page.locator("[data-chart=gain] use[data-mark]").first
    mark.hover()
    n, words = page.locator("#tip").inner_text().split(" ", 1)
    assert re.fullmatch(r"prompts: vanishing\nmean reward  0.000\nbest of 8  0.000", words)
    assert int(n) == sum(row["mean"] == 0 and row["verdict"] == "vanishing" for row in data.verdicts.to_pylist())
    page.locator("#component").select_option("format")  # the picker is of the first picture alone
    mark.click()
    expect(page.locator("#status")).to_have_text(f"{n} of 60 prompts, at the selected mark")
    assert page.trouble == []


def test_a_mark_says_what_it_is_and_the_picker_shows_another_reward(open_report, make_report):
    page = open_report(make_report(60))
    scatter = page.locator("[data-chart=scatter]")
    total = scatter.inner_html()
    scatter.locator("use[data-mark]").first.hover()
    assert re.fullmatch(r"\d+ prompts: vanishing\nmean reward  0.000\nreward std  0.000", page.locator("#tip").inner_text())
    page.mouse.move(5, 5)
    assert not page.locator("#tip").is_visible()
    assert scatter.locator("svg.plot > title").count() == 0  # a label now: as a title it would cover the marks' own
    assert scatter.locator("svg.plot").get_attribute("aria-label").startswith("Scatter plot of")
    page.locator("#component").select_option("format")
    assert scatter.inner_html() != total
    scatter.locator("use[data-mark]").last.click()
    expect(page.locator("#status")).to_have_text(re.compile("at the selected mark"))
    page.locator("#component").select_option("")
    scatter.locator("use[data-mark]").first.click()
    expect(page.locator("#status")).to_have_text(re.compile("at the selected mark"))
    assert page.trouble == []


@pytest.mark.slow  # half a minute
def test_fifty_thousand_prompts(open_report, make_report):
    page = open_report(make_report(50_000, kind="real", answers=4))
    assert page.trouble == []
    assert 400 < page.locator("[data-chart=scatter] .dense use").count() <= 6000
    assert page.locator("#table tr.row").count() == 50
    page.get_by_role("button", name="Std").click()
    page.locator("#search").fill("prompt 49999:")
    expect(page.locator("#status")).to_have_text(re.compile("^1 of"))
    page.locator("#table .open").click()
    page.wait_for_selector(".detail .empty")
    page.locator("#clear").click()
    page.locator("#next").click()
    assert page.locator("#page-number").inner_text() == "Page 2 of 1,000"


def test_on_a_phone_nothing_sticks_out(open_report, make_report):
    page = open_report(
        make_report(20, text=lambda i, k: "unbroken" * 200), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page.locator("#table .open").first.click()
    page.wait_for_selector(".completions")
    assert overflow(page) <= 0
    assert page.locator("#sort").is_visible()
    page.locator("#sort").select_option("std")
    assert page.locator("#table th[aria-sort=ascending]").inner_text().lower() == "std"


def test_dark_is_dark_and_print_is_light(open_report, make_report):
    page = open_report(make_report(20), color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(18, 20, 23)"
    mark = page.locator("[data-chart=scatter] use.v-vanishing").first
    expect(mark).to_have_css("fill", "rgb(255, 139, 77)")
    page.emulate_media(color_scheme="light")
    expect(mark).to_have_css("fill", "rgb(213, 94, 0)")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    expect(mark).to_have_css("fill", "rgb(213, 94, 0)")
    assert not page.locator("#filters").is_visible()


def test_without_javascript_the_charts_and_first_rows_are_there(open_report, make_report):
    page = open_report(make_report(60), ready=False, java_script_enabled=False)
    assert page.locator("svg.plot:visible").count() == 4
    assert page.locator("#table tbody tr").count() == 25
    assert page.locator("noscript").inner_text().startswith("JavaScript is off")
    assert page.locator("#filters").is_visible() is False

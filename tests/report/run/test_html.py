"""What the file itself must hold; what it does in a browser is tested in test_browser.py."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import pyarrow as pa
import pytest

from flatspot.core.schema import GRADIENTS, arrow_schema
from flatspot.report.blocks import ReportData
from flatspot.report.run.html import render_html, write_html
from flatspot.report.theme import DARK, LIGHT, Theme
from flatspot.runs.summary import Summary

HOSTILE = "<script>window.hit=1</script>"


def test_it_is_small_enough_to_mail(make_report):
    assert len(render_html(make_report(0)).encode()) < 60_000
    assert len(render_html(make_report(60)).encode()) < 120_000


def test_it_names_no_address_to_load_from(make_report):
    html = render_html(make_report(20))
    assert not re.findall(r"https?://|(?:src|href|url\()\s*=?\s*[\"']?//", html)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy and policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-") and "eval" not in policy[1]


def test_equal_input_gives_equal_bytes(make_report):
    assert render_html(make_report(20)) == render_html(make_report(20))


def test_the_words_that_resume_a_run_are_shown_as_a_shell_takes_them(make_report):
    data = make_report(3)
    settings = {"settings": {"resume": ["--dtype", "a b", "--seed", "3"]}}
    html = render_html(dataclasses.replace(data, summary=Summary.from_json(data.summary.to_json() | settings)))
    assert "--dtype &#39;a b&#39; --seed 3" in html


def test_every_text_of_the_summary_is_escaped(make_report):
    data = make_report(3)
    bad = {"error": HOSTILE, "count": 1}
    hostile = dict.fromkeys(("reason", "rule", "source", "verdict"), HOSTILE) | {
        "caveats": [HOSTILE, "\ud800"],
        "health": {"errors": [bad]},
        "components": {HOSTILE: {"mean": 1}, "b": {}},
        "settings": {"prompts": HOSTILE, "out": HOSTILE},
        "sampling": {"x": [HOSTILE]},
        "provenance": {"created": HOSTILE},
    }
    html = render_html(dataclasses.replace(data, summary=Summary.from_json(data.summary.to_json() | hostile)))
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;window.hit=1&lt;/script&gt;") > 8
    html.encode("utf-8")


def test_caveats_stand_under_the_headline_and_the_bar_has_a_legend(make_report):
    data = make_report(60)
    caveats = [f"caveat number {i}" for i in range(6)]
    html = render_html(dataclasses.replace(data, summary=dataclasses.replace(data.summary, caveats=tuple(caveats))))
    reason, first, last, numbers = (html.index(text) for text in (data.summary.reason, caveats[0], caveats[-1], '<dl class="key">'))
    assert reason < first < last < numbers and all(html.count(text) == 1 for text in caveats)
    assert "<summary>2 more caveats</summary>" in html and 'id="caveats"' in html
    legend = html[html.index('class="strip"') :].split("</ul>")[0]
    for name, n in data.summary.counts.items():
        assert not n or f"<b>{n}</b> {name}</li>" in legend
    assert 'id="caveats"' not in render_html(dataclasses.replace(data, summary=dataclasses.replace(data.summary, caveats=())))


@pytest.mark.parametrize("measured", [False, True])
def test_the_glossary_holds_the_terms_of_the_report_and_no_others(make_report, measured):
    data = make_report(20)
    if measured:
        row = dict.fromkeys(c.name for c in GRADIENTS) | {"prompt_id": data.verdicts["prompt_id"][0].as_py(), "n_samples": 16}
        data = dataclasses.replace(data, gradients=pa.Table.from_pylist([row], schema=arrow_schema(GRADIENTS)))
    html = render_html(data)
    body, terms = html[html.index("<body>") :].split('id="h-terms"')
    text = " ".join(re.sub(r"<[^>]*>", "", body).lower().split())
    names = re.findall(r"<dt>([^<]*)</dt>", terms)
    assert len(names) >= 6 and [name for name in names if name not in text] == []
    assert set(re.findall(r'href="#(term-[^"]*)"', body)) <= set(re.findall(r'id="(term-[^"]*)"', terms))


@pytest.mark.parametrize(("known", "highest"), [(True, 1.0), (False, 1.07)])
def test_no_best_of_a_group_is_drawn_above_the_top_of_a_known_range(make_report, known, highest):
    data = make_report(20)
    bests = data.verdicts.set_column(data.verdicts.column_names.index("best_of_k"), "best_of_k", pa.array([1.07] * 20))
    summary = dataclasses.replace(data.summary, reward=dataclasses.replace(data.summary.reward, range_known=known))
    html = render_html(dataclasses.replace(data, verdicts=bests, summary=summary))
    chart = html[html.index('data-chart="gain"') :].split("</figure>")[0]
    assert set(re.findall(r"best of 8  ([0-9.]+)", chart)) == {f"{highest:.3f}"}


def test_a_binary_reward_has_a_tinted_corner_and_a_graded_one_a_word_on_the_next_picture(make_report):
    data = make_report(20)
    graded = dataclasses.replace(data, summary=dataclasses.replace(data.summary, reward_model="continuous"))
    for page, corner in ((render_html(data), True), (render_html(graded), False)):
        section = page[page.index('id="h-scatter"') :].split("</section>")[0]
        assert ('class="corner"' in section) == ("Tinted: fewer than 5% of the completions" in section) == corner
        assert ("see the next picture" in section) == (not corner)
        assert "reach" not in section
        assert ("Tinted: the gain is under 0.025" in page) == ("no signal: gain under" in page) == (not corner)
        assert ("or fewer than 5% the other" in page) == ("no signal: tinted" in page) == corner
    normalized = dataclasses.replace(graded.summary, advantage="normalized", gain_threshold=0.0)
    page = render_html(dataclasses.replace(data, summary=normalized))
    assert "With normalized advantages any gain is enough" in page and "no signal: gain" not in page


def test_the_table_shows_gain_and_mixed_groups_before_the_gap(make_report):
    html = render_html(make_report(3))
    places = [html.index(f'key: "{name}"') for name in ("gain", "p_mixed", "reach")]
    assert places == sorted(places)


def test_the_settings_say_what_the_verdicts_are_for(make_report):
    data = make_report(3)
    settings = data.summary.to_json() | {"advantage": "normalized", "settings": {"top_reachable": True, "answer_col": "human"}}
    html = render_html(dataclasses.replace(data, summary=Summary.from_json(settings)))
    facts = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", html))
    assert (facts["advantage"], facts["group_size"], facts["top_reachable"], facts["answer_col"]) == ("normalized", "8", "True", "human")


def test_of_each_reward_function_the_page_counts_where_it_vanishes(make_report):
    data = make_report(3)
    parts = {"accuracy": {"mean": 0.0, "flat_share": 0.97, "counts": {"vanishing": 40}, "weight": 2.0}, "format": {"mean": 0.5}}
    html = render_html(dataclasses.replace(data, summary=Summary.from_json(data.summary.to_json() | {"components": parts})))
    row = html[html.index('class="wrap">accuracy') :].split("</tr>")[0]
    assert re.findall(r'data-label="([^"]*)">([^<]*)<', row) == [
        ("weight", "2.00"), ("mean", "0.000"), ("mean std", "–"), ("vanishing", "40 of 40"), ("flat share", "97%")]  # fmt: skip
    assert ">–</td>" in html[html.index('class="wrap">format') :].split("</tr>")[0]  # judged before rewards were judged alone


def test_an_option_in_a_sentence_is_not_broken_across_lines(make_report):
    data = make_report(3)
    caveats = ("--worst-case samples more; " + "--" + "x" * 200,)
    html = render_html(dataclasses.replace(data, summary=dataclasses.replace(data.summary, caveats=caveats)))
    assert f'<li><span class="option">--worst-case</span> samples more; --{"x" * 200}</li>' in html
    assert ".option{white-space:nowrap}" in html


def test_nothing_but_empty_tables_is_enough(tmp_path):
    empty = pa.table({"prompt_id": pa.array([], pa.string())})
    write_html(ReportData(Summary(), empty, empty, empty), tmp_path / "new" / "report.html")
    assert "No prompt has two scored completions" in (tmp_path / "new" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_what_they_are_on(theme: Theme):
    for surface in (theme.paper, theme.panel):
        assert min(_contrast(color, surface) for color in (theme.ink, theme.muted, theme.accent)) >= 4.5
    assert min(_contrast(color, theme.paper) for color in theme.verdicts) >= 3


def _contrast(a: str, b: str) -> float:
    """WCAG 2: (lighter + 0.05) / (darker + 0.05), in relative luminance."""
    lights = []
    for color in (a, b):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_the_report_needs_no_deep_learning_and_no_pandas():
    code = "import sys, flatspot.report.run.html; print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_what_a_caveat_has_in_backticks_is_code_and_escaped(make_report):
    caveats = ("Rows are grouped by `<b>id`: each has one `prompt`.", "one ` alone")
    data = make_report(3)
    html = render_html(dataclasses.replace(data, summary=dataclasses.replace(data.summary, caveats=caveats)))
    assert "<li>Rows are grouped by <code>&lt;b&gt;id</code>: each has one <code>prompt</code>.</li>" in html
    assert "<li>one ` alone</li>" in html

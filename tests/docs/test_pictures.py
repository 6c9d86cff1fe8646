"""The pictures of the documentation show the reports that this version makes, and the README prints what the demo prints."""

from __future__ import annotations

import importlib.util
import re
import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"


def load():
    spec = importlib.util.spec_from_file_location("flatspot_docs_pictures", ROOT / "docs/pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


pictures = load()


@pytest.fixture(scope="module")
def pages():
    return {picture.name: picture.page() for picture in pictures.PICTURES}


@pytest.mark.parametrize("scheme", pictures.SCHEMES)
@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda picture: picture.name)
def test_a_picture_shows_the_report_as_it_is(picture, scheme, pages):
    digest = pictures.digest_of(pages[picture.name], picture, scheme)
    assert pictures.stored_digest(picture.file(scheme)) == digest, "stale: run python docs/pictures.py, and look at the picture"


def test_any_word_number_mark_or_style_that_a_picture_shows_is_in_its_digest(pages):
    page, (picture, *_) = pages["report"], pictures.PICTURES
    digest = pictures.digest_of(page, picture, "light")
    title, number, mark = (
        "Warm up before RL</h1>",
        re.search(r"<dd>(\d+%)</dd>", page)[1],
        re.search(r'<use href="#g-vanishing"[^>]*>', page)[0],
    )
    color = re.search(r"--[a-z-]+:(#[0-9a-f]{6})", page)[1]
    for shown in (title, number, mark, color):
        assert shown in pictures.shown(page, picture)
        assert pictures.digest_of(page.replace(shown, shown[:-1] + "?"), picture, "light") != digest, shown
    assert pictures.digest_of(page, picture, "dark") != digest
    assert pictures.digest_of(page.replace(">Composition<", ">?<"), picture, "light") == digest  # further down


def test_a_digest_stays_with_its_picture_and_the_picture_whole():
    png = (IMAGES / "report.png").read_bytes()
    assert png[12:16] == b"IHDR" and struct.unpack(">II", png[16:24])[0] == pictures.WIDTH
    again = pictures.with_digest(png, "other")
    found = [data for kind, data in pictures._chunks(again) if kind == b"tEXt" and b"flatspot" in data]
    assert found == [b"flatspot-report\0other"] and again.endswith(png[-12:])
    assert pictures.with_digest(again, pictures.stored_digest(IMAGES / "report.png")) == png


def test_the_readme_prints_what_the_demos_print():
    page = (ROOT / "README.md").read_text("utf-8")
    begins = ("WARM UP BEFORE RL", f"{'reward':>29}")
    for number, (printed, begin) in enumerate(zip(pictures.PRINTED, begins, strict=True)):
        start, end = pictures.shown_output(page, number)
        assert page[start:end].startswith(begin)
        assert page[start:end] == printed(), "stale: run python docs/pictures.py"


def test_every_image_that_a_page_shows_is_there_in_both_schemes():
    shown = {}
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        for name in re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', page.read_text("utf-8")):
            shown.setdefault((page.parent / (name[0] or name[1])).resolve(), page)
    assert [f"{page.name}: {file.name}" for file, page in shown.items() if not file.exists()] == []
    for picture in pictures.PICTURES:
        assert {picture.file(scheme).resolve() for scheme in pictures.SCHEMES} <= set(shown)
    assert [file.name for file in IMAGES.glob("*.*") if file.resolve() not in shown] == []

"""The pictures of the reports in docs/images, in both schemes, from the stored runs in docs/images/runs.

    python docs/pictures.py           take those pictures anew that no longer show the report which this version makes, and write into
                                      README.md what the demos print
    python docs/pictures.py --all     take all of them
    python docs/pictures.py --runs    make the runs anew first: `flatspot demo`, with --train too, and the recipe of
                                      docs/images/runs/recipe (eight minutes)

A picture carries a digest of what it shows: the part of the page, its style, and the scheme. tests/docs/test_pictures.py compares it with
the digest of the report made now. Needs `chromium` on PATH and playwright (`pip install 'flatspot[dev]'`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from flatspot.runs.run import Run

IMAGES = Path(__file__).parent / "images"
RUNS = IMAGES / "runs"
README = Path(__file__).parents[1] / "README.md"
SCHEMES = ("light", "dark")
WIDTH = 1120
_SIGNATURE, _KEY = b"\x89PNG\r\n\x1a\n", b"flatspot-report\0"


@dataclass(frozen=True)
class Picture:
    """A picture of a report, from its head, or the section whose heading has the id `first`, to the end of that with the id `last`."""

    name: str
    page: Callable[[], str]
    last: str
    first: str | None = None

    def file(self, scheme: str) -> Path:
        """Where it is."""
        return IMAGES / f"{self.name}{'' if scheme == 'light' else '-' + scheme}.png"


def demo_run() -> Run:
    """The stored run of `flatspot demo`, judged by this version."""
    from flatspot.core.settings import Settings
    from flatspot.flow.judge import judge_rows

    run = Run(RUNS / "demo")
    judged = judge_rows(run, Settings(target_error=0.05), run.request)
    summary = replace(judged.summary, settings=replace(judged.summary.settings, out="flatspot-demo"))
    return run.judged_as(judged.verdicts, summary, judged.model)


def demo_page() -> str:
    """Its report."""
    from flatspot.report.run.html import ReportData, render_html

    run = demo_run()
    return render_html(ReportData(run.summary, run.verdicts, run.prompts, run.rollouts, run.gradients))


def recipe_page() -> str:
    """The report of the stored recipe, of the numbers as they were when it ran."""
    from flatspot.report.recipe.html import render_recipe_html
    from flatspot.runs.recipe_summary import RecipeSummary

    summary = RecipeSummary.from_json(json.loads((RUNS / "recipe/report.json").read_text("utf-8")))
    return render_recipe_html(summary, pq.read_table(RUNS / "recipe/paths.parquet"))


PICTURES = (
    Picture("report", demo_page, "h-scatter"),
    Picture("gain", demo_page, "h-gain", first="h-gain"),
    Picture("recipe", recipe_page, "h-verdicts"),
)


def shown(page: str, picture: Picture) -> str:
    """The style of a page, and the part of its body that the picture shows."""
    start = page.index("<body>") if picture.first is None else page.rindex("<section", 0, page.index(f'id="{picture.first}"'))
    end = page.index("</section>", page.index(f'id="{picture.last}"'))
    return page[page.index("<style>") : page.index("</style>")] + page[start:end]


def digest_of(page: str, picture: Picture, scheme: str) -> str:
    """Of all that a picture of the page shows."""
    return hashlib.sha256(f"{scheme} {WIDTH}\n{shown(page, picture)}".encode()).hexdigest()


def stored_digest(file: Path) -> str | None:
    """The digest that a picture carries; None where it carries none."""
    texts = (data for kind, data in _chunks(file.read_bytes()) if kind == b"tEXt")
    return next((text.removeprefix(_KEY).decode() for text in texts if text.startswith(_KEY)), None)


def with_digest(png: bytes, digest: str) -> bytes:
    """The picture with its digest, as a text chunk before the end."""
    parts = [(kind, data) for kind, data in _chunks(png) if not (kind == b"tEXt" and data.startswith(_KEY))]
    parts.insert(-1, (b"tEXt", _KEY + digest.encode()))
    return _SIGNATURE + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of each chunk."""
    at = len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def take(pictures: list[tuple[Picture, str, str]]) -> None:
    """Take these pictures: each of its page, in its scheme."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no `chromium` on PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"])
        for picture, text, scheme in pictures:
            file = Path(folder) / "page.html"
            file.write_text(text, "utf-8")
            page = browser.new_context(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme).new_page()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            box = "document.getElementById('{}').closest('section').getBoundingClientRect()"
            top = 0 if picture.first is None else page.evaluate(f"{box.format(picture.first)}.top + 2")  # below the line between sections
            clip = {"x": 0, "y": top, "width": WIDTH, "height": page.evaluate(f"{box.format(picture.last)}.bottom") - top}
            png = page.screenshot(full_page=True, clip=clip)
            picture.file(scheme).write_bytes(with_digest(png, digest_of(text, picture, scheme)))
            print(picture.file(scheme))
        browser.close()


def printed_by_demo() -> str:
    """What `flatspot demo` prints to a terminal of 80 columns."""
    from flatspot.report.run.terminal import render_terminal

    lines = render_terminal(demo_run().summary, width=80).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in [*lines, "Report   flatspot-demo/report.html"])


def printed_by_training() -> str:
    """The table and the text of `flatspot demo --train`, of the stored numbers, without the commands after them."""
    from flatspot.report.overcome_text import demo_text
    from flatspot.runs.demo_summary import DemoResults

    results = DemoResults.from_json(json.loads((RUNS / "demo-train/results.json").read_text("utf-8")))
    return demo_text(results, Path("flatspot-demo-train")).partition("\n\nNext")[0] + "\n"


PRINTED = (printed_by_demo, printed_by_training)  # as the README shows them, its first blocks of output


def shown_output(page: str, number: int) -> tuple[int, int]:
    """Where a page shows its block of output with that number."""
    start = 0
    for _ in range(number + 1):
        start = page.index("```text\n", start) + len("```text\n")
    return start, page.index("```", start)


def write_output(file: Path) -> None:
    """Show in a page what the demos print."""
    for number, printed in enumerate(PRINTED):
        page = file.read_text("utf-8")
        start, end = shown_output(page, number)
        file.write_text(page[:start] + printed() + page[end:], "utf-8")


def make_runs() -> None:
    """Run the demos and the recipe, and store what their reports are made of."""
    import flatspot
    from flatspot.flow.demo import demo
    from flatspot.recipe.overcome import overcome
    from flatspot.tasks.letters import letters_model, letters_prompts

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        demo(out="flatspot-demo", say=print)
        kept = ("run.json", "notes.json", "prompts.parquet", "rollouts", "rounds")
        shutil.rmtree(RUNS / "demo", ignore_errors=True)
        for part in kept:
            copy = shutil.copytree if Path("flatspot-demo", part).is_dir() else shutil.copy
            (RUNS / "demo").mkdir(parents=True, exist_ok=True)
            copy(Path("flatspot-demo", part), RUNS / "demo" / part)
        overcome(Path("flatspot-demo-train"), say=print)
        shutil.copy("flatspot-demo-train/results.json", RUNS / "demo-train/results.json")
        shutil.copytree(letters_model(), "model")
        rows = [{"id": p.id, "prompt": p.text, **p.columns} for p in letters_prompts("brackets", 200)]
        Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        shutil.copy(RUNS / "recipe/recipe.yaml", "recipe.yaml")
        flatspot.run("recipe.yaml", say=print)
        for part in ("report.json", "paths.parquet"):
            shutil.copy(Path("out", part), RUNS / "recipe" / part)


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also those that are up to date")
    parser.add_argument("--runs", action="store_true", help="make the runs anew first")
    asked = parser.parse_args()
    if asked.runs:
        make_runs()
    write_output(README)
    every = [(picture, page, scheme) for picture in PICTURES for page in [picture.page()] for scheme in SCHEMES]
    stale = [
        (p, text, s) for p, text, s in every if asked.all or not p.file(s).exists() or stored_digest(p.file(s)) != digest_of(text, p, s)
    ]
    take(stale) if stale else print("every picture shows the report as it is")


if __name__ == "__main__":
    main()

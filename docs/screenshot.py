"""Take the picture of a report: python docs/screenshot.py flatspot-demo/report.html docs/images/report.png [HEIGHT]

Needs `chromium` on PATH and playwright (`pip install 'flatspot[dev]'`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

WIDTH, HEIGHT = 1120, 1660


def take(report: Path, picture: Path, height: int = HEIGHT) -> None:
    """The top of a report, in the light scheme."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no `chromium` on PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": WIDTH, "height": height}, color_scheme="light").new_page()
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        page.screenshot(path=str(picture))
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))

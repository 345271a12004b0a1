"""Take the pictures of docs/tour.md, README.md and docs/console.md from a running `make demo`.

python -m monitoring.studies.tour --service http://127.0.0.1:3000 --console http://127.0.0.1:8070
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from monitoring.studies.demo_places import ROOT

FIELD: Final = ROOT / "tests" / "data" / "fields" / "28195.png"
FOLDER: Final = ROOT / "docs" / "images"
_PATIENCE_MS: Final = 30_000


def main() -> int:
    """Take every picture; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.studies.tour", description=__doc__)
    parser.add_argument("--service", default="http://127.0.0.1:3000", help="of the demo")
    parser.add_argument("--console", default="http://127.0.0.1:8070", help="of the demo")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.stderr.write("no chromium on PATH; install one (apt-get install chromium)\n")
        return 2
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 860})
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(f"{options.console}/sign-in")
        page.fill("[name=who]", "tour")
        page.click("main button")
        for name, (address, prepare) in STOPS.items():
            base = options.service if address == "/" else options.console
            page.goto(f"{base}{address}")
            prepare(page)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=options.out / f"tour-{name}.png")
            print(options.out / f"tour-{name}.png")
        browser.close()
    return 0


def _drop_field(page: Any) -> None:
    page.set_input_files("input[type=file]", str(FIELD))
    page.wait_for_selector("text=28195")


def _draw_seven(page: Any) -> None:
    box = page.locator("canvas").first.bounding_box()
    places = [(0.25, 0.25), (0.75, 0.22), (0.62, 0.5), (0.5, 0.8)]
    points = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()
    page.wait_for_selector("text=what it looked at")


def _wait_for_letter(page: Any) -> None:
    page.wait_for_selector("#desk:not([hidden]) .now")


def _open_dirtiest(page: Any) -> None:
    page.click("main a[href^='/sites/']")


def _open_newest_letter(page: Any) -> None:
    """The passport of a crop on the page of the dirtiest site."""
    _open_dirtiest(page)
    letters = page.locator("main a[href*='/letters']")
    address = letters.first.get_attribute("href") or ""
    page.goto(re.sub(r"^(https?://[^/]+).*", r"\1", page.url) + address)


def _stay(_page: Any) -> None:
    """The page is ready as it is."""


STOPS: Final[dict[str, tuple[str, Callable[[Any], None]]]] = {
    "field": ("/", _drop_field),
    "tryit": ("/", _draw_seven),
    "keying": ("/keying", _wait_for_letter),
    "sites": ("/sites", _stay),
    "site": ("/sites", _open_dirtiest),
    "letter": ("/sites", _open_newest_letter),
    "plant": ("/plant", _stay),
    "models": ("/models", _stay),
}

if __name__ == "__main__":
    raise SystemExit(main())

"""The dial and the passport in Chromium: keyboard, no JavaScript, print, axe-core."""

import re
import shutil
import threading
import time

import made_letter
import made_mail
import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from own_server import free_port
from playwright.sync_api import sync_playwright
from test_plant import MANIFEST, THRESHOLDS

from capture.label_event import LabelEvent
from capture.labels import add_events
from console.application import make_app
from console.office.office_pages import pages

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH; apt install it"),
]
A4_PAGE = re.compile(rb"/Type\s*/Page\b")
PATIENCE_MS = 120_000  # of a machine that does something else, too
CHOSEN = "[data-target]:not([hidden]) h2"


@pytest.fixture
def office(console):
    """A week of mail and one letter in the archive, and a console that serves it."""
    rng = np.random.default_rng(2)
    for day in range(7):
        frame = made_mail.draw(
            2_000, rng, threshold=THRESHOLDS[0.001], audit_frac=0.1, num_sites=3,
            garbage_threshold=MANIFEST["garbage_threshold"], version=MANIFEST["version"],
        )  # fmt: skip
        made_mail.key_by_people(
            console.archive, made_mail.store_day(console.archive, frame, day, rng)
        )
    made_letter.into_archive(console, made_letter.records(made_letter.crops()))
    read = made_letter.read_id()
    said = LabelEvent(read, 0, "7", "anna", made_letter.TIME_US + 1, "keyed")
    add_events(console.archive, [said])
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(make_app(console, pages()), port=port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + 30
    while not server.started and time.monotonic() < give_up:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def open_page(office, key_of):
    """open_page(**options of a context) -> a page of somebody who is signed in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def new(**options):
            page = browser.new_context(base_url=office, **options).new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.problems = []
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on(
                "console",
                lambda said: page.problems.append(said.text) if said.type == "error" else None,
            )
            page.goto("/sign-in?next=/letters")
            page.fill("[name=who]", "olga")
            page.fill("[name=key]", key_of["review"])
            page.click("main button")
            page.wait_for_url("**/letters")
            page.problems.clear()
            return page

        yield new
        browser.close()


def test_the_dial_moves_by_keyboard_and_shows_the_figures_at_once(open_page):
    page = open_page()
    page.goto("/plant")
    assert page.inner_text(CHOSEN) == "At most 1 in 1,000 wrong, the target in force"
    page.focus("input[name=target]:checked")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(CHOSEN) == "At most 1 in 500 wrong"
    assert page.url.endswith("?target=0.002")
    assert page.problems == []


def test_the_dial_works_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    page.goto("/plant")
    page.check("input[name=target][value='0.01']")
    page.click("#dial button")
    assert page.inner_text(CHOSEN) == "At most 1 in 100 wrong"


def test_the_plant_page_prints_on_two_sheets_without_its_controls(open_page):
    page = open_page()
    page.goto("/plant")
    assert len(A4_PAGE.findall(page.pdf(format="A4", print_background=True))) <= 2
    page.emulate_media(media="print")
    assert not page.is_visible("#dial")
    assert not page.is_visible("header.top")
    assert page.is_visible(CHOSEN)


def test_a_letter_is_found_and_shown_by_keyboard_alone(open_page):
    page = open_page()
    page.goto("/letters")
    page.wait_for_selector("input:focus")
    page.keyboard.type(made_letter.read_id())
    page.keyboard.press("Enter")
    page.wait_for_url("**/letters/read**")
    assert page.locator(".badge:text-is('same bits')").count() == 5
    sizes = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(sizes) == 10
    assert min(sizes) > 0
    assert page.problems == []


def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(open_page):
    page = open_page()
    for width in (820, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for path in ("/plant", "/letters", f"/letters/read?read_id={made_letter.read_id()}"):
            page.goto(path)
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path

"""The analyst's pages in Chromium: the dirty site in three clicks, and what axe-core says."""

import shutil
import socket
import threading
import time

import pytest
import uvicorn
from drift_mail import DAYS, DIRTY

from capture.site_states import Change, Incident, SiteStates
from console.application import make_app
from console.drift import holds, site_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 30
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium"),
]


@pytest.fixture
def address(console, mail):
    """The console over the mail, served by uvicorn."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(
        make_app(console, site_pages.pages()),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE_S
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address, key_of):
    """A page of somebody who has signed in, at the start page."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_S * 1_000)
    opened.goto(address)
    opened.get_by_label("Your name or number").fill("anna")
    opened.get_by_label("Key", exact=True).fill(key_of["all"])
    opened.get_by_role("button", name="Sign in").click()
    opened.wait_for_url("**/sites")
    yield opened
    context.close()


def test_an_analyst_finds_the_dirty_site_in_three_clicks(page, address):
    page.goto(address)
    page.get_by_role("heading", level=2).first.get_by_role("link").click()
    assert page.get_by_role("heading", level=1).inner_text().startswith(DIRTY)
    page.get_by_role("link", name=f"the day {DAYS[-1]}").click()
    rejected = page.locator("section", has=page.get_by_role("heading", name="Rejected"))
    picture = rejected.locator("img").first
    picture.scroll_into_view_if_needed()
    page.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=picture.element_handle()
    )


def test_the_calendar_leads_to_the_dirty_day_in_one_click(page):
    page.get_by_role("link", name=f"{DIRTY}, {DAYS[-1]}: act").click()
    assert page.get_by_role("heading", level=1).inner_text().startswith(f"{DIRTY}, {DAYS[-1]}")


def test_a_site_is_held_and_released_by_keyboard_alone(page):
    page.goto(f"{page.url}/{DIRTY}")
    page.get_by_label("Why").focus()
    page.keyboard.type("dust on the lens")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("by anna: dust on the lens").wait_for()
    page.get_by_role("button", name=f"Release {DIRTY}").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Hold {DIRTY}").wait_for()


@pytest.mark.parametrize("name", ["..", "a/../b", "Köln%2F1"])
def test_a_browser_opens_and_holds_a_site_of_any_name(console, page, address, name):
    SiteStates(console.settings.capture.spool / "sites").exchange(
        [Change(name, "3", 0, (), Incident("alert", 10, 10))]
    )
    page.goto(f"{address}/sites")
    page.get_by_role("link", name=name, exact=True).first.click()
    page.fill("[name=reason]", "dust")
    page.get_by_role("button", name=f"Hold {name}").click()
    page.wait_for_selector("text=on hold")
    assert holds.read_states(console)[name].status == "hold"
    assert page.text_content("h1").startswith(name)


@pytest.mark.parametrize("width", [1280, 820])
@pytest.mark.parametrize(
    "path", ["/sites", f"/sites/{DIRTY}", f"/sites/{DIRTY}/days/{DAYS[-1]}", "/reports/index.html"]
)
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_page(page, address, path, width):
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 1180})
    page.goto(f"{address}{path}")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_page_breaks_its_own_policy(page, address):
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in ("/sites", f"/sites/{DIRTY}", f"/sites/{DIRTY}/days/{DAYS[-1]}"):
        page.goto(f"{address}{path}", wait_until="networkidle")
    assert not said

"""A real Chromium before a real server of the console, for the tests of the keying page."""

import contextlib
import shutil
import threading
import time

import pytest
import uvicorn
from own_server import free_port

from console.application import make_app

PATIENCE_S = 20


@contextlib.contextmanager
def serving(console, pages):
    """The address of a console, served by a thread of this process."""
    port = free_port()
    settings = uvicorn.Config(
        make_app(console, pages), host="127.0.0.1", port=port, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the console starts")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True  # a browser may hold a connection
        thread.join(10)


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where none is installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH; install one (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def sign_in(context, address, key, who):
    """The keying page of a person who has just signed in, with a letter on the screen."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{address}/sign-in?next=/keying")
    page.fill("[name=who]", who)
    page.fill("[name=key]", key)
    page.click("main button")
    return page


def wait_until(is_so, what):
    """Poll until something holds."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")

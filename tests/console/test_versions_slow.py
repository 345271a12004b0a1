"""The page of models with the real rollback, and in a real browser."""

import json
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from action_world import ask, run, wait_for
from made_candidate import (
    FAILED,
    FIT,
    LATENCY,
    MAIL,
    MET,
    SET,
    harm,
    write_answers,
    write_candidate,
)
from own_server import free_port

from console.application import make_app
from console.versions import versions_pages
from model import artifact
from model.champion_files import sealed

pytestmark = pytest.mark.slow
CHAMPION = Path("model/champion")


def copy_champion(folder, version):
    shutil.copytree(CHAMPION, folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {"version": version})))


def test_a_rollback_from_the_page_brings_the_kept_champion_back(
    sign_in, console, tmp_path, monkeypatch
):
    champion = tmp_path / "served" / "champion"
    copy_champion(champion, "2")
    copy_champion(tmp_path / "models" / "1", "1")
    object.__setattr__(console, "settings", replace(console.settings, champion=champion))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = sign_in(versions_pages.pages(), who="carla")
    asked = ask(client, why="it reads 4 as 9")
    run(client, asked)
    text = wait_for(client, asked, "done", "failed", seconds=600)
    assert "Exit code 0" in text
    assert artifact.load(champion).version == "1"
    [line] = champion.with_name("promotions.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["who"], entry["why"]) == ("carla", "it reads 4 as 9")
    assert "carla" in client.get("/models").text


def test_made_folders_have_the_members_that_training_writes():
    from training.champion_folder import MailOrigin
    from training.evaluation.harm import HarmResult
    from training.evaluation.judge import Evaluation, SetResult
    from training.evaluation.mail import MailResult
    from training.gate_verdict import Reason
    from training.quantization import Latency
    from training.steps.files import FitRecord, HoldsFor

    def names(of):
        return {field.name for field in fields(of)}

    assert set(FIT) == names(FitRecord)
    assert set(FIT["mail"]) == names(MailOrigin)
    assert set(SET) == names(SetResult)
    assert set(MAIL) == names(MailResult)
    assert set(harm("blot", 1)) == names(HarmResult)
    assert set(LATENCY) == names(Latency)
    assert set(MET) == names(Reason)
    assert {"candidate_sha256", "champion_sha256"} <= names(HoldsFor)
    assert {"sets", "harm", "judged", "mail", "garbage", "latency", "size_bytes"} <= names(
        Evaluation
    )


@pytest.fixture
def office(console, own_champion, crops, images):
    """A champion 2, a kept version 1, and a candidate that loses three crops and wins none."""
    manifest = json.loads((own_champion / "manifest.json").read_text()) | {"version": "2"}
    (own_champion / "manifest.json").write_text(json.dumps(manifest))
    kept = json.dumps(manifest | {"version": "1"}).encode()
    console.models.put("1/manifest.json", kept, content_type="application/json")
    object.__setattr__(console, "settings", replace(console.settings, champion=own_champion))
    folder = write_candidate(console.settings.work, own_champion, FAILED, MET)
    digits = np.array([crop.label for crop in crops])
    digits[:3] = (digits[:3] + 1) % 10
    write_answers(folder, crops, images, digits, np.full(len(crops), 0.99))
    return console


@contextmanager
def served(console, pages):
    """The console's own server; yields its address."""
    port = free_port()
    config = uvicorn.Config(
        make_app(console, pages), host="127.0.0.1", port=port, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + 30
    while not server.started and time.monotonic() < give_up:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_models(browser, address, key, *, width=1280):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{address}/sign-in?next=/models")
    page.fill("[name=who]", "anna")
    page.fill("[name=key]", key)
    page.click("main button")
    page.wait_for_selector("h1:has-text('Models')")
    return page


def violations(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("width", [1280, 820, 400])
def test_the_page_of_models_has_no_axe_violation_and_no_overflow(
    browser,
    office,
    key_of,
    tools,
    width,
):
    with served(office, versions_pages.pages(tools)) as address:
        page = open_models(browser, address, key_of["all"], width=width)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        page.locator(".crop img").first.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        assert page.evaluate(broken) == 0


def test_a_rollback_by_keyboard_alone_shows_its_end_without_a_reload(
    browser,
    office,
    key_of,
    tools,
    fake,
):
    (fake / "wait").touch()
    with served(office, versions_pages.pages(tools)) as address:
        page = open_models(browser, address, key_of["all"])
        form = page.locator("form:has(input[value=rollback])")
        form.locator("select").focus()
        page.keyboard.press("Tab")
        page.keyboard.type("it reads 4 as 9")
        page.keyboard.press("Enter")
        page.wait_for_selector("#command")
        assert "--to=1" in page.inner_text("#command")
        assert violations(page) == []
        page.locator("#action button").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-state=running]")
        assert violations(page) == []
        page.evaluate("window.stayed = true")
        (fake / "wait").unlink()
        page.wait_for_selector("[data-state=done]")
        assert page.evaluate("window.stayed"), "the page was loaded again"
        assert violations(page) == []

"""The page / in Chromium, against a real server with the shipped champion."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from own_server import free_port, wait_until_ready
from written_fields import BLANK, write

ROOT = Path(__file__).parents[2]
CROPS = ROOT / "tests" / "data" / "crops"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SEVEN = [(80, 70), (200, 70), (120, 220)]
ANSWER_MS = 20_000  # only a broken test, or a very busy machine, waits this long
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """open_page(port, width=…) -> the page, in a browser that refuses every other host."""
    contexts = []

    def start(port, *, width=1280, height=800, **options):
        address = f"http://127.0.0.1:{port}/"
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.route(
            lambda url: not url.startswith((address, "data:")), lambda route: route.abort()
        )
        page = context.new_page()
        page.faults = []
        page.on("console", lambda one: page.faults.append(one.text) if one.type == "error" else 0)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.set_default_timeout(ANSWER_MS)
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """The port of a server that needs a key: `right`; `labels` has another scope."""
    entries = [
        {
            "site": name,
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "scopes": [scope],
            "expires": None,
        }
        for name, scope in (("right", "predict"), ("labels", "label"))
    ]
    number = free_port()
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    environment |= {
        "DIGITS_PORT": str(number),
        "DIGITS_DRAIN_S": "0",
        "DIGITS_AUTH": "on",
        "DIGITS_API_KEYS_JSON": json.dumps({"keys": entries}),
    }
    log = tmp_path_factory.mktemp("locked") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_until_ready(number, process, log)
        yield number
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def draw(page, points=SEVEN):
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    scale = box["width"] / 284
    places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def status(page):
    return page.locator("#status").inner_text()


def wait_for(page, text):
    page.locator("#status", has_text=text).wait_for()


def run_curl(page, folder):
    """The answer to the command that the page shows, run in a folder."""
    line = page.locator("#curl-line").inner_text()
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_a_newcomer_reads_a_drawn_7_by_drawing_alone(port, open_page):
    page = open_page(port)
    draw(page)
    wait_for(page, "confidence")
    assert page.locator("#status .read").inner_text() == "7"
    assert "accepted" in status(page)
    assert page.locator(".pictures figure").count() == 3
    assert page.locator(".candidates tr").count() == 5
    assert not page.faults


def test_a_finger_draws(port, open_page):
    page = open_page(port, width=390, height=844, has_touch=True, is_mobile=True)
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)
    points = [(box["x"] + x, box["y"] + y) for x, y in [*SEVEN[:2], (160, 145), SEVEN[2]]]
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, (x, y) in zip(kinds, points, strict=True):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for(page, "confidence")
    assert page.locator("#status .read").inner_text() == "7"


def test_the_keyboard_alone_picks_a_shipped_crop(port, open_page):
    page = open_page(port)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.file") == "7-00585.png":
            break
    page.keyboard.press("Enter")
    wait_for(page, "accepted")
    assert page.locator("#status .read").inner_text() == "7"
    line = page.locator("#curl-line").inner_text()
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["digit"] == 7


def test_several_files_are_a_postcode_in_the_order_of_their_names(port, open_page):
    page = open_page(port)
    names = ["7-00585.png", "0-00188.png", "2-01932.png"]
    page.set_input_files("#file", [CROPS / name for name in names])
    wait_for(page, "confidence")
    assert page.locator("#status .read").inner_text() == "027"
    line = page.locator("#curl-line").inner_text()
    done = subprocess.run(
        ["bash", "-c", line], cwd=CROPS, capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["code"] == "027"


def test_dropped_and_pasted_images_are_read(port, open_page):
    page = open_page(port)
    data = list((CROPS / "3-02011.png").read_bytes())
    for event, member in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([event, member, data]) => {
                const list = new DataTransfer();
                list.items.add(new File([new Uint8Array(data)], "a.png", { type: "image/png" }));
                const Kind = event === "drop" ? DragEvent : ClipboardEvent;
                document.body.dispatchEvent(
                    new Kind(event, { [member]: list, bubbles: true, cancelable: true }));
            }""",
            [event, member, data],
        )
        wait_for(page, "accepted")
        assert page.locator("#status .read").inner_text() == "3"
        page.click("#clear")


def test_the_shipped_field_shows_its_code_and_a_box_around_each_digit(port, open_page):
    page = open_page(port)
    page.click('[data-file="28195.png"]')
    wait_for(page, "accepted")
    assert page.locator("#status .read").inner_text() == "28195"
    alt = page.locator("img.field").get_attribute("alt")
    assert alt == "The field 28195.png with a box around each of 5 digits: the code 28195"
    assert orange_share(page) > 0.02
    reads = page.locator(".result .read").all_inner_texts()
    assert "".join(reads) == "28195"
    answer = run_curl(page, ROOT)
    assert (answer["code"], len(answer["digits"])) == ("28195", 5)
    assert not page.faults


def answer_surely(route):
    """The service's answer, with a confidence of the code that was rounded to 1."""
    response = route.fetch()
    body = response.json()
    body["code"]["confidence"] = 1.0
    route.fulfill(response=response, json=body)


def test_no_code_is_called_certain(port, open_page):
    page = open_page(port)
    page.route("**/v1/explain*", lambda route: answer_surely(route))
    page.click('[data-file="28195.png"]')
    wait_for(page, "accepted")
    assert "with a confidence of over 99.99%" in status(page).replace("\u00a0", " ")


def orange_share(page):
    """The share of the shown field's pixels that are as orange as the boxes."""
    return page.evaluate("""async () => {
        const image = document.querySelector("img.field");
        await image.decode();
        const canvas = Object.assign(document.createElement("canvas"),
            { width: image.naturalWidth, height: image.naturalHeight });
        const pen = canvas.getContext("2d");
        pen.drawImage(image, 0, 0);
        const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        let orange = 0;
        for (let at = 0; at < all.length; at += 4) orange += all[at] - all[at + 2] > 100;
        return orange / (canvas.width * canvas.height);
    }""")


def test_a_dropped_field_is_read_with_the_number_of_digits_that_is_asked_for(port, open_page):
    page = open_page(port)
    field = {"name": "my.png", "mimeType": "image/png", "buffer": write("4711")}
    page.fill("#digits", "4")
    page.set_input_files("#file", [field])
    wait_for(page, "confidence")
    assert page.locator("#status .read").inner_text() == "4711"
    assert page.locator("#curl-line").inner_text().endswith("/v1/field?digits=4'")
    page.fill("#digits", "99")
    page.set_input_files("#file", [field])
    wait_for(page, "give a number from 2 to 12")


def test_a_dropped_field_without_digits_says_why(port, open_page):
    page = open_page(port)
    page.set_input_files("#file", [{"name": "a.png", "mimeType": "image/png", "buffer": BLANK}])
    wait_for(page, "nothing in it stands out from the paper")
    assert page.locator("img.field").get_attribute("alt").endswith("0 digits: no code")
    assert page.locator(".result").count() == 0


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"name": "a.gif", "mimeType": "image/gif", "buffer": b"GIF89a"}, "reads PNG and JPEG"),
        (
            {"name": "a.png", "mimeType": "image/png", "buffer": b"text"},
            "send a PNG or a JPEG file",
        ),
        ({"name": "a.png", "mimeType": "image/png", "buffer": bytes(3_000_000)}, "at most 2097152"),
        ({"name": "a.png", "mimeType": "image/png", "buffer": b""}, "body is empty"),
    ],
    ids=["wrong type", "no picture", "too large", "empty"],
)
def test_a_refused_file_says_why(port, open_page, file, words):
    page = open_page(port)
    page.locator("#model", has_text="accepts").wait_for()
    page.set_input_files("#file", [file])
    wait_for(page, words)
    assert page.locator("#status .act").count() == 1


def test_a_blank_crop_says_why_it_is_not_accepted(port, open_page):
    page = open_page(port)
    page.evaluate("sendDrawing()")
    wait_for(page, "nothing in it stands out from the paper")


def test_a_busy_service_is_asked_again(port, open_page):
    page = open_page(port)
    num_refused = 0

    def refuse_twice(route):
        nonlocal num_refused
        num_refused += 1
        if num_refused > 2:
            route.continue_()
            return
        body = json.dumps({"title": "Too many requests", "detail": "another explanation is made"})
        route.fulfill(status=429, headers={"retry-after": "1"}, body=body)

    page.route("**/v1/explain", refuse_twice)
    page.click('[data-file="7-00585.png"]')
    wait_for(page, "tries again in 1 s")
    wait_for(page, "accepted")
    assert num_refused == 3


def test_a_service_that_is_gone_is_said(port, open_page):
    page = open_page(port)
    page.route("**/v1/explain", lambda route: route.abort())
    page.click('[data-file="7-00585.png"]')
    wait_for(page, "Is it still running?")


def test_with_keys_on_the_page_asks_for_one_and_then_reads(locked, open_page):
    page = open_page(locked)
    page.locator("#key-form", has_text="Send a live key").wait_for()
    page.click('[data-file="7-00585.png"]')
    wait_for(page, "A valid API key is needed")
    page.fill("#key", "labels")
    page.click("#key-form button")
    page.locator("#key-form", has_text="this path needs predict").wait_for()
    page.fill("#key", "right")
    page.click("#key-form button")
    page.locator("#model", has_text="accepts").wait_for()
    page.click('[data-file="7-00585.png"]')
    wait_for(page, "accepted")
    assert 'X-Api-Key: $KEY"' in page.locator("#curl-line").inner_text()
    assert "right" not in page.locator("#curl-line").inner_text()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1280, 800)])
def test_axe_finds_no_violation_and_nothing_is_cut_off(port, open_page, width, height, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(port, width=width, height=height, bypass_csp=True)  # axe is injected
    states = {
        "empty": lambda: None,
        "one": lambda: page.click('[data-file="7-00585.png"]'),
        "rejected": lambda: page.click('[data-file="1-04201.png"]'),
        "postcode": lambda: page.click("#postcode"),
        "field": lambda: (
            page.click('[data-file="28195.png"]'),
            page.locator("img.field").wait_for(),
        ),
        "refused": lambda: page.set_input_files(
            "#file", [{"name": "a.gif", "mimeType": "image/gif", "buffer": b"GIF89a"}]
        ),
        "key": lambda: page.evaluate("askForKey('Send a live key.')"),
    }
    words = {"one": "accepted", "rejected": "a person must", "postcode": "28195", "refused": "GIF"}
    folder = Path(os.environ.get("TRYIT_PICTURES", tmp_path))
    for name, reach in states.items():
        reach()
        if name in words:
            wait_for(page, words[name].replace("GIF", "reads PNG"))
        page.screenshot(path=folder / f"{name}-{width}.png", full_page=True)
        found = axe.run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, name

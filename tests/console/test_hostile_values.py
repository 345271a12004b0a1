"""Whatever a browser or a program puts into an address, a form or JSON, no page fails."""

import json
import re
from urllib.parse import quote

import pytest
from keyed_mail import letter, store
from starlette.testclient import TestClient

from console.application import make_app
from console.drift import site_pages
from console.keying import keying_pages
from console.keying.read_waits import ReadWaits
from console.keying.room import KeyingRoom
from console.office import office_pages
from console.versions import versions_pages

# int() refuses the first, SQLite the second, UTF-8 the third, PostgreSQL the fourth.
TEXTS = ["9" * 5000, str(2**63), "\ud800", "a\0b", "-1", "../../x", "<img src=x>", "9999-12-31"]
QUERY_NAMES = ["id", "read_id", "start", "num", "has", "days", "target"]
LABEL = {"read_id": "a", "crop_index": 0, "label": "7", "when_us": 1_700_000_000_000_000}
VALUES = [
    None, True, -1, 10**30, float("nan"), [], {}, [None], [[]], *TEXTS, *([text] for text in TEXTS),
    *([{**LABEL, name: value}] for name in LABEL for value in ("\ud800", "a\0b", [], {}, 10**30)),
]  # fmt: skip
FIELDS = {
    "/models/actions": {"kind": "adopt", "subject": "x", "why": "x"},
    "/keying/undo": {"read_id": "x"},
    "/keying/labels": {"labels": [LABEL]},
    "/keying/leases": {"read_ids": [], "kept": [], "action": "prolong"},
    "/sites/x/hold": {"reason": "x"},
    "/sign-in": {"who": "anna", "key": "k", "next": "/"},
}
CALLS = [(path, name) for path, fields in FIELDS.items() for name in fields]


@pytest.fixture
def pages(console):
    room = KeyingRoom(console)
    store(console, letter("80?31"))
    yield [
        *keying_pages.pages(room), *site_pages.pages(console), *office_pages.pages(),
        *versions_pages.pages(),
    ]  # fmt: skip
    room.close()


@pytest.fixture
def client(console, key_of, pages):
    app = make_app(console, pages, ReadWaits(console).routes())
    made = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    made.post("/sign-in", data={"who": "anna", "key": key_of["all"]})
    made.headers["x-csrf-token"] = re.search(r'name="csrf" value="(.+?)"', made.get("/log").text)[1]
    made.headers["x-api-key"] = key_of["all"]
    made.follow_redirects = False
    return made


def escaped(text):
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def check(answer, what):
    assert answer.status_code < 500, f"{what[:150]}: {answer.status_code} {answer.text[:200]}"
    if "html" in answer.headers.get("content-type", ""):
        assert "<img src=x>" not in answer.text, what


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:12]))
def test_no_address_makes_a_page_fail(client, pages, text):
    for path in ["/v1/reads/{read_id}", *(page.path for page in pages if page.method == "GET")]:
        check(client.get(re.sub(r"{.+?}", escaped(text), path)), path)
        for name in ["wait_ms"] if "reads" in path else QUERY_NAMES if "{" not in path else []:
            asked = f"{path.replace('{read_id}', 'x')}?{name}={escaped(text)}"
            check(client.get(asked), asked)
    for page in pages:
        if page.method == "POST" and "{" in page.path:
            check(client.post(re.sub(r"{.+?}", escaped(text), page.path)), page.path)


@pytest.mark.parametrize(("path", "name"), CALLS)
def test_no_value_makes_a_write_fail(client, path, name):
    fields = FIELDS[path]
    for value in VALUES:
        what = f"{path} {name}={value!r}"
        body = json.dumps({**fields, name: value})  # httpx's json= refuses NaN
        check(client.post(path, content=body, headers={"content-type": "application/json"}), what)
        if isinstance(value, str):
            form = "&".join(
                f"{key}={escaped(str(one))}" for key, one in {**fields, name: value}.items()
            )
            kind = {"content-type": "application/x-www-form-urlencoded"}
            check(client.post(path, content=form, headers=kind), what)


@pytest.mark.parametrize(
    "body", [b'{"csrf":"\\ud800"}', b"[" * 100_000, b"NaN", b"1" * 6000, b"\xff"]
)
def test_a_body_that_is_no_json_object_is_refused(client, body):
    answer = client.post(
        "/keying/labels", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert "cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"reason=a%00b", b"reason=a\0b"])
def test_a_form_with_the_character_nul_is_refused(client, body):
    answer = client.post("/sites/x/hold", content=body)
    assert answer.status_code == 400
    assert "NUL" in answer.text

"""Each write of the console, found in the table of routes, against what may not write."""

import json
import re
import time

import pytest
from starlette.testclient import TestClient

from console.application import make_app
from console.drift import site_pages
from console.keying import keying_pages
from console.keying.read_waits import ReadWaits
from console.keying.room import KeyingRoom
from console.office import office_pages
from console.versions import versions_pages
from console.visit import COOKIE
from serving.edge.key_ring import KeyRing, parse_keys

WRITES = [
    "/sign-in", "/sign-out", "/keying/labels", "/keying/undo", "/keying/leases",
    "/sites/{site}/hold", "/sites/{site}/release", "/sites/{site}/label",
    "/models/actions", "/models/actions/{number}/run",
]  # fmt: skip
GUARDED = [one for one in WRITES if not one.startswith("/sign-")]
PASSED = (400, 404, 409)  # what a write answers to an empty body: access was no reason


@pytest.fixture
def app(console, tools):
    room = KeyingRoom(console)
    yield make_app(
        console,
        [*keying_pages.pages(room), *site_pages.pages(console), *office_pages.pages(),
         *versions_pages.pages(tools)],
        ReadWaits(console).routes(),
    )  # fmt: skip
    room.close()


@pytest.fixture
def browser(app, console, key_of):
    """browser(scope) -> a browser that is signed in; `csrf` is its session's token."""

    def open_one(scope="all", who="anna"):
        made = TestClient(app, base_url="http://localhost", follow_redirects=False)
        made.post("/sign-in", data={"who": who, "key": key_of[scope]})
        person = console.signed_in.find(
            console.transaction, console.keys(), made.cookies[COOKIE], now_us=console.now_us()
        )
        made.csrf = person.csrf
        return made

    return open_one


def path_of(route):
    return route.replace("{site}", "bonn").replace("{number}", "1")


def write(browser, route, csrf=None, **headers):
    given = {} if csrf is None else {"x-csrf-token": csrf}
    return browser.post(path_of(route), headers=given | headers)


def test_the_table_here_names_every_write(app):
    found = [one.path for one in app.routes if "POST" in one.methods]
    assert sorted(found) == sorted(WRITES)


def test_a_write_with_the_sessions_token_passes(browser):
    one = browser()
    for route in GUARDED:
        assert write(one, route, one.csrf).status_code in PASSED, route


def test_no_write_goes_without_the_sessions_own_token(browser):
    one, other = browser(), browser(who="ben")
    old = browser()
    write(old, "/sign-out", old.csrf)
    for route in [*GUARDED, "/sign-out"]:
        for token in (None, "", "x", other.csrf, old.csrf, one.cookies[COOKIE], one.csrf + "x"):
            answer = write(one, route, token)
            assert answer.status_code == 403, (route, token)
            assert "of another session" in answer.text


def test_a_session_that_was_ended_writes_nothing(browser):
    one = browser()
    cookie = one.cookies[COOKIE]
    write(one, "/sign-out", one.csrf)
    one.cookies.set(COOKIE, cookie)
    for route in GUARDED:
        assert write(one, route, one.csrf).status_code == 401, route


def test_a_write_takes_no_other_method(browser):
    one = browser()
    for route in WRITES:
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            answer = one.request(method, path_of(route), headers={"x-csrf-token": one.csrf})
            is_form = route == "/sign-in" and method in ("GET", "HEAD")
            assert answer.status_code == (200 if is_form else 405), (route, method)


@pytest.mark.parametrize(
    "sent",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},  # to plain http browsers send no Sec-Fetch-Site
        {"origin": "http://localhost.evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"referer": "http://evil.example/localhost"},
    ],
    ids=str,
)
def test_no_page_of_another_site_writes(browser, key_of, sent):
    one = browser()
    data = {"who": "eve", "key": key_of["all"], "csrf": one.csrf}
    for route in WRITES:
        answer = one.post(path_of(route), data=data, headers=sent)
        assert answer.status_code == 403, route
        assert "set-cookie" not in answer.headers, route


@pytest.mark.parametrize(
    "sent",
    [
        {"sec-fetch-site": "same-origin", "origin": "https://seen.by.the.browser"},
        {"origin": "http://localhost"},
        {"origin": "https://LOCALHOST:8443"},  # a proxy that ends TLS and passes `$host` on
        {"referer": "http://localhost/sites"},
    ],
    ids=str,
)
def test_the_consoles_own_pages_write(browser, sent):
    one = browser()
    for route in GUARDED:
        assert write(one, route, one.csrf, **sent).status_code in PASSED, route


def test_without_its_cookie_a_session_is_not_ended(app):
    """A browser sends no cookie with another site's form, but would take the one of the answer."""
    stranger = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert "set-cookie" not in stranger.post("/sign-out").headers


def test_another_content_type_is_no_way_past_the_token(browser):
    one = browser()
    for route in GUARDED:
        for kind in ("text/plain", "multipart/form-data; boundary=x", "", "image/png"):
            sent = {"content-type": kind}
            answer = one.post(path_of(route), content=b'{"csrf":"x"}=', headers=sent)
            assert answer.status_code == 403, (route, kind)


@pytest.mark.parametrize("scope", ["label", "review", "admin"])
def test_a_write_needs_its_scope(browser, scope):
    one = browser(scope)
    for route in GUARDED:
        needed = "label" if route.startswith("/keying") else "admin"
        allowed = PASSED if scope == needed else (403,)
        assert write(one, route, one.csrf).status_code in allowed, route


def ring(keys: KeyRing, key: str, **changed) -> KeyRing:
    found = keys.find(key.encode())
    entry = {"site": found.site, "sha256": found.sha256.hex(), "scopes": sorted(found.scopes),
             "expires": None} | changed  # fmt: skip
    return parse_keys(json.dumps({"keys": [entry]}), time.time())


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"scopes": ["predict"]}, 403), ({"scopes": ["review"]}, 403), ({"sha256": "0" * 64}, 401)],
    ids=str,
)
def test_a_key_that_was_changed_meanwhile_writes_nothing(browser, console, key_of, changed, status):
    one = browser()
    assert write(one, GUARDED[0], one.csrf).status_code in PASSED  # the session is remembered
    keys = ring(console.keys(), key_of["all"], **changed)
    object.__setattr__(console, "keys", lambda: keys)
    for route in GUARDED:
        assert write(one, route, one.csrf).status_code == status, route


def test_no_session_is_taken_from_the_browser_at_sign_in(app, key_of):
    planted = TestClient(app, base_url="http://localhost", follow_redirects=False)
    planted.cookies.set(COOKIE, "planted")
    planted.post("/sign-in", data={"who": "anna", "key": key_of["all"]})
    [made] = {one.value for one in planted.cookies.jar if one.value != "planted"}
    stranger = TestClient(app, base_url="http://localhost", follow_redirects=False)
    stranger.cookies.set(COOKIE, "planted")
    assert stranger.get("/log").status_code == 303
    assert len(made) >= 43  # 32 random bytes


def test_signing_in_again_ends_the_session_before(app, browser, key_of):
    one = browser()
    before = one.cookies[COOKIE]
    one.post("/sign-in", data={"who": "anna", "key": key_of["all"]})
    assert one.cookies[COOKIE] != before
    stolen = TestClient(app, base_url="http://localhost", follow_redirects=False)
    stolen.cookies.set(COOKIE, before)
    assert stolen.get("/log").status_code == 303


@pytest.mark.parametrize(("scheme", "is_secure"), [("http", False), ("https", True)])
def test_over_https_the_cookie_is_sent_over_https_only(app, key_of, scheme, is_secure):
    one = TestClient(app, base_url=f"{scheme}://localhost", follow_redirects=False)
    answer = one.post("/sign-in", data={"who": "anna", "key": key_of["all"]})
    parts = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    assert ("Secure" in parts) == is_secure
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(parts)
    assert not re.search("domain", answer.headers["set-cookie"], re.IGNORECASE)

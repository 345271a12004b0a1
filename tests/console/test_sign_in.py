"""Who gets in, with which key, and what a write needs."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from capture.store import StoreError
from console import sessions, visit
from console.application import make_app
from console.visit import Console, Page
from serving.edge.key_ring import new_key, parse_keys

PAGES = [
    Page("/see", lambda _visit: PlainTextResponse("seen"), "review"),
    Page("/do", lambda visit: PlainTextResponse(visit.field("what")), "admin", "POST"),
]


@pytest.fixture
def stranger(console):
    return TestClient(make_app(console, PAGES), base_url="http://localhost")


def test_a_stranger_is_sent_to_the_sign_in_page(stranger):
    answer = stranger.get("/see?day=1", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/see%3Fday%3D1"


def test_a_program_without_a_session_gets_problem_json(stranger):
    answer = stranger.get("/see", headers={"accept": "application/json"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_signing_in_leads_to_the_page_that_was_asked_for(stranger, key_of):
    sent = {"who": "anna", "key": key_of["review"], "next": "/see"}
    assert stranger.post("/sign-in", data=sent).text == "seen"


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example/", "https://evil.example/", "/\\evil.example"]
)
def test_signing_in_leads_to_no_other_site(stranger, key_of, elsewhere):
    sent = {"who": "anna", "key": key_of["review"], "next": elsewhere}
    answer = stranger.post("/sign-in", data=sent, follow_redirects=False)
    assert answer.headers["location"] == "/sites"


@pytest.mark.parametrize(
    ("who", "key", "reason"),
    [
        ("anna", "wrong", "not known"),
        ("", None, "0"),
        ("x" * 41, None, "41"),
        ("a\x07", None, "Give a"),
    ],
)
def test_an_unfit_key_or_name_is_refused_with_the_reason(stranger, key_of, who, key, reason):
    answer = stranger.post("/sign-in", data={"who": who, "key": key or key_of["label"]})
    assert answer.status_code == 403
    assert reason in answer.text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(stranger, key_of):
    answer = stranger.post(
        "/sign-in", data={"who": "anna", "key": key_of["label"]}, follow_redirects=False
    )
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_a_key_without_the_scope_may_not_see_a_page(sign_in):
    assert sign_in(PAGES, "label").get("/see").status_code == 403


def test_a_write_needs_the_sessions_own_token(sign_in):
    client = sign_in(PAGES)
    other = sign_in(PAGES, who="ben").csrf
    assert client.post("/do", data={"what": "it"}).status_code == 403
    assert client.post("/do", data={"what": "it", "csrf": other}).status_code == 403
    assert client.post("/do", data={"what": "it", "csrf": client.csrf}).text == "it"


def test_after_signing_out_the_cookie_opens_nothing(sign_in):
    client = sign_in(PAGES)
    token = client.cookies["digitline_session"]
    client.post("/sign-out", data={"csrf": client.csrf})
    client.cookies.set("digitline_session", token)
    assert client.get("/see", headers={"accept": "application/json"}).status_code == 401


def test_a_session_ends_with_its_key(sign_in, console):
    client = sign_in(PAGES)
    object.__setattr__(console, "keys", lambda: None)
    assert client.get("/see", headers={"accept": "application/json"}).status_code == 401


@pytest.fixture
def later(monkeypatch):
    """later(seconds) sets the console's clock forward."""

    def move(seconds):
        now = Console.now_us
        monkeypatch.setattr(
            Console, "now_us", staticmethod(lambda: now() + int(seconds * 1_000_000))
        )

    return move


def status(client):
    return client.get("/see", headers={"accept": "application/json"}).status_code


def test_a_session_ends_after_twelve_hours(sign_in, later):
    client = sign_in(PAGES)
    later(12 * 3600 - 60)
    assert status(client) == 200
    later(61)
    assert status(client) == 401


@pytest.mark.parametrize(("back_s", "expected"), [(300, 200), (86_400, 401)])
def test_a_session_outlives_a_small_step_of_the_clock_and_lasts_no_days_after_a_large_one(
    sign_in, later, back_s, expected
):
    later(back_s)
    client = sign_in(PAGES)
    later(-back_s)
    assert status(client) == expected


def test_a_session_ends_when_its_key_expires(console, stranger, later):
    expires = datetime.now(UTC) + timedelta(hours=1)
    key, entry = new_key("office", ["review"], expires.isoformat())
    ring = parse_keys(json.dumps({"keys": [entry]}), time.time())
    object.__setattr__(console, "keys", lambda: ring)
    stranger.post("/sign-in", data={"who": "anna", "key": key})
    assert status(stranger) == 200
    later(3601)
    assert status(stranger) == 401


def test_a_session_that_another_console_has_ended_ends_here_within_two_seconds(
    sign_in, console, later
):
    client = sign_in(PAGES)
    with console.transaction() as database, database.begin():
        sessions.sign_out(database, client.cookies["digitline_session"])
    later(2)
    assert status(client) == 401


@pytest.mark.parametrize("sender", ["cross-site", "same-site"])
def test_a_form_of_another_site_signs_nobody_in(stranger, key_of, sender):
    sent = {"who": "anna", "key": key_of["label"]}
    answer = stranger.post("/sign-in", data=sent, headers={"sec-fetch-site": sender})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_database_holds_no_token(sign_in, console):
    token = sign_in(PAGES).cookies["digitline_session"]
    with console.database.connect() as connection:
        rows = connection.execute(text("SELECT * FROM sessions")).all()
    assert rows
    assert token not in repr(rows)


def test_signing_in_is_in_the_log(sign_in):
    assert "sign in" in sign_in(PAGES, who="carla").get("/log").text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b"{" * 3000])
def test_a_body_that_cannot_be_read_is_refused(sign_in, body):
    client = sign_in(PAGES)
    headers = {"content-type": "application/json", "x-csrf-token": client.csrf}
    assert client.post("/do", content=body, headers=headers).status_code == 400


def test_a_body_that_is_too_large_is_refused(sign_in):
    client = sign_in(PAGES)
    sent = {"what": "x" * 1_100_000, "csrf": client.csrf}
    assert client.post("/do", data=sent).status_code == 413


def test_every_answer_keeps_scripts_and_frames_of_others_out(stranger):
    for path in ("/sign-in", "/nothing", "/static/style.css"):
        policy = stranger.get(path).headers["content-security-policy"]
        parts = [part.split() for part in policy.split(";")]
        allowed = {name: sources for name, *sources in parts}
        for name in ("default-src", "base-uri", "frame-ancestors"):
            assert allowed[name] == ["'none'"]
        for name in ("script-src", "style-src", "connect-src", "form-action"):
            assert allowed[name] == ["'self'"]
        assert "unsafe" not in policy


def test_no_page_with_handwriting_is_kept_by_a_browser_or_proxy(sign_in):
    answer = sign_in(PAGES).get("/see")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"


def test_without_keys_another_site_is_refused(console):
    object.__setattr__(console, "keys", lambda: None)
    object.__setattr__(console, "is_local_only", True)
    client = TestClient(make_app(console, PAGES), base_url="http://evil.example")
    assert client.get("/sign-in").status_code == 401


@pytest.mark.parametrize(
    "error", [StoreError("no such bucket"), OSError("disk"), OperationalError("x", None, None)]
)
def test_a_store_that_fails_is_told_without_a_traceback(sign_in, error):
    def fail(_visit):
        raise error

    answer = sign_in([Page("/fails", fail, "review")]).get("/fails")
    assert answer.status_code == 503
    assert "try again in a minute" in answer.text


async def test_a_body_that_stops_is_refused_after_the_deadline(monkeypatch):
    async def receive():
        if sent:
            return sent.pop()
        return await asyncio.Future()

    sent = [{"type": "http.request", "body": b"who=", "more_body": True}]
    monkeypatch.setattr(visit, "BODY_DEADLINE_S", 0.05)
    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(visit.Refusal, match=r"not complete after 0\.05 s") as refused:
        await visit.read_sent(request)
    assert refused.value.status == 408


def test_nobody_who_is_not_signed_in_sends_a_large_body(stranger):
    for path in ("/sign-in", "/sign-out"):
        assert stranger.post(path, content=b"who=" + b"x" * 20_000).status_code == 413


async def test_the_process_is_alive_while_every_thread_waits(console):
    transport = httpx.ASGITransport(make_app(console, PAGES))
    threads, waiting = current_default_thread_limiter(), object()
    before, threads.total_tokens = threads.total_tokens, 1
    threads.acquire_on_behalf_of_nowait(waiting)
    try:
        with anyio.fail_after(5):
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
                assert (await one.get("/livez")).status_code == 200
    finally:
        threads.release_on_behalf_of(waiting)
        threads.total_tokens = before

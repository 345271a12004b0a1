"""The report pages over HTTP: a real server process, and the application alone."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from capture.store import StoreError, open_store
from monitoring.page_server import hosts_of, make_app

ROOT = Path(__file__).resolve().parents[2]
PICTURE = f"2026-11-20/{'0a' * 16}-3.png"
SERVED = {
    "index.html": "text/html; charset=utf-8",
    "2026-11-20/index.html": "text/html; charset=utf-8",
    "2026-11-20/evidently.html": "text/html; charset=utf-8",
    "2026-11-20/labelled.html": "text/html; charset=utf-8",
    "2026-11-20/report.json": "application/json",
    "2026-11-01..2026-11-07/index.html": "text/html; charset=utf-8",
    "reference/2026-11-01..2026-11-07/index.html": "text/html; charset=utf-8",
    PICTURE: "image/png",
}
SECRET = "https://hooks.example/services/secret"
KEPT = (
    "alerts/state.json",
    "alerts/outbox/0123456789abcdef0123-0123456789ab.json",
    "reference/adopted.parquet",
    "retrain/state.json",
    "2026-11-20/notes.html",
    "2026-11-20/index.html.bak",
    ".part-0123456789abcdef",
)
TRICKS = (
    "/../secret.html",
    "/2026-11-20/../alerts/state.json",
    "/2026-11-20/%2e%2e/alerts/state.json",
    "/2026-11-20/..%2falerts%2fstate.json",
    "/2026-11-20/%2e%2e%2falerts%2fstate.json",
    "/..%5csecret.html",
    "//index.html/../../secret.html",
    "/index.html%00",
    "/index.html%0a",
    "/2026-11-20/",
    "/2026-11-20",
    "/alerts/",
    "/2026-11-20/index.html/",
    "/%D9%A2026-11-20/index.html",
)


@pytest.fixture
def reports(tmp_path) -> Path:
    folder = tmp_path / "reports"
    store = open_store(str(folder))
    for key in (*SERVED, *KEPT):
        store.put(key, f"{key} {SECRET if key in KEPT else ''}".encode(), content_type="")
    (tmp_path / "secret.html").write_text(SECRET)
    return folder


class Client:
    """Asks the application without a socket."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def request(self, method: str, path: str, headers: dict[str, str] | None = None):
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8090"
            ) as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def get(self, path: str, headers: dict[str, str] | None = None):
        return self.request("GET", path, headers)


@pytest.fixture
def client(reports) -> Client:
    return Client(
        make_app(open_store(str(reports)), hosts=hosts_of("https://reports.example:8443"))
    )


@pytest.mark.parametrize("key", SERVED)
def test_a_report_page_is_served_with_its_content_type(client, key):
    answer = client.get(f"/{key}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, SERVED[key])
    assert answer.text.startswith(key)


def test_the_root_is_the_calendar(client):
    assert client.get("/").text.startswith("index.html")


@pytest.mark.parametrize("key", KEPT)
def test_what_is_no_page_is_not_served(client, key):
    answer = client.get(f"/{key}")
    assert answer.status_code == 404
    assert SECRET not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(client, reports, method):
    assert client.request(method, "/index.html").status_code == 405
    assert (reports / "index.html").read_text().startswith("index.html")


@pytest.mark.parametrize("key", [*SERVED, "alerts/state.json"])
def test_every_answer_forbids_what_a_page_does_not_need(client, key):
    headers = client.get(f"/{key}").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_only_evidentlys_pages_run_scripts_and_those_in_a_sandbox(client):
    policies = {key: client.get(f"/{key}").headers["content-security-policy"] for key in SERVED}
    scripted = {key for key, policy in policies.items() if "script-src" in policy}
    assert scripted == {"2026-11-20/evidently.html", "2026-11-20/labelled.html"}
    assert all(policies[key].startswith("sandbox allow-scripts;") for key in scripted)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil"])
def test_another_host_name_is_refused(client, host):
    assert client.get("/index.html", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8090", "127.0.0.1", "reports.example"])
def test_this_machine_and_the_address_in_alerts_are_answered(client, host):
    assert client.get("/index.html", headers={"Host": host}).status_code == 200


def test_a_store_that_fails_is_503_without_its_reason(client, monkeypatch):
    def fail(*_: object) -> bytes:
        raise StoreError(f"cannot read {SECRET}")

    monkeypatch.setattr("capture.store.Folder.get", fail)
    answer = client.get("/index.html")
    assert answer.status_code == 503
    assert SECRET not in answer.text


def test_a_bucket_is_served_like_a_folder(s3):
    store = open_store("s3://digits/some/prefix")
    store.put("2026-11-20/index.html", b"page", content_type="text/html")
    client = Client(make_app(store, hosts=["127.0.0.1"]))
    assert client.get("/2026-11-20/index.html").text == "page"
    assert client.get("/2026-11-21/index.html").status_code == 404


@pytest.fixture
def port(reports) -> Iterator[int]:
    """A server process, stopped by SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    command = [sys.executable, "-m", "monitoring", "serve", "--port", str(number)]
    process = subprocess.Popen([*command, "--reports", str(reports)], cwd=ROOT)
    try:
        give_up_s = time.monotonic() + 60
        while _raw(number, "/index.html") is None:
            assert process.poll() is None
            assert time.monotonic() < give_up_s
            time.sleep(0.1)
        yield number
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _raw(port: int, target: str) -> tuple[int, str] | None:
    """Status and body of a GET whose target is sent as it is; None where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", target)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionError:
        return None
    finally:
        connection.close()


@pytest.mark.slow
def test_the_server_gives_pages_and_no_path_leads_out_of_them(port):
    assert _raw(port, "/2026-11-20/index.html") == (200, "2026-11-20/index.html ")
    for target in TRICKS:
        found = _raw(port, target)
        assert found is not None, target
        status, body = found
        assert status in (400, 404), target
        assert SECRET not in body, target

"""The functions that read golden crops from outside, against a server that answers like ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from infra import golden_reads
from infra.functions import golden_read


class Service(HTTPServer):
    """Answers by the crop's bytes; ``answers`` changes some of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        crop = self.rfile.read(int(self.headers["content-length"]))
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        digit = next(d for d, png in golden_read._crops().items() if png == crop)
        answer = {"digit": int(digit), "accepted": True, **self.server.answers.get(digit, {})}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    server = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ADDRESS", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("TEST_HEADER", "x-digitline-test")
    monkeypatch.setenv("CROPS", golden_reads.crops())
    monkeypatch.setattr(golden_read, "_key", lambda: "key")
    yield server
    server.shutdown()
    server.server_close()


def approve() -> str:
    return golden_read.approve({}, None)["hookStatus"]


def test_a_version_that_reads_the_crops_is_approved(service: Service) -> None:
    assert approve() == "SUCCEEDED"
    assert len(service.headers) == 10


def test_the_new_version_is_asked_and_not_the_one_that_serves(service: Service) -> None:
    approve()
    assert {headers["x-digitline-test"] for headers in service.headers} == {"yes"}


def test_a_version_that_rejects_every_crop_is_rolled_back(service: Service) -> None:
    rejected = {"accepted": False, "rejected_because": "low_confidence"}
    service.answers = {str(digit): rejected for digit in range(10)}
    assert approve() == "FAILED"


def test_a_version_that_misreads_one_crop_is_rolled_back(service: Service) -> None:
    service.answers = {"7": {"digit": 1}}
    assert approve() == "FAILED"


def test_a_site_on_hold_blocks_no_release(service: Service) -> None:
    held = {"accepted": False, "rejected_because": "site_on_hold"}
    service.answers = {str(digit): held for digit in range(10)}
    assert approve() == "SUCCEEDED"


def test_a_synthetic_read_carries_the_key_and_no_test_header(service: Service) -> None:
    golden_read.watch({}, None)
    (headers,) = service.headers
    assert headers["authorization"] == "Bearer key"
    assert "x-digitline-test" not in headers


def test_a_misread_synthetic_crop_is_an_error(service: Service) -> None:
    service.answers = {str(digit): {"digit": None} for digit in range(10)}
    with pytest.raises(ValueError, match="was read as None"):
        golden_read.watch({}, None)


def test_a_service_that_does_not_answer_is_an_error(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(OSError, match="refused"):
        golden_read.watch({}, None)

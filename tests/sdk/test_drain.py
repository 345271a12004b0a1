"""Reads made offline reach the service: in order, once, and whatever it answers meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from test_offline_spool import SDK, local

from digitline import drain as drain_module
from digitline.drain import LOOK_EVERY_S, Drain
from digitline.offline_spool import OfflineSpool
from digitline.service_link import ServiceLink


def answer(request, digit=7):
    return {
        "request_id": request.headers["x-request-id"], "read_id": "read", "digit": digit,
        "confidence": 0.9, "accepted": True, "candidates": [], "model_version": "7",
    }  # fmt: skip


def problem(status, kind="urn:digitline:problem:x", **headers):
    body = {"type": kind, "title": "t", "status": status, "detail": "why", "request_id": "r"}
    return httpx.Response(status, json=body, headers=headers)


class Service:
    """Answers as it is told; remembers what it got."""

    def __init__(self):
        self.requests = []
        self.answers = {}  # crop -> a function of the request

    def __call__(self, request):
        self.requests.append(request)
        make = self.answers.get(request.content, lambda one: httpx.Response(200, json=answer(one)))
        return make(request)

    @property
    def crops(self):
        return [request.content for request in self.requests]

    def header(self, name):
        return [request.headers[name] for request in self.requests]


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def spool(tmp_path):
    one = OfflineSpool(tmp_path / "reads.db")
    yield one
    one.close()


@pytest.fixture
def make_drain(spool, service):
    made = []

    def make(per_s=10.0, before_step=lambda: None):
        link = ServiceLink("http://service", None, transport=httpx.MockTransport(service))
        drain = Drain(spool, link, per_s=per_s, before_step=before_step)
        made.append((drain, link))
        return drain, link

    yield make
    for drain, link in made:
        drain.close()
        link.close()


def fill(spool, link, *crops):
    ids = [link.new_id() for _ in crops]
    for crop, request_id in zip(crops, ids, strict=True):
        spool.add(crop, local(request_id))
    return ids


def test_reads_are_sent_in_order_under_their_own_request_ids(make_drain, spool, service):
    drain, link = make_drain(per_s=8)
    ids = fill(spool, link, b"a", b"b", b"c")
    assert [drain.step() for _ in range(4)] == [1 / 8, 1 / 8, 1 / 8, LOOK_EVERY_S]
    assert service.crops == [b"a", b"b", b"c"]
    assert service.header("x-request-id") == service.header("idempotency-key") == ids
    assert spool.totals().answered == 3


def test_a_read_that_got_no_answer_is_sent_again_under_the_same_key(make_drain, spool, service):
    drain, link = make_drain()
    (request_id,) = fill(spool, link, b"a")

    def lost(request):
        raise httpx.ReadError("reset", request=request)

    service.answers[b"a"] = lost
    assert [drain.step() for _ in range(3)] == [1, 2, 4]
    del service.answers[b"a"]
    drain.step()
    assert service.header("idempotency-key") == [request_id] * 4
    assert spool.away().perhaps_twice == ()
    assert spool.totals().answered == 1


def test_a_key_that_the_service_would_ignore_is_replaced(make_drain, spool, service, monkeypatch):
    drain, link = make_drain()
    (request_id,) = fill(spool, link, b"a")
    monkeypatch.setattr(drain_module, "_KEY_S", 0.0)
    drain.step()
    assert service.header("x-request-id") == [request_id]
    assert service.header("idempotency-key") != [request_id]


def test_retry_after_is_honoured(make_drain, spool, service):
    drain, link = make_drain()
    fill(spool, link, b"a")
    service.answers[b"a"] = lambda request: problem(503, **{"retry-after": "17"})
    assert drain.step() == 17


def test_a_refused_crop_is_reported_and_delays_no_other(make_drain, spool, service):
    drain, link = make_drain()
    ids = fill(spool, link, b"bad", b"good")
    service.answers[b"bad"] = lambda request: problem(422)
    drain.step()
    drain.step()
    assert spool.away().refusals == {ids[0]: "422 why"}
    assert spool.totals().answered == 1


@pytest.mark.parametrize(
    "refusal",
    [
        lambda request: problem(401),
        lambda request: problem(404),
        lambda request: httpx.Response(413, text="<html>a proxy"),
        lambda request: httpx.Response(200, text="<html>a login page"),
        lambda request: problem(500),
    ],
)
def test_nothing_but_the_services_own_word_about_a_crop_removes_a_read(
    make_drain, spool, service, refusal
):
    drain, link = make_drain()
    fill(spool, link, b"a", b"b")
    service.answers[b"a"] = service.answers[b"b"] = refusal
    pauses = [drain.step() for _ in range(12)]
    assert min(pauses) >= 1
    assert spool.totals().waiting == 2
    service.answers.clear()
    drain.step()
    drain.step()
    assert spool.totals().answered == 2


def test_a_read_that_the_service_cannot_answer_lets_others_go_first(make_drain, spool, service):
    drain, link = make_drain()
    fill(spool, link, b"poison", b"a", b"b")
    service.answers[b"poison"] = lambda request: problem(500)
    for _ in range(7):
        drain.step()
    assert service.crops == [b"poison"] * 5 + [b"a", b"b"]
    assert spool.next_waiting().crop == b"poison"


def test_one_of_two_drains_sends(make_drain, spool, service):
    (first, link), (second, _) = make_drain(), make_drain()
    fill(spool, link, b"a", b"b", b"c")
    first.step()
    assert second.step() == LOOK_EVERY_S
    assert service.crops == [b"a"]
    first.close()
    second.step()
    assert service.crops == [b"a", b"b"]


def test_a_rate_that_is_none_is_refused(make_drain):
    with pytest.raises(ValueError, match="0 reads a second"):
        make_drain(per_s=0)


DRAIN = """
import sys, threading
from pathlib import Path
from digitline.drain import Drain
from digitline.offline_spool import OfflineSpool
from digitline.service_link import ServiceLink
spool = OfflineSpool(Path(sys.argv[1]))
link = ServiceLink(sys.argv[2], None)
drain = Drain(spool, link, per_s=1000, before_step=lambda: None)
while spool.totals().waiting:
    threading.Event().wait(min(drain.step(), 0.05))
"""


class Recording(ThreadingHTTPServer):
    """A service on a socket that records a read once for each Idempotency-Key."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RecordingHandler)
        self.records = {}  # key -> crop
        self.order = []  # request ids
        self.left = 0  # requests until one is recorded and not answered
        self.is_recorded = threading.Event()
        self.is_killed = threading.Event()


class RecordingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        crop = self.rfile.read(int(self.headers["content-length"]))
        self.server.records.setdefault(self.headers["idempotency-key"], crop)
        self.server.order.append(self.headers["x-request-id"])
        self.server.left -= 1
        if self.server.left == 0:
            self.server.is_recorded.set()
            self.server.is_killed.wait(30)
        body = json.dumps(answer(self)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the client was killed
            super().handle()


@pytest.fixture
def recording():
    server = Recording()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_killed_drains_lose_no_read_and_double_none(spool, recording, make_drain):
    """Each kill hits between the service's record and its answer."""
    crops = [f"crop-{number}".encode() for number in range(40)]
    ids = fill(spool, make_drain()[1], *crops)
    for wanted in (1, 9, 2, 14, 5, 0):
        recording.left = wanted
        recording.is_recorded.clear()
        recording.is_killed.clear()
        process = subprocess.Popen(
            [sys.executable, "-c", DRAIN, str(spool.path),
             f"http://127.0.0.1:{recording.server_address[1]}"],
            env={**os.environ, "PYTHONPATH": str(SDK)},
        )  # fmt: skip
        if wanted:
            assert recording.is_recorded.wait(60)
            process.kill()
        assert process.wait(60) == (-signal.SIGKILL if wanted else 0)
        recording.is_killed.set()
    assert len(recording.order) == 40 + 5
    assert sorted(recording.records.values()) == sorted(crops)
    assert list(dict.fromkeys(recording.order)) == ids
    totals = spool.totals()
    assert (totals.answered, totals.dropped_by_age, totals.dropped_by_size) == (40, 0, 0)
    assert spool.away().perhaps_twice == ()

"""The network is pulled: reads go on, are kept, and the service is asked afterwards."""

import json
import os
import signal
import sqlite3
import threading
import time

import httpx
import pytest

from digitline import AsyncDigitline, CropRefused, Digitline, NetworkFailed
from digitline.drain import _FileLock
from digitline.offline import Offline
from model.artifact import load

URL = "http://service"


def model_of(**changes):
    artifact = load()
    policy = artifact.policy()
    thresholds = {
        "error_target": artifact.manifest["default_error_target"], "confidence": policy.threshold,
        "garbage": policy.garbage_threshold, "temperature": policy.temperature,
    }  # fmt: skip
    return {
        "version": artifact.version,
        "sha256": artifact.sha256,
        "thresholds": thresholds,
        **changes,
    }


class Network:
    """A service behind a cable: for the client (async) and for the drain (sync)."""

    def __init__(self, digits):
        self.is_pulled = False
        self.digits = digits  # crop -> the digit that the service answers
        self.model = model_of()
        self.drained = []

    def answer(self, request):
        if self.is_pulled:
            raise httpx.ConnectError("no route", request=request)
        if request.url.path == "/v1/model":
            return httpx.Response(200, json=self.model)
        self.drained.append(request.headers["x-request-id"])
        body = {
            "request_id": request.headers["x-request-id"],
            "read_id": f"read-{request.headers['x-request-id']}",
            "digit": self.digits[request.content], "confidence": 0.99, "accepted": True,
            "candidates": [], "model_version": "7",
        }  # fmt: skip
        return httpx.Response(200, json=body)

    async def answer_async(self, request):
        return self.answer(request)


@pytest.fixture
def network(crops):
    return Network({crop.png: crop.label for crop in crops})


@pytest.fixture
def open_offline(packed, tmp_path, network):
    opened = []

    def open_one(**limits):
        one = Offline(
            URL, spool=tmp_path / "reads.db", drain_per_s=1000,
            transport=httpx.MockTransport(network.answer), **limits,
        )  # fmt: skip
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        one.close()


def scanner_of(offline, network):
    transport = httpx.MockTransport(network.answer_async)
    return Digitline(URL, fallback=offline.read, deadline_ms=5000, transport=transport)


def until(condition):
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def is_confirmed(offline):
    return offline._is_confirmed


def test_a_pulled_network_changes_the_source_of_a_read_and_nothing_else(
    open_offline, network, crops
):
    offline = open_offline()
    until(lambda: is_confirmed(offline))
    with scanner_of(offline, network) as scanner:
        first = scanner.read(crops[0].png)
        network.is_pulled = True
        second = scanner.read(crops[0].png)
    assert (first.source, second.source) == ("service", "local")
    assert first.digit == second.digit == crops[0].label
    assert first.accepted
    assert second.accepted
    assert second.read_id == ""


def test_afterwards_the_service_says_which_reads_it_sees_differently(open_offline, network, crops):
    offline = open_offline()
    until(lambda: is_confirmed(offline))
    network.is_pulled = True
    with scanner_of(offline, network) as scanner:
        readings = [scanner.read(crop.png) for crop in crops[:20]]
    network.digits[crops[3].png] = (crops[3].label + 1) % 10
    assert offline.while_you_were_away().totals.waiting == 20
    network.is_pulled = False
    until(lambda: offline.while_you_were_away().num_answered == 20)
    away = offline.while_you_were_away()
    assert network.drained == [one.request_id for one in readings]
    (one,) = away.disagreements
    assert one.request_id == readings[3].request_id
    assert (one.local_digit, one.service_digit) == (crops[3].label, (crops[3].label + 1) % 10)
    assert offline.read_id_of(one.request_id) == one.read_id == f"read-{one.request_id}"
    offline.dismiss(away)
    assert offline.while_you_were_away().num_answered == 0


async def test_the_async_client_reads_offline_too(open_offline, network, crops):
    offline = open_offline()
    network.is_pulled = True
    transport = httpx.MockTransport(network.answer_async)
    async with AsyncDigitline(URL, fallback=offline.read, transport=transport) as scanner:
        reading = await scanner.read(crops[5].png)
    assert (reading.source, reading.digit) == ("local", crops[5].label)
    assert offline.while_you_were_away().totals.waiting == 1


def test_a_local_read_is_not_accepted_before_the_services_rules_are_known(
    open_offline, network, crops
):
    network.is_pulled = True
    offline = open_offline()
    with scanner_of(offline, network) as scanner:
        reading = scanner.read(crops[0].png)
    assert (reading.digit, reading.accepted) == (crops[0].label, False)
    assert reading.rejected_because == "rules_unconfirmed"


def test_the_rules_are_remembered_over_a_restart_without_network(open_offline, network, crops):
    offline = open_offline()
    until(lambda: is_confirmed(offline))
    offline.close()
    network.is_pulled = True
    with scanner_of(open_offline(), network) as scanner:
        assert scanner.read(crops[0].png).accepted


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "another model"},
        {"thresholds": model_of()["thresholds"] | {"confidence": 0.5}},
        {"thresholds": model_of()["thresholds"] | {"error_target": 1e-9}},
        {"thresholds": {}},
    ],
)
def test_other_rules_of_the_service_end_acceptance(open_offline, network, crops, changes):
    network.model = model_of(**changes)
    offline = open_offline()
    until(lambda: offline._spool.noted("model") is not None)
    network.is_pulled = True
    with scanner_of(offline, network) as scanner:
        reading = scanner.read(crops[0].png)
    assert (reading.accepted, reading.rejected_because) == (False, "rules_unconfirmed")


def test_the_local_threshold_follows_the_services_error_target(open_offline, network):
    artifact = load()
    strictest = min(row["error_target"] for row in artifact.manifest["thresholds"])
    policy = artifact.policy(strictest)
    network.model["thresholds"] |= {"error_target": strictest, "confidence": policy.threshold}
    offline = open_offline()
    until(lambda: is_confirmed(offline))
    assert offline._reader.rules.threshold == policy.threshold


def test_a_bad_crop_is_refused_offline_as_online_and_not_kept(open_offline, network):
    offline = open_offline()
    network.is_pulled = True
    with scanner_of(offline, network) as scanner, pytest.raises(CropRefused, match="PNG or"):
        scanner.read(b"no picture")
    assert offline.while_you_were_away().totals.spooled == 0


def test_a_read_is_answered_although_the_disk_is_full(open_offline, network, crops, monkeypatch):
    offline = open_offline()
    network.is_pulled = True

    def full(*arguments, **named):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(offline._spool, "add", full)
    with scanner_of(offline, network) as scanner:
        assert scanner.read(crops[0].png).digit == crops[0].label
    assert offline.num_not_kept == 1


def test_reads_of_one_bundle_are_kept_one_by_one(open_offline, network, crops):
    offline = open_offline()
    network.is_pulled = True
    error = NetworkFailed("no route", request_id=offline._link.new_id(), num_sent=1)
    readings = [offline.read(crop.png, error) for crop in crops[:3]]
    assert len({one.request_id for one in readings}) == 3
    assert offline.while_you_were_away().totals.spooled == 3


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it has threads, from 3.12
def test_a_forked_child_reads_and_keeps_with_files_of_its_own(open_offline, network, crops):
    offline = open_offline()
    network.is_pulled = True
    ended = threading.Event()
    busy = threading.Thread(target=keep_busy, args=(offline._spool, ended))
    busy.start()
    try:
        for crop in crops[:10]:  # a child must not find SQLite as the parent's threads left it
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(20)
                    reading = offline.read(crop.png, NetworkFailed("no route"))
                    os.write(writer, json.dumps([reading.digit, reading.request_id]).encode())
                finally:
                    os._exit(0)
            os.close(writer)
            with os.fdopen(reader) as pipe:
                digit, request_id = json.loads(pipe.read())
            os.waitpid(child, 0)
            assert digit == crop.label
            assert offline._spool.next_waiting().request_id == request_id
            offline._spool.note_refusal(request_id, "seen")
    finally:
        ended.set()
        busy.join()


def keep_busy(spool, ended):
    lock = _FileLock(spool.path.with_name("another.drain"))
    while not ended.is_set():
        spool.checkpoint()
        lock.acquire()
        lock.release()

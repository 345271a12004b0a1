"""The client against the real service, with faults in between: each read ends, none counts twice.

Time is judged by `python -m loadtest sdk`; here the deadline is long.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from own_server import free_port, wait_until_ready

from capture.segments import read_segment
from digitline import (
    CropRefused,
    Digitline,
    DigitlineError,
    Reading,
    RequestRefused,
    Unanswered,
)
from digitline.drain import Drain
from digitline.offline_spool import OfflineSpool
from digitline.request_ids import ServiceClock, new_request_id
from digitline.service_link import ServiceLink
from loadtest.faults.fault_kinds import Fault
from loadtest.faults.fault_proxy import FaultProxy
from loadtest.faults.own_certificate import write_certificate

ROOT = Path(__file__).parents[2]
PATIENT_MS = 5_000
FIELD = ROOT / "tests" / "data" / "fields" / "28195.png"
NUM_LETTERS = 100


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """(port, spool) of a real service that records what it reads."""
    folder = tmp_path_factory.mktemp("service")
    port, spool = free_port(), folder / "spool"
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment |= {"DIGITS_PORT": str(port), "DIGITS_CAPTURE_DIR": str(spool),
                    "DIGITS_DRAIN_S": "0"}  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_until_ready(port, process, log)
        yield port, spool
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


@contextmanager
def proxy_to(port, fault, tls=None):
    """(the proxy, its port), with an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = FaultProxy(port, fault, tls=tls)
    try:
        yield proxy, asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def records_of(spool, request_ids):
    """The records with these request ids, in whatever segment they are."""
    segments = [path for path in spool.iterdir() if path.is_file()]
    return [one for path in segments for one in read_segment(path)
            if one.request_id in request_ids]  # fmt: skip


def repeated_of(port):
    """Requests that the service has counted as sent before, by kind."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("digits_repeated_requests_total{")]
    return {line.partition('"')[2].partition('"')[0]: float(line.split()[-1]) for line in found}


def read_under(fault, service, crops, tls=None, **options):
    """(outcomes, proxy, requests that the service counted as repeated)."""
    address = "http://127.0.0.1" if tls is None else "https://localhost"
    port, _ = service
    before = repeated_of(port)
    outcomes = []
    with (
        proxy_to(port, fault, tls) as (proxy, proxy_port),
        Digitline(f"{address}:{proxy_port}", deadline_ms=PATIENT_MS, **options) as client,
    ):
        for number in range(NUM_LETTERS):
            try:
                outcomes.append(client.read(crops[number % len(crops)].png))
            except DigitlineError as error:
                outcomes.append(error)
    after = repeated_of(port)
    return outcomes, proxy, {kind: after[kind] - before.get(kind, 0.0) for kind in after}


def check_bounds(outcomes, proxy):
    assert all(isinstance(one, (Reading, Unanswered)) for one in outcomes)
    extra = proxy.seen["retry"] + proxy.seen["hedge"]
    assert proxy.seen["requests"] - extra <= NUM_LETTERS
    assert extra <= 0.2 * NUM_LETTERS
    readings = [one for one in outcomes if isinstance(one, Reading)]
    assert len({one.read_id for one in readings}) == len(readings)
    return readings


FAULTS = [
    Fault("reset", "", ("reset",), share=0.1),
    Fault("cut", "", ("cut",), share=0.1),
    Fault("half", "", ("half",), share=0.1),
    Fault("storm", "", ("unavailable",), share=0.03),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "is_tls"),
    [(fault, is_tls) for fault in FAULTS for is_tls in (False, True)][:-1],
    ids=lambda one: getattr(one, "name", "tls" if one else "plain"),
)
def test_each_read_ends_and_is_recorded_once(fault, is_tls, service, crops, tmp_path, monkeypatch):
    tls = None
    if is_tls:
        tls = write_certificate(tmp_path / "ca.pem", "localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    outcomes, proxy, repeated = read_under(fault, service, crops, tls)
    assert proxy.met.total() > 2
    readings = check_bounds(outcomes, proxy)
    assert len(readings) > 0.85 * NUM_LETTERS
    records = records_of(service[1], {one.request_id for one in outcomes})
    reads_of = {}
    for one in records:
        reads_of.setdefault(one.request_id, set()).add(one.read_id)
    assert all(len(reads) == 1 for reads in reads_of.values())
    assert {one.request_id: {one.read_id} for one in readings}.items() <= reads_of.items()
    if fault.name == "cut":  # the service had answered before the connection was lost
        assert len(records) > len(reads_of)
        assert repeated["retry"] == proxy.seen["retry"] > 2


@pytest.mark.slow
def test_slow_answers_are_hedged_within_the_budget_and_the_service_counts_it(service, crops):
    fault = Fault("slow", "", ("delay",), share=0.08, delay_s=0.5)
    outcomes, proxy, repeated = read_under(fault, service, crops)
    readings = check_bounds(outcomes, proxy)
    assert len(readings) == NUM_LETTERS
    assert proxy.seen["hedge"] > 1
    # The proxy forwards what was given up, too, so that the service may count later.
    assert 0 < repeated["hedge"] <= proxy.seen["hedge"]


@pytest.mark.slow
def test_what_is_read_while_nothing_comes_back_is_read_locally(service, crops, reader):
    fault = Fault("silence", "", ("swallow",))
    with (
        proxy_to(service[0], fault) as (proxy, port),
        Digitline(
            f"http://127.0.0.1:{port}", deadline_ms=200,
            fallback=lambda crop, why: reader.read(crop, why.request_id or "none"),
        ) as client,
    ):  # fmt: skip
        readings = [client.read(crop.png) for crop in crops[:30]]
    assert {one.source for one in readings} == {"local"}
    assert sum(one.digit == crop.label for one, crop in zip(readings, crops, strict=False)) >= 28
    assert proxy.seen["requests"] < 25  # the circuit opened


@pytest.mark.slow
def test_every_call_of_the_api_works(service, crops):
    port, spool = service
    with Digitline(f"http://127.0.0.1:{port}", deadline_ms=PATIENT_MS) as client:
        reading = client.read(crops[0].png, letter_deadline_ms=60_000)
        assert (reading.digit, reading.source) == (crops[0].label, "service")
        code = client.read_postcode([crop.png for crop in crops[:3]], pattern="[0-9]{3}")
        assert len(code.digits) == 3
        field = client.read_field(FIELD.read_bytes(), digits=(4, 6), pattern="[0-9]{5}")
        assert (field.code, len(field.digits)) == ("28195", 5)
        assert all(one.box.width_px > 5 for one in field.digits)
        assert client.label(field.read_id, 4, 5, who="keyer-17").crop_index == 4
        with pytest.raises(RequestRefused, match="digits"):
            client.read_field(FIELD.read_bytes(), digits=(9, 3))
        with pytest.raises(DigitlineError):
            client.read(b"")
        stored = client.label(reading.read_id, reading.crop_index, 3, who="keyer-17")
        assert (stored.read_id, stored.label) == (reading.read_id, "3")
        with pytest.raises(CropRefused, match="PNG"):
            client.read(b"GIF89a")
        with pytest.raises(RequestRefused, match="pattern"):
            client.read_postcode([crops[0].png] * 2, pattern="(")
    assert len(records_of(spool, {reading.request_id})) == 1


@pytest.mark.slow
def test_reads_of_threads_are_bundled_and_labelled_by_their_place(service, crops):
    with (
        Digitline(f"http://127.0.0.1:{service[0]}", deadline_ms=PATIENT_MS, bundle_ms=20) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        chosen = crops[:64]
        readings = list(threads.map(lambda crop: client.read(crop.png), chosen))
        pairs = zip(readings, chosen, strict=True)
        assert sum(one.digit == crop.label for one, crop in pairs) >= 62
        assert len({(one.read_id, one.crop_index) for one in readings}) == 64
        together = next(one for one in readings if one.crop_index > 0)
        stored = client.label(together.read_id, together.crop_index, 3, who="keyer-17")
        assert stored.crop_index == together.crop_index


@pytest.mark.slow
@pytest.mark.parametrize("action", ["cut", "half", "delay"])
def test_a_bundle_that_is_sent_again_is_recorded_once_and_answers_each_of_its_reads(
    action, service, crops
):
    """The service answers each bundle; one of three answers does not arrive, or late."""
    fault = Fault(action, "", (action,), share=0.3, delay_s=0.3)
    outcomes = {}
    with (
        proxy_to(service[0], fault) as (proxy, port),
        Digitline(f"http://127.0.0.1:{port}", deadline_ms=PATIENT_MS, bundle_ms=20) as client,
        ThreadPoolExecutor(16) as threads,
    ):

        def read(crop):
            try:
                outcomes[crop.name] = client.read(crop.png)
            except Unanswered as error:
                outcomes[crop.name] = error

        list(threads.map(read, crops))
    answered = {name: one for name, one in outcomes.items() if isinstance(one, Reading)}
    assert len(outcomes) == len(crops)
    assert proxy.met[action] > 1
    assert any(one.crop_index > 0 for one in answered.values())
    if action != "delay":
        assert proxy.seen["retry"] > 0
    labels = {crop.name: crop.label for crop in crops}
    assert sum(one.digit == labels[name] for name, one in answered.items()) >= 0.97 * len(answered)
    keys = [(one.read_id, one.crop_index) for one in answered.values()]
    assert len(set(keys)) == len(keys)
    records = records_of(service[1], {one.request_id for one in outcomes.values()})
    reads = {(one.read_id, one.index) for one in records}
    assert set(keys) <= reads
    assert len(reads) <= len(crops)  # a bundle that was sent twice has the same reads


@pytest.mark.slow
def test_an_offline_read_that_is_sent_again_two_minutes_after_a_kill_is_recorded_once(
    service, crops, tmp_path, packed
):
    """The first request was recorded and its answer lost; the key is as old as then."""
    spool = OfflineSpool(tmp_path / "reads.db")
    with ServiceLink(f"http://127.0.0.1:{service[0]}", None) as link:
        link.ping()
        old = ServiceClock(lambda: time.time() - 120)
        request_id = new_request_id(old, random.Random(1))
        link.read(crops[0].png, request_id, request_id)  # then the program is killed
        spool.add(crops[0].png, Reading(3, 0.9, True, None, (), "", request_id, "7", 1.0))
        spool.note_sending(request_id, request_id)
        drain = Drain(spool, link, per_s=1000, before_step=lambda: None)
        drain.step()
        drain.close()
    assert spool.totals().answered == 1
    assert spool.away().perhaps_twice == ()
    records = records_of(service[1], {request_id})
    assert len(records) == 2
    assert {one.read_id for one in records} == {spool.read_id_of(request_id)}
    spool.close()

"""The scanner's side: files, settings, names, programs. Nothing is lost, each error says why."""

import asyncio
import gc
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import httpx
import pytest
from hostile import HostileServer, good_body, message
from test_offline import Network, is_confirmed, scanner_of, until
from virtual_time import PNG, FakeService, client_of, outcome, run

import digitline.service_link as link_module
from digitline import (
    AsyncDigitline,
    ClientClosed,
    DeadlineExceeded,
    Digitline,
    NetworkFailed,
    OfflineUnavailable,
    Reading,
    Unanswered,
)
from digitline.drain import Drain
from digitline.offline import Offline
from digitline.offline_spool import OfflineSpool
from digitline.service_link import ServiceLink
from loadtest.faults.own_certificate import write_certificate

LOCAL = Reading(7, 0.9, True, None, (), "", "r", "5", 1.0, "local")


@pytest.fixture
def network(crops):
    return Network({crop.png: crop.label for crop in crops})


@pytest.fixture
def open_offline(packed, tmp_path, network, monkeypatch):
    monkeypatch.setattr("digitline.drain.LOOK_EVERY_S", 0.05)
    opened = []

    def open_one(path=tmp_path / "reads.db"):
        one = Offline("http://service", spool=path, drain_per_s=1000,
                      transport=httpx.MockTransport(network.answer))  # fmt: skip
        opened.append(one)
        return one

    yield open_one
    for one in opened:
        one.close()


@pytest.mark.parametrize("key", ["a key", "schl\u00fcssel", "", "  ", "a\nb", "a\x00b"])
@pytest.mark.parametrize("make", [Digitline, AsyncDigitline, ServiceLink])
def test_a_key_that_no_header_may_have_is_refused_and_not_shown(make, key):
    with pytest.raises(ValueError, match="the key of") as caught:
        make("http://service", key)
    assert len(key) < 2 or key not in str(caught.value)


def test_the_line_end_of_a_key_is_no_part_of_it():
    service = FakeService()

    async def main():
        async with AsyncDigitline("http://service", "key\n", transport=service) as client:
            await client.read(PNG)

    run(main())
    assert service.requests[0].headers["authorization"] == "Bearer key"


URLS = ["service", "localhost:3000", "ftp://service", "https://", "http://me:secret@service",
        "http://service/?a=b", "http://service/#x", "http://service:99999"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(ValueError, match=r"https://HOST|Port out of range") as caught:
        Digitline(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_authorities_that_cannot_be_read_is_named(tmp_path, monkeypatch, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ValueError, match="SSL_CERT_FILE") as caught:
        Digitline("https://service")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("crop", [None, "crop.png", 7, [1, 2]])
def test_what_is_no_file_fails_alone_in_a_bundle(crop):
    service = FakeService()

    async def main():
        async with client_of(service, bundle_ms=1) as client:
            return await asyncio.gather(outcome(client.read(crop)), outcome(client.read(PNG)))

    (_, error), (_, reading) = run(main())
    assert isinstance(error, TypeError)
    assert "PNG or JPEG" in str(error)
    assert reading.digit == 7


@pytest.mark.parametrize("crops", [[], [PNG], [PNG] * 13])
def test_a_code_of_too_few_or_too_many_crops_is_refused(crops):
    async def main():
        async with client_of(FakeService()) as client:
            return (await outcome(client.read_postcode(crops)))[1]

    error = run(main())
    assert isinstance(error, ValueError)
    assert "2 to 12" in str(error)


@pytest.mark.parametrize("milliseconds", [0, -5, float("nan")])
def test_a_letters_deadline_that_is_none_is_refused(milliseconds):
    async def main():
        async with client_of(FakeService()) as client:
            return (await outcome(client.read(PNG, letter_deadline_ms=milliseconds)))[1]

    assert "letter_deadline_ms" in str(run(main()))


def test_a_client_of_one_loop_says_so_in_another():
    client = client_of(FakeService())
    asyncio.run(client.read(PNG))
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(client.read(PNG))


def test_a_name_server_that_hangs_does_not_hold_the_fallback(monkeypatch):
    """Each look-up takes a thread of the loop that nothing can cancel."""
    ended = time.monotonic() + 20

    def hang(*_):
        while time.monotonic() < ended:
            time.sleep(0.02)
        raise socket.gaierror("no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main():
        nonlocal ended
        async with AsyncDigitline(
            "http://service.test", deadline_ms=400, fallback=lambda crop, why: LOCAL
        ) as client:
            answers = await asyncio.gather(*(client.read(PNG) for _ in range(80)))
        ended = 0
        return answers

    answers = asyncio.run(main())
    assert {one.source for one in answers} == {"local"}
    assert all(one.took_ms < 10_000 for one in answers)  # the look-ups last 20 s


def test_a_name_server_that_hangs_ends_a_read_at_its_deadline(monkeypatch):
    ended = time.monotonic() + 20

    def hang(*_):
        while time.monotonic() < ended:
            time.sleep(0.02)
        raise socket.gaierror("no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with Digitline("http://service.test", deadline_ms=200) as client:
        with pytest.raises(DeadlineExceeded):
            client.read(PNG)
        ended = 0


def test_a_cancelled_read_of_many_leaves_the_others_and_no_task():
    service = FakeService(usual=(0.01, None))

    async def main():
        async with client_of(service) as client:
            reads = [asyncio.create_task(client.read(PNG)) for _ in range(20)]
            await asyncio.sleep(0.005)
            for one in reads[::2]:
                one.cancel()
            ended = await asyncio.gather(*reads, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1
        return ended

    ended = run(main())
    assert [type(one) for one in ended] == [asyncio.CancelledError, Reading] * 10


@pytest.mark.slow
def test_a_child_of_a_process_with_reads_in_flight_reads():
    server = HostileServer(lambda connection, request: connection.sendall(
        message(good_body(request))))  # fmt: skip
    program = """
import os, sys, threading
from digitline import Digitline
client = Digitline(sys.argv[1], deadline_ms=20_000)
stop = threading.Event()
def read():
    while not stop.is_set():
        assert client.read(b"x").digit == 7
threads = [threading.Thread(target=read) for _ in range(4)]
for one in threads: one.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if client.read(b"x").digit == 7 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for one in threads: one.join()
print("read")
"""
    environment = {**os.environ, "PYTHONPATH": "sdk/src", "PYTHONWARNINGS": "ignore"}
    try:
        ran = subprocess.run([sys.executable, "-c", program, server.url], env=environment,
                             capture_output=True, timeout=60, check=False)  # fmt: skip
    finally:
        server.close()
    assert ran.stdout == b"read\n", ran.stderr.decode()


def test_an_answer_byte_by_byte_does_not_hold_the_drain(monkeypatch):
    monkeypatch.setattr(link_module, "TIMEOUT_S", 0.3)

    def dribble(connection, request):
        for byte in message(good_body(request)):
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    server = HostileServer(dribble)
    with ServiceLink(server.url, None) as link, pytest.raises(NetworkFailed, match=r"within 0 s"):
        link.read(PNG, link.new_id(), link.new_id())
    server.close()


def test_closing_ends_a_request_of_the_drain(tmp_path):
    server = HostileServer(lambda connection, request: time.sleep(20))
    spool, link = OfflineSpool(tmp_path / "reads.db"), ServiceLink(server.url, None)
    spool.add(PNG, LOCAL)
    drain = Drain(spool, link, per_s=1000, before_step=lambda: None)
    drain.start()
    until(lambda: server.requests)
    drain.close(wait_s=0.1)
    link.close()
    drain._thread.join(5)
    assert not drain._thread.is_alive()
    assert spool.totals().waiting == 1
    with pytest.raises(ClientClosed):
        link.model()
    spool.close()
    server.close()


@pytest.mark.parametrize("model", [{}, {"version": "7"}, {"version": 7, "sha256": 5,
                                                         "thresholds": []}], ids=str)  # fmt: skip
def test_a_foreign_answer_about_the_model_does_not_end_the_drain(
    open_offline, network, crops, monkeypatch, model
):
    monkeypatch.setattr("digitline.drain._FIRST_PAUSE_S", 0.01)
    network.is_pulled = True
    offline = open_offline()
    with scanner_of(offline, network) as scanner:
        scanner.read(crops[0].png)
    good, network.model, network.is_pulled = network.model, model, False
    time.sleep(0.2)
    network.model = good
    until(lambda: offline.while_you_were_away().num_answered == 1)


def test_an_error_without_a_known_request_id_does_not_end_the_drain(open_offline, network, crops):
    offline = open_offline()
    offline.read(crops[0].png, NetworkFailed("no route", request_id="None"))
    until(lambda: offline.while_you_were_away().num_answered == 1)


def folder_that_is_none(tmp_path):
    return tmp_path / "missing" / "reads.db"


def garbage(tmp_path):
    path = tmp_path / "reads.db"
    path.write_bytes(b"this is no database" * 1000)
    return path


def of_a_later_version(tmp_path):
    path = tmp_path / "reads.db"
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 2")
    file.close()
    return path


def a_folder(tmp_path):
    return tmp_path


def truncated(tmp_path):
    path = tmp_path / "reads.db"
    spool = OfflineSpool(path)
    for number in range(50):
        spool.add(bytes(3000), Reading(7, 0.9, True, None, (), "", f"r{number}", "5", 1.0))
    spool.checkpoint()
    spool.close()
    path.write_bytes(path.read_bytes()[:5000])
    return path


BAD_SPOOLS = [folder_that_is_none, garbage, of_a_later_version, a_folder, truncated]


@pytest.mark.parametrize("make", BAD_SPOOLS)
def test_a_spool_that_cannot_be_used_is_named_with_what_to_do(packed, tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(OfflineUnavailable, match=r"another file|move the file away") as caught:
        Offline("http://service", spool=path)
    assert str(path) in str(caught.value)


def test_a_read_only_spool_is_named(packed, tmp_path):
    path = tmp_path / "reads.db"
    OfflineSpool(path).close()
    program = f"""
import os
from pathlib import Path
from digitline.offline_spool import OfflineSpool
try:
    OfflineSpool(Path("/dev/null/x"))  # imports all
except Exception:
    os.setuid(65534)
OfflineSpool(Path({str(path)!r}))
"""
    if os.getuid() != 0:
        pytest.skip("only root can become a user who may not write")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    path.chmod(0o444)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False,
                         env={**os.environ, "PYTHONPATH": "sdk/src"})  # fmt: skip
    assert b"OfflineUnavailable: the spool" in ran.stderr


LOCKING = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_process_that_stops_with_the_file_locked_delays_no_read_and_loses_none(
    open_offline, network, crops, tmp_path, monkeypatch
):
    monkeypatch.setattr("digitline.drain._LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr("digitline.drain._FIRST_PAUSE_S", 0.05)
    offline = open_offline()
    until(lambda: is_confirmed(offline))
    network.is_pulled = True
    with subprocess.Popen([sys.executable, "-c", LOCKING, str(tmp_path / "reads.db")],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout.readline() == b"locked\n"
        with scanner_of(offline, network) as scanner:
            readings = [scanner.read(crop.png) for crop in crops[:3]]
        assert {one.source for one in readings} == {"local"}
        assert all(one.took_ms <= 5000 for one in readings)  # the deadline of `scanner_of`
        assert offline.num_not_kept == 3
        other.send_signal(signal.SIGKILL)
    until(lambda: offline.num_not_kept == 0)
    network.is_pulled = False
    until(lambda: offline.while_you_were_away().num_answered == 3)
    assert sorted(network.drained) == sorted(one.request_id for one in readings)


def test_a_second_process_follows_the_services_rules_too(open_offline, network):
    first, second = open_offline(), open_offline()
    until(lambda: is_confirmed(first) and is_confirmed(second))


def test_a_bundle_that_was_perhaps_recorded_is_named(open_offline, network, crops):
    offline = open_offline()

    async def lost(request):
        raise httpx.ReadError("reset", request=request)

    async def main():
        async with AsyncDigitline(
            "http://service",
            bundle_ms=5,
            fallback=offline.read,
            deadline_ms=2000,
            transport=httpx.MockTransport(lost),
        ) as client:
            return await asyncio.gather(*(client.read(crop.png) for crop in crops[:3]))

    readings = asyncio.run(main())
    until(lambda: offline.while_you_were_away().num_answered == 3)
    named = offline.while_you_were_away().perhaps_twice
    assert sorted(named) == sorted(one.request_id for one in readings)


class FarServer(HostileServer):
    """Behind a line on which a handshake takes longer than a deadline; an answer does not."""

    def __init__(self, context, handshake_s):
        self._context, self._handshake_s = context, handshake_s
        super().__init__(lambda connection, request: connection.sendall(
            message(b'{"status":"ok"}' if request.path == "/livez" else good_body(request))
        ))  # fmt: skip

    def _serve(self, connection):
        time.sleep(self._handshake_s)
        try:
            super()._serve(self._context.wrap_socket(connection, server_side=True))
        except OSError:
            connection.close()  # the client gave up


@pytest.mark.slow
def test_a_connection_that_takes_longer_than_the_deadline_is_made_all_the_same(
    tmp_path, monkeypatch
):
    context = write_certificate(tmp_path / "ca.pem", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server = FarServer(context, handshake_s=0.6)
    outcomes = []
    with Digitline(f"https://localhost:{server.port}", deadline_ms=300) as client:
        for _ in range(20):
            try:
                outcomes.append(client.read(PNG))
            except Unanswered as error:
                outcomes.append(error)
                time.sleep(0.1)
    server.close()
    gc.collect()
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert all(isinstance(one, Reading) for one in outcomes[-10:])
    num_livez = sum(one.path == "/livez" for one in server.requests)
    assert 1 <= num_livez <= 8

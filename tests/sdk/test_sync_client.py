"""The client for programs without an event loop: threads, forks, interrupts, the end."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from virtual_time import PNG, FakeService, answered

from digitline import (
    ClientClosed,
    DeadlineExceeded,
    Digitline,
    DigitlineError,
    NetworkFailed,
    Reading,
)
from digitline.loop_thread import LoopThread

SDK = Path(__file__).parents[2] / "sdk" / "src"
PATIENT_MS = 20_000


def sync_client(service, **options):
    return Digitline("http://service", "key", transport=service, **options)


def test_many_threads_share_one_client():
    service = FakeService()
    with sync_client(service, deadline_ms=PATIENT_MS) as client, ThreadPoolExecutor(8) as threads:
        readings = list(threads.map(client.read, [PNG] * 100))
    assert len({reading.request_id for reading in readings}) == 100
    assert service.kinds().count(None) == 100


def test_reads_of_many_threads_are_bundled():
    service = FakeService(usual=(0, httpx.Response(503)))
    with (
        sync_client(service, bundle_ms=500, deadline_ms=PATIENT_MS) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        begin = threading.Barrier(8)

        def read(_):
            begin.wait()
            with pytest.raises(DigitlineError):
                client.read(PNG)

        list(threads.map(read, range(8)))
    assert {request.url.path for request in service.requests} == {"/v1/digits"}


def test_a_read_without_an_answer_is_an_error():
    with (
        sync_client(FakeService(usual=(60, None)), deadline_ms=50) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.read(PNG)


def test_an_event_loop_that_is_stuck_does_not_hold_the_caller():
    class Stuck(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            released.wait(30)  # blocks the loop on purpose
            return answered(request)

    released = threading.Event()
    with sync_client(Stuck(), deadline_ms=50) as client:
        try:
            with pytest.raises(DeadlineExceeded, match="processor time"):
                client.read(PNG)
        finally:
            released.set()


def test_the_fallback_runs_in_the_calling_thread():
    threads = []

    def fallback(crop, why):
        threads.append(threading.current_thread())
        return local

    local = Reading(7, 0.9, True, None, (), "", "id", "7", -1.0, "local")
    service = FakeService(usual=(0, httpx.ConnectError("refused")))
    with sync_client(service, fallback=fallback, deadline_ms=PATIENT_MS) as client:
        reading = client.read(PNG)
    assert reading.took_ms > 0  # from the call, not from the fallback's begin
    assert replace(reading, took_ms=-1.0) == local
    assert threads == [threading.main_thread()]


def test_closing_ends_the_reads_of_other_threads():
    service = FakeService(usual=(60, None))
    client = sync_client(service, deadline_ms=PATIENT_MS)
    with ThreadPoolExecutor(2) as threads:
        reads = [threads.submit(client.read, PNG) for _ in range(2)]
        while len(service.requests) < 2:
            time.sleep(0.001)
        client.close()
        for read in reads:
            with pytest.raises(ClientClosed):
                read.result(10)
    with pytest.raises(ClientClosed):
        client.read(PNG)
    client.close()


def test_closing_ends_the_thread():
    client = sync_client(FakeService())
    thread = client._loop._thread
    assert thread.is_alive()
    client.close()
    assert not thread.is_alive()


def test_an_interrupt_of_the_waiting_thread_cancels_the_read():
    async def main():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    ended = threading.Event()
    loop = LoopThread()
    with pytest.raises(TimeoutError):
        loop.run(main(), time.monotonic())
    assert ended.wait(10)
    loop.stop(asyncio.sleep(0))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = answered(self).content
        self.server.peers.append(self.client_address)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def http_service():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.peers = []
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


FORKING = """
import os, sys
from digitline import Digitline
with Digitline(sys.argv[1], deadline_ms=20_000) as client:
    assert client.read(b"x").digit == 7
    child = os.fork()
    if child == 0:
        try:
            assert client.read(b"x").digit == 7
            client.close()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.read(b"x").digit == 7
print("read three")
"""


def test_a_child_reads_over_connections_of_its_own(http_service):
    url = f"http://127.0.0.1:{http_service.server_port}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, url],
        env={**os.environ, "PYTHONPATH": str(SDK)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("read three\n", 0), done.stderr
    parent, child, parent_again = http_service.peers
    assert parent == parent_again != child


def test_a_program_that_forgets_to_close_still_ends(http_service):
    url = f"http://127.0.0.1:{http_service.server_port}"
    program = "import sys; from digitline import Digitline; Digitline(sys.argv[1]).read(b'x')"
    done = subprocess.run(
        [sys.executable, "-c", program.replace("1])", "1], deadline_ms=20000)"), url],
        env={**os.environ, "PYTHONPATH": str(SDK)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_connection_is_kept(http_service):
    url = f"http://127.0.0.1:{http_service.server_port}"
    with Digitline(url, deadline_ms=PATIENT_MS) as client:
        assert all(isinstance(client.read(PNG), Reading) for _ in range(5))
    assert len(set(http_service.peers)) == 1


def test_a_service_that_is_not_there_is_a_network_failure():
    with (
        Digitline("http://127.0.0.1:9", deadline_ms=PATIENT_MS) as client,
        pytest.raises(NetworkFailed, match=r"127\.0\.0\.1:9"),
    ):
        client.read(PNG)


def test_a_call_that_begins_while_the_client_closes_leaves_no_task(caplog):
    loop, begun = LoopThread(), []

    async def last():
        begun.append(asyncio.create_task(asyncio.sleep(99)))  # as of another thread
        await asyncio.sleep(0)

    loop.stop(last())
    assert begun.pop().cancelled()
    gc.collect()
    assert not caplog.records
    with pytest.raises(ClientClosed):
        loop.run(asyncio.sleep(0), time.monotonic() + 1)


CLOSED_LAST = """
from digitline import Digitline

class Scanner:
    def __init__(self):
        self.client = Digitline("http://127.0.0.1:9")

    def __del__(self):
        self.client.close()

scanner = Scanner()
"""


def test_a_client_that_is_closed_when_the_interpreter_ends_writes_nothing():
    command = [sys.executable, "-c", CLOSED_LAST]
    said = subprocess.run(
        command, env={"PYTHONPATH": str(SDK)}, capture_output=True, text=True, timeout=60
    )
    assert said.stderr == ""


def test_a_client_that_is_forgotten_leaves_no_thread_and_no_loop():
    service = FakeService()
    client = sync_client(service, deadline_ms=PATIENT_MS)
    client.read(PNG)
    inner = client._loop
    del client
    gc.collect()
    inner._thread.join(PATIENT_MS / 1e3)
    assert not inner._thread.is_alive()
    assert inner._loop.is_closed()

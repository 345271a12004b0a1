"""Clients that are slow, silent or disconnect do not affect other clients."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable

from tests.acceptance.harness import Load, Report, Service, one_crop, only_ours, pinned
from tests.acceptance.stopping import nginx

RPS, DURATION_S = 100, 22.0
P99_MS = 100.0
KEPT_BY_NGINX = 70  # its pool of 64 idle connections, and a margin
NUM_READERS, NUM_UNREAD = 20, 1000
NUM_SLOW_HEADERS, NUM_SLOW_BODIES, NUM_IDLE, NUM_RESETS = 1000, 1000, 5000, 500


def slow_clients(report: Report, kind: str) -> None:
    """All of them at once, directly against the service."""
    with Service(kind, core=0) as service, pinned(1):
        _measure(report, service, service.port)


def slow_clients_nginx(report: Report, kind: str) -> None:
    """The same behind nginx, configured as in docs/operations.md."""
    only_ours(kind)
    with Service(core=0) as service, nginx([service.port]) as port, pinned(1):
        _measure(report, service, port)


def _measure(report: Report, service: Service, port: int) -> None:
    load = Load(service)
    files, rss_mb = service.num_files(), service.rss_mb()
    calm = asyncio.run(load.run(port, RPS, 4))
    report.fact("p99_ms_before", calm.percentile_ms(99))

    async def run() -> None:
        held: list[socket.socket] = []
        attack = asyncio.create_task(_attack(service, port, held))
        sample = await load.run(port, RPS, DURATION_S)
        await attack
        report.fact("open_files_at_the_end", service.num_files())
        for one in held:
            one.close()
        report.fact("requests_beside", len(sample.status))
        report.fact("failed_beside", sample.num_failed)
        report.fact("wrong_beside", sample.num_wrong)
        report.fact("p99_ms_beside", sample.percentile_ms(99))
        report.expect("0 failed beside", sample.num_failed == 0)
        report.expect("0 wrong beside", sample.num_wrong == 0)
        report.expect("p99 beside below 100 ms", sample.percentile_ms(99) < P99_MS)

    asyncio.run(run())
    begun = time.perf_counter()
    while service.num_files() > files + KEPT_BY_NGINX and time.perf_counter() - begun < 20:
        time.sleep(0.2)
    report.fact("files_return_after_s", time.perf_counter() - begun)
    report.fact("files_before_and_after", [files, service.num_files()])
    report.expect("file descriptors return", service.num_files() <= files + KEPT_BY_NGINX)
    first_mb = service.rss_mb()
    asyncio.run(_attack_alone(service, port))
    report.fact(
        "rss_mb_before_after_and_after_a_second_attack", [rss_mb, first_mb, service.rss_mb()]
    )
    report.expect("memory is given back or used again", service.rss_mb() - first_mb < 10)


def slow_readers(report: Report, kind: str) -> None:
    """Twenty clients each request a large answer a thousand times and never read."""
    only_ours(kind)
    wire = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * NUM_UNREAD
    with Service() as service:
        service.read(one_crop())
        files = service.num_files()
        clients = [_connect_with_small_buffer(service.port) for _ in range(NUM_READERS)]
        left = [memoryview(wire) for _ in clients]
        begun, most = time.perf_counter(), 0
        while time.perf_counter() - begun < 60:
            for index, one in enumerate(clients):
                with contextlib.suppress(OSError):
                    left[index] = left[index][one.send(left[index]) :]
            most = max(most, service.num_files() - files)
            if time.perf_counter() - begun > 5 and service.num_files() <= files:
                break
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        report.fact("connections_held", most)
        report.fact("all_closed_after_s", seconds)
        report.fact("answer_then", service.read(one_crop())[0])
        report.expect("held connections are closed", seconds < 60 and most >= len(clients))
        report.expect("others are answered", service.read(one_crop())[0] == 200)


def _connect_with_small_buffer(port: int) -> socket.socket:
    """A connection with a minimal receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def _attack_alone(service: Service, port: int) -> None:
    held: list[socket.socket] = []
    await _attack(service, port, held)
    for one in held:
        one.close()
    await asyncio.sleep(1)


async def _attack(service: Service, port: int, held: list[socket.socket]) -> None:
    """Open all connections in four seconds, then send one byte a second on the slow ones."""
    body = service.crop_request(one_crop()).wire("127.0.0.1")
    head_end = body.index(b"\r\n\r\n") + 4
    headers = await _open(port, NUM_SLOW_HEADERS, held)
    bodies = await _open(port, NUM_SLOW_BODIES, held)
    await _open(port, NUM_IDLE, held)
    for one in headers:
        _send(one, b"POST ")
    for one in bodies:
        _send(one, body[:head_end])
    for one in await _open(port, NUM_RESETS, []):
        _send(one, body[:-10])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    # One byte at a time; the service has closed all of them by the end.
    for second in range(12):
        for one in headers:
            _send(one, body[5 + second : 6 + second])
        await asyncio.sleep(0.5)
        for one in bodies:
            _send(one, body[head_end + second : head_end + second + 1])
        await asyncio.sleep(0.5)


async def _open(port: int, num: int, held: list[socket.socket]) -> list[socket.socket]:
    opened = []
    for number in range(num):
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(("127.0.0.1", port))
        opened.append(one)
        if number % 20 == 19:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    held += opened
    return opened


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


CHECKS: dict[str, Callable[[Report, str], None]] = {
    "slow-clients": slow_clients,
    "slow-clients-nginx": slow_clients_nginx,
    "slow-readers": slow_readers,
}

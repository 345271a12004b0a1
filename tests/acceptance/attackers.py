"""Senders that harm: each runs in its own process at low priority and counts what it was answered.

The bodies are built before, so that an attacker uses hardly any of the two cores that the service
and the measured neighbour run on.
"""

import contextlib
import os
import re
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

STRANGER: Final = "127.0.0.2"  # another address of this machine
_NICE: Final = 15
_TIMEOUT_S: Final = 12.0
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Counts = dict[str, int]  # status, or the name of what was caught, to how many


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attacker sends to, from which address, and for how long."""

    port: int
    seconds: float
    source: str = "127.0.0.1"

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=_TIMEOUT_S, source_address=(self.source, 0)
        )


@contextlib.contextmanager
def attacking(attack: Callable[..., Counts], *arguments: object) -> Iterator[Future[Counts]]:
    """Run an attack in another process; leaving the block waits for its end."""
    with ProcessPoolExecutor(1, get_context("spawn"), os.nice, (_NICE,)) as pool:
        pool.submit(os.getpid).result()  # the process has started and imported before we measure
        yield pool.submit(attack, *arguments)


def repeat(target: Target, wires: Sequence[bytes], connections: int, pause_s: float) -> Counts:
    """Send the wires in turn on each of some connections, each after the answer to the one before.

    A connection that the service closes is opened again. `pause_s` is the pause after an answer.
    """
    counts: Counter[str] = Counter()
    end = time.monotonic() + target.seconds

    def send(first: int) -> None:
        number, client = first, None
        while time.monotonic() < end:
            try:
                client = client or target.connect()
                client.sendall(wires[number % len(wires)])
                status, is_open = read_answer(client)
            except OSError as error:
                status, is_open = type(error).__name__, False
            number += 1
            counts[status] += 1
            if client is not None and not is_open:
                client.close()
                client = None
            time.sleep(pause_s if status.isdigit() else max(pause_s, 0.02))

    _run(send, connections)
    return dict(counts)


def hold(
    target: Target, beginning: bytes, connections: int, trickle: bytes, pause_s: float = 0.1
) -> Counts:
    """Send the beginning of a request on each connection, then a byte a second, and never finish.

    A connection that the service closes is opened again after a pause, so that it is always held.
    """
    counts: Counter[str] = Counter()
    end = time.monotonic() + target.seconds

    def send(_: int) -> None:
        while time.monotonic() < end:
            try:
                with target.connect() as client:
                    client.sendall(beginning)
                    counts["held"] += 1
                    client.settimeout(1.0)
                    while time.monotonic() < end:
                        with contextlib.suppress(TimeoutError):
                            answer = client.recv(65_536)
                            counts[answer[9:12].decode("latin-1") or "closed"] += 1
                            break
                        client.sendall(trickle)
            except OSError as error:
                counts[type(error).__name__] += 1
            time.sleep(pause_s)

    _run(send, connections)
    return dict(counts)


def never_read(target: Target, wire: bytes, connections: int, num_bytes: int) -> Counts:
    """Pipeline a request on each connection, `num_bytes` in all on each, and read no answer."""
    chooser = selectors.DefaultSelector()
    left: dict[socket.socket, memoryview] = {}
    data = wire * (num_bytes // len(wire))
    end = time.monotonic() + target.seconds
    sent = closed = 0
    for _ in range(connections):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.bind((target.source, 0))
        client.connect(("127.0.0.1", target.port))
        client.setblocking(False)
        left[client] = memoryview(data)
        chooser.register(client, selectors.EVENT_WRITE)
    while time.monotonic() < end:
        for key, _ in chooser.select(timeout=0.1):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                num = client.send(left[client][:65_536])
                left[client], sent = left[client][num:], sent + num
            except BlockingIOError:
                continue
            except OSError:
                closed += 1
                left[client] = memoryview(b"")
            if not left[client]:
                chooser.unregister(client)
        time.sleep(0.01)
    for client in left:
        client.close()
    return {"bytes": sent, "closed": closed}


def bursts(target: Target, wire: bytes, requests: int, pause_s: float) -> Counts:
    """Send many requests in one segment on a new connection, read for a moment, and again."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + target.seconds
    data = wire * requests
    while time.monotonic() < end:
        got = b""
        try:
            with target.connect() as client:
                client.settimeout(0.3)
                client.sendall(data)
                while more := client.recv(1 << 20):
                    got += more
        except OSError as error:
            counts[type(error).__name__] += 1
        for status in re.findall(rb"HTTP/1\.1 (\d{3})", got):
            counts[status.decode()] += 1
        time.sleep(pause_s)
    return dict(counts)


def read_answer(client: socket.socket) -> tuple[str, bool]:
    """The status of one answer, read to its end, and whether the connection stays open.

    The status is "closed" if the connection ends before.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(1 << 18)
        if not more:
            return data[9:12].decode("latin-1") or "closed", False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    missing = int(found[1]) - len(body) if found else 0
    while missing > 0:
        more = client.recv(1 << 18)
        if not more:
            break
        missing -= len(more)
    return head[9:12].decode("latin-1"), missing <= 0 and b"connection: close" not in head.lower()


def _run(send: Callable[[int], None], connections: int) -> None:
    threads = [threading.Thread(target=send, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

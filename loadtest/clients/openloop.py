"""Open-loop load: requests leave at planned times, whether or not earlier ones were answered.

Latency counts from the planned time, so the delay of requests behind a stalled server is included
(no coordinated omission). Knows nothing about the server.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import uvloop
from numpy.typing import NDArray

from loadtest.clients.http1 import Answer, BrokenAnswer, parse

_PENDING: Final = -1
SPIN_S: Final = 0.0015  # asyncio timers fire up to 1 ms late: stop sleeping this early, then yield


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of every request, in the order of planned times."""

    sent_at_s: NDArray[np.float64]  # planned, from the start of the run
    latency_ms: NDArray[np.float64]  # from the planned time to the last byte of the answer
    status: NDArray[np.int64]  # 0: no answer
    num_wrong: int  # answered 200 with an unexpected digit
    late_ms: float  # p99 of the generator's own lateness

    def percentile_ms(self, percent: float) -> float:
        """A latency percentile of the requests answered 200; infinity if there is none."""
        good = self.latency_ms[self.status == 200]
        return float(np.percentile(good, percent)) if good.size else float("inf")

    @property
    def num_failed(self) -> int:
        """Requests without an answer 200."""
        return int((self.status != 200).sum())

    def statuses(self) -> dict[str, int]:
        """Number of requests by status; "0" means no answer."""
        return {str(code): count for code, count in sorted(Counter(self.status.tolist()).items())}


def constant(rps: float, duration_s: float) -> NDArray[np.float64]:
    """Arrival times of a constant rate, evenly spaced, so that runs are comparable."""
    return np.arange(int(rps * duration_s)) / rps


def burst(num_requests: int) -> NDArray[np.float64]:
    """Arrival times of requests that all leave at once."""
    return np.zeros(num_requests)


def run(
    host: str,
    port: int,
    wires: Sequence[bytes],
    arrivals_s: NDArray[np.float64],
    *,
    is_right: Callable[[int, Answer], bool] | None = None,
    timeout_s: float = 10.0,
    shares_core: bool = False,
) -> Sample:
    """Run `drive` in a uvloop event loop, which sends twice as many requests a second."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            drive(
                host,
                port,
                wires,
                arrivals_s,
                is_right=is_right,
                timeout_s=timeout_s,
                shares_core=shares_core,
            )
        )


async def drive(
    host: str,
    port: int,
    wires: Sequence[bytes],
    arrivals_s: NDArray[np.float64],
    *,
    is_right: Callable[[int, Answer], bool] | None = None,
    max_connections: int = 512,
    timeout_s: float = 10.0,
    shares_core: bool = False,
) -> Sample:
    """Send request i, which is wires[i % len(wires)], at its arrival time on any free connection.

    Args:
        host: where the server listens.
        port: where the server listens.
        wires: complete requests, as bytes.
        arrivals_s: (N,) ascending seconds from the start.
        is_right: checks the answer to request i; None accepts every 200.
        max_connections: limit; connections are opened as needed and kept alive.
        timeout_s: a request that takes longer counts as unanswered.
        shares_core: the server runs on this core too, so sleep on a thread until a request is due
            (about 0.1 ms late, counted in `late_ms`); polling would take the core from the server.
    """
    sleep_until = sleep_on_thread if shares_core else poll_until
    run = _Run(host, port, wires, arrivals_s, is_right, max_connections, timeout_s, sleep_until)
    return await run.send_all()


class _Connection(asyncio.Protocol):
    """One connection; sends one request at a time.

    A bare protocol, because a task and a stream would cost more than the request.
    """

    def __init__(self, run: "_Run") -> None:
        self.run = run
        self.number = -1  # of the request in flight; -1: none
        self.was_used = False
        self.data = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast: uvloop's transports do not inherit from asyncio's
        self.transport = cast(asyncio.Transport, transport)

    def send(self, number: int) -> None:
        assert self.transport is not None
        self.number, self.data = number, b""
        self.transport.write(self.run.wires[number % len(self.run.wires)])

    def data_received(self, data: bytes) -> None:
        self.data += data
        try:
            answer = parse(self.data)
        except BrokenAnswer:
            self.close()
            return
        if answer is not None:
            number, self.number, self.was_used = self.number, -1, True
            self.run.answered(number, answer)
            self.run.release(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        self.transport = None
        number, self.number = self.number, -1
        self.run.lost(self, number, retry=self.was_used and not self.data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Run:
    def __init__(
        self,
        host: str,
        port: int,
        wires: Sequence[bytes],
        arrivals_s: NDArray[np.float64],
        is_right: Callable[[int, Answer], bool] | None,
        max_connections: int,
        timeout_s: float,
        sleep_until: Callable[[float], Awaitable[None]],
    ) -> None:
        self.sleep_until = sleep_until
        self.host, self.port = host, port
        self.wires, self.is_right = wires, is_right
        self.arrivals_s, self.timeout_s = arrivals_s, timeout_s
        self.max_connections = max_connections
        self.connections: set[_Connection] = set()
        self.idle: list[_Connection] = []
        self.waiting: deque[int] = deque()  # due while every connection is busy
        self.connecting: set[asyncio.Task[None]] = set()
        self.left = len(arrivals_s)
        self.done = asyncio.Event()
        self.start = 0.0
        self.latency_ms = np.zeros(len(arrivals_s))
        self.late_ms = np.zeros(len(arrivals_s))
        self.status = np.full(len(arrivals_s), _PENDING)
        self.num_wrong = 0

    async def send_all(self) -> Sample:
        """Send every request and wait for every answer."""
        at_once = int((self.arrivals_s <= self.arrivals_s[:1].sum() + 0.01).sum())
        for _ in range(min(max(at_once, 1), self.max_connections)):
            self.release(await self._open())  # before the start, so that connecting is not measured
        self.start = time.perf_counter() + 0.05
        times = self.arrivals_s.tolist()
        if not times:
            self.done.set()
        expirer = asyncio.create_task(self._expire())
        for number, at_s in enumerate(times):
            if time.perf_counter() < self.start + at_s:
                await self.sleep_until(self.start + at_s)
            self.late_ms[number] = 1e3 * (time.perf_counter() - self.start - at_s)
            self._send(number)
        await self.done.wait()
        expirer.cancel()
        for connection in list(self.connections):
            connection.close()
        late_ms = float(np.percentile(self.late_ms, 99)) if len(times) else 0.0
        return Sample(self.arrivals_s, self.latency_ms, self.status, self.num_wrong, late_ms)

    def release(self, connection: _Connection) -> None:
        """A connection is free: send a waiting request on it, or keep it."""
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.idle.append(connection)

    def answered(self, number: int, answer: Answer) -> None:
        """Record the answer to a request."""
        if self.status[number] != _PENDING:
            return
        self._end(number, answer.status)
        if answer.status == 200 and self.is_right and not self.is_right(number, answer):
            self.num_wrong += 1

    def lost(self, connection: _Connection, number: int, *, retry: bool) -> None:
        """A connection ended. Retry its request if the server had closed it while it was idle."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if number >= 0 and self.status[number] == _PENDING:
            if retry:
                self._send(number)
            else:
                self._end(number, 0)

    def _send(self, number: int) -> None:
        if self.idle:
            self.idle.pop().send(number)
            return
        self.waiting.append(number)
        if len(self.connections) + len(self.connecting) < self.max_connections:
            task = asyncio.create_task(self._connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self), self.host, self.port
        )
        self.connections.add(connection)
        return connection

    async def _connect(self) -> None:
        try:
            self.release(await self._open())
        except OSError:
            if self.waiting:
                self._end(self.waiting.popleft(), 0)

    def _end(self, number: int, status: int) -> None:
        self.status[number] = status
        planned = self.start + self.arrivals_s[number]
        self.latency_ms[number] = 1e3 * (time.perf_counter() - planned)
        self.left -= 1
        if not self.left:
            self.done.set()

    async def _expire(self) -> None:
        """Time out old requests, and close their connections."""
        while True:
            await asyncio.sleep(0.05)
            limit_s = time.perf_counter() - self.start - self.timeout_s
            while self.waiting and self.arrivals_s[self.waiting[0]] < limit_s:
                self._end(self.waiting.popleft(), 0)
            for connection in list(self.connections):
                if connection.number >= 0 and self.arrivals_s[connection.number] < limit_s:
                    self._end(connection.number, 0)
                    connection.close()


async def poll_until(when: float) -> None:
    """Sleep most of the time, then yield to the event loop until the time has come."""
    while (left := when - time.perf_counter()) > 0:  # noqa: ASYNC110 (a time, not an event)
        await asyncio.sleep(left - SPIN_S if left > SPIN_S else 0)


async def sleep_on_thread(when: float) -> None:
    """Sleep on a thread, which leaves the core to the server."""
    left = when - time.perf_counter()
    if left > 0:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, left)

"""Open-loop load: requests leave at set times, whether or not earlier ones were answered.

Latency counts from the time a request should have left, so a server that stalls cannot hide the
requests it kept from being sent (coordinated omission). Knows nothing about which server it is.
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
SPIN_S: Final = 0.0015  # asyncio's timers wake up to a millisecond late: sleep short, then yield


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of every request, in the order of their intended times."""

    sent_at_s: NDArray[np.float64]  # intended, from the start of the run
    latency_ms: NDArray[np.float64]  # from the intended time to the answer's last byte
    status: NDArray[np.int64]  # 0: no answer
    num_wrong: int  # answered 200, but not with the expected digit
    late_ms: float  # 99th percentile of how late the generator itself was

    def percentile_ms(self, percent: float) -> float:
        """A latency percentile over the requests answered 200; infinite if none was."""
        good = self.latency_ms[self.status == 200]
        return float(np.percentile(good, percent)) if good.size else float("inf")

    @property
    def num_failed(self) -> int:
        """Requests answered otherwise than 200, or not at all."""
        return int((self.status != 200).sum())

    def statuses(self) -> dict[str, int]:
        """How many requests ended in which status."""
        return {str(code): count for code, count in sorted(Counter(self.status.tolist()).items())}


def constant(rps: float, duration_s: float) -> NDArray[np.float64]:
    """Arrival times of a constant rate: no randomness, so runs compare."""
    return np.arange(int(rps * duration_s)) / rps


def burst(num_requests: int) -> NDArray[np.float64]:
    """So many requests at once."""
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
    """`drive` in an event loop of its own: uvloop's, which makes twice the requests a second."""
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
    """Send request i (wires, round and round) at its arrival time, on any free connection.

    Args:
        host: where the server listens.
        port: where the server listens.
        wires: whole requests, as bytes.
        arrivals_s: (N,) ascending seconds from the start.
        is_right: checks the answer to wires[i]; None accepts every 200.
        max_connections: opened as needed, kept alive.
        timeout_s: after that a request counts as unanswered.
        shares_core: sleep on a thread until a request is due (about 0.1 ms late, in `late_ms`),
            where waiting for it in a loop would take the core from the server.
    """
    sleep_until = _sleep_on_thread if shares_core else _sleep_until
    run = _Run(host, port, wires, arrivals_s, is_right, max_connections, timeout_s, sleep_until)
    return await run.all()


class _Pipe(asyncio.Protocol):
    """One connection; one request on it at a time.

    Without a task and without a stream, which would cost more than the request.
    """

    def __init__(self, run: "_Run") -> None:
        self.run = run
        self.number = -1  # of the request on its way; -1: none
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
            self.run.free(self)

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
        self.pipes: set[_Pipe] = set()
        self.idle: list[_Pipe] = []
        self.waiting: deque[int] = deque()  # due, but every connection is busy
        self.connecting: set[asyncio.Task[None]] = set()
        self.left = len(arrivals_s)
        self.done = asyncio.Event()
        self.start = 0.0
        self.latency_ms = np.zeros(len(arrivals_s))
        self.late_ms = np.zeros(len(arrivals_s))
        self.status = np.full(len(arrivals_s), _PENDING)
        self.num_wrong = 0

    async def all(self) -> Sample:
        """Send everything, wait for everything."""
        at_once = int((self.arrivals_s <= self.arrivals_s[:1].sum() + 0.01).sum())
        for _ in range(min(max(at_once, 1), self.max_connections)):
            self.free(await self._open())  # before the start, so that no connect is measured
        self.start = time.perf_counter() + 0.05
        times = self.arrivals_s.tolist()
        if not times:
            self.done.set()
        sweeper = asyncio.create_task(self._sweep())
        for number, at_s in enumerate(times):
            if time.perf_counter() < self.start + at_s:
                await self.sleep_until(self.start + at_s)
            self.late_ms[number] = 1e3 * (time.perf_counter() - self.start - at_s)
            self._send(number)
        await self.done.wait()
        sweeper.cancel()
        for pipe in list(self.pipes):
            pipe.close()
        late_ms = float(np.percentile(self.late_ms, 99)) if len(times) else 0.0
        return Sample(self.arrivals_s, self.latency_ms, self.status, self.num_wrong, late_ms)

    def free(self, pipe: _Pipe) -> None:
        """A connection can take a request."""
        if self.waiting:
            self._put(pipe, self.waiting.popleft())
        else:
            self.idle.append(pipe)

    def answered(self, number: int, answer: Answer) -> None:
        """A request has its answer."""
        if self.status[number] != _PENDING:
            return
        self._end(number, answer.status)
        if answer.status == 200 and self.is_right and not self.is_right(number, answer):
            self.num_wrong += 1

    def lost(self, pipe: _Pipe, number: int, *, retry: bool) -> None:
        """A connection has ended; one that ended while idle was not its next request's fault."""
        self.pipes.discard(pipe)
        if pipe in self.idle:
            self.idle.remove(pipe)
        if number >= 0 and self.status[number] == _PENDING:
            if retry:
                self._send(number)
            else:
                self._end(number, 0)

    def _send(self, number: int) -> None:
        if self.idle:
            self._put(self.idle.pop(), number)
            return
        self.waiting.append(number)
        if len(self.pipes) + len(self.connecting) < self.max_connections:
            task = asyncio.create_task(self._connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    def _put(self, pipe: _Pipe, number: int) -> None:
        pipe.send(number)

    async def _open(self) -> _Pipe:
        loop = asyncio.get_running_loop()
        _, pipe = await loop.create_connection(lambda: _Pipe(self), self.host, self.port)
        self.pipes.add(pipe)
        return pipe

    async def _connect(self) -> None:
        try:
            self.free(await self._open())
        except OSError:
            if self.waiting:
                self._end(self.waiting.popleft(), 0)

    def _end(self, number: int, status: int) -> None:
        self.status[number] = status
        intended = self.start + self.arrivals_s[number]
        self.latency_ms[number] = 1e3 * (time.perf_counter() - intended)
        self.left -= 1
        if not self.left:
            self.done.set()

    async def _sweep(self) -> None:
        """End what has waited too long, and the connection it is on."""
        while True:
            await asyncio.sleep(0.05)
            limit_s = time.perf_counter() - self.start - self.timeout_s
            while self.waiting and self.arrivals_s[self.waiting[0]] < limit_s:
                self._end(self.waiting.popleft(), 0)
            for pipe in list(self.pipes):
                if pipe.number >= 0 and self.arrivals_s[pipe.number] < limit_s:
                    self._end(pipe.number, 0)
                    pipe.close()


async def _sleep_until(when: float) -> None:
    while (left := when - time.perf_counter()) > 0:  # noqa: ASYNC110 (a time, not an event)
        await asyncio.sleep(left - SPIN_S if left > SPIN_S else 0)


async def _sleep_on_thread(when: float) -> None:
    left = when - time.perf_counter()
    if left > 0:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, left)

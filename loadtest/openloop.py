"""Open-loop load: requests leave at set times, whether or not earlier ones were answered.

Latency counts from the time a request should have left, so a server that stalls cannot hide the
requests it kept from being sent (coordinated omission). Knows nothing about which server it is.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.http1 import Answer, BrokenAnswer, Connection

SPIN_S = 0.0015  # asyncio's timers wake up to a millisecond late: sleep short, then yield


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


async def drive(
    host: str,
    port: int,
    wires: Sequence[bytes],
    arrivals_s: NDArray[np.float64],
    *,
    is_right: Callable[[int, Answer], bool] | None = None,
    max_connections: int = 512,
    timeout_s: float = 10.0,
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
    """
    run = _Run(host, port, wires, arrivals_s, is_right, max_connections, timeout_s)
    return await run.all()


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
    ) -> None:
        self.host, self.port = host, port
        self.wires, self.arrivals_s, self.is_right = wires, arrivals_s, is_right
        self.timeout_s = timeout_s
        self.idle: list[Connection] = []
        self.slots = asyncio.Semaphore(max_connections)
        self.latency_ms = np.zeros(len(arrivals_s))
        self.late_ms = np.zeros(len(arrivals_s))
        self.status = np.zeros(len(arrivals_s), dtype=np.int64)
        self.num_wrong = 0

    async def all(self) -> Sample:
        """Send everything, wait for everything."""
        await self._connect()
        start = time.perf_counter() + 0.05
        pending = []
        for number, at_s in enumerate(self.arrivals_s.tolist()):
            await _sleep_until(start + at_s)
            pending.append(asyncio.create_task(self._one(number, start + at_s)))
        await asyncio.gather(*pending)
        for connection in self.idle:
            connection.close()
        late_ms = float(np.percentile(self.late_ms, 99)) if len(self.late_ms) else 0.0
        return Sample(self.arrivals_s, self.latency_ms, self.status, self.num_wrong, late_ms)

    async def _connect(self) -> None:
        """Open as many connections as the first instant needs, so that it measures no connect."""
        at_once = int((self.arrivals_s <= self.arrivals_s[0] + 0.01).sum())
        for _ in range(min(at_once, 512)):
            self.idle.append(await Connection.open(self.host, self.port))

    async def _one(self, number: int, intended: float) -> None:
        async with self.slots:
            self.late_ms[number] = 1e3 * (time.perf_counter() - intended)
            try:
                async with asyncio.timeout(self.timeout_s):
                    answer = await self._send(self.wires[number % len(self.wires)])
            except (OSError, TimeoutError):
                self.latency_ms[number] = 1e3 * (time.perf_counter() - intended)
                return
        self.latency_ms[number] = 1e3 * (time.perf_counter() - intended)
        self.status[number] = answer.status
        if answer.status == 200 and self.is_right and not self.is_right(number, answer):
            self.num_wrong += 1

    async def _send(self, wire: bytes) -> Answer:
        while True:
            reused = bool(self.idle)
            connection = self.idle.pop() if reused else await Connection.open(self.host, self.port)
            try:
                answer = await connection.send(wire)
            except BrokenAnswer:
                connection.close()
                if reused:  # closed while idle: not the request's fault
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            self.idle.append(connection)
            return answer


async def _sleep_until(when: float) -> None:
    while (left := when - time.perf_counter()) > 0:  # noqa: ASYNC110 (a time, not an event)
        await asyncio.sleep(left - SPIN_S if left > SPIN_S else 0)

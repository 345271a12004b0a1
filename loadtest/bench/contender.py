"""A server in the benchmark: started, checked, warmed up, and run in turn with the others.

The server's process tree is pinned to one core, the load generator to another. A server that waits
for its turn is stopped (SIGSTOP) and uses no processor time.
"""

import asyncio
import contextlib
import fcntl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from loadtest.bench import crop_sets
from loadtest.bench.peers.same_work import Reader
from loadtest.clients import wrk
from loadtest.clients.http1 import Answer, Connection, Request
from loadtest.process import Tree
from loadtest.servers import NotInstalled, Server, start, wait_until

NUM_CROPS: Final = 20
CONNECTIONS: Final = 32
READY_S: Final = 90.0
SETTLE_S: Final = 0.3
WAKE_S: Final = 10.0
FLAT_FRAC: Final = 0.05
WARM_UP_ROUNDS: Final = 15


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """How long to measure.

    Args:
        rounds: interleaved rounds; the median is reported.
        saturate_s: seconds of wrk for each server, round and crop size.
        calm_s: seconds at 100 RPS for each server and round, before and again after the bursts.
        crops: names of crop sets; the first also warms up and measures latency.
        folder: for the servers' files and logs.
        lock: a file locked during each turn, so that jobs on one machine run alternately.
    """

    rounds: int
    saturate_s: int
    calm_s: float
    crops: tuple[str, ...]
    folder: Path
    lock: Path | None

    def record(self) -> dict[str, Any]:
        """The settings to record with the results."""
        times = {"saturate_s": self.saturate_s, "calm_s": self.calm_s}
        return {"rounds": self.rounds, **times, "crops": list(self.crops)}


@dataclass(slots=True)
class Contender:
    """A server that takes part: its requests, and its process tree and port while it runs."""

    server: Server
    config: BenchConfig
    expected: dict[str, list[int]]  # crop set -> the digit that the champion reads in each crop
    requests: dict[str, list[Request]] = field(default_factory=dict)
    tree: Tree | None = None
    port: int = 0

    @property
    def headline(self) -> str:
        """The crop set that warms up and measures latency."""
        return self.config.crops[0]

    @property
    def running(self) -> Tree:
        """The process tree; the server must have been started."""
        assert self.tree is not None, f"{self.server.name} was not started"
        return self.tree

    def start(self) -> None:
        """Start the server, check every crop's digit, and warm it up.

        Raises:
            NotInstalled: its packages could not be installed.
            TimeoutError: it was not ready in time.
            WrongAnswer: it reads another digit than the champion.
        """
        folder = self.config.folder / self.server.name
        self.tree, self.port = start(self.server, folder)
        try:
            wait_until(self._reads_a_crop, self.tree, timeout_s=READY_S)
            self.check()
            self.warm_up()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and every process that it started."""
        if self.tree is not None:
            self.tree.terminate(grace_s=10)
            self.tree = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Resume this server alone; pause it afterwards."""
        with locked(self.config.lock):
            if self.tree is None:
                self.start()
            self.running.resume()
            time.sleep(SETTLE_S)
            self._restart_if_broken()
            wrk.saturate(self.port, self.requests[self.headline], connections=8, duration_s=1)
            try:
                yield
            finally:
                if self.server.can_pause:
                    self.running.pause()
                else:
                    self.stop()

    def _restart_if_broken(self) -> None:
        """Restart and warm up a server that does not answer after its pause (seen: TorchServe)."""
        try:
            wait_until(self._reads_a_crop, self.running, timeout_s=WAKE_S)
        except TimeoutError:
            self.stop()
            self.start()

    def check(self) -> None:
        """Check that every crop is answered with the digit that the champion reads.

        Raises:
            WrongAnswer: a digit differs.
        """
        for name, requests in self.requests.items():
            for request, digit in zip(requests, self.expected[name], strict=True):
                answer = asyncio.run(self.ask(request))
                if answer.status != 200 or digit_of(answer.body) != digit:
                    raise WrongAnswer(
                        f"{self.server.name} answered {answer.status} {answer.body[:200]!r} "
                        f"to a crop of the set {name}; {digit} was expected"
                    )

    def warm_up(self) -> None:
        """Load the server for 4 s.

        Repeat for a server that compiles, until the rate changes by less than 5 %.
        """
        rate = 0.0
        for _ in range(WARM_UP_ROUNDS if self.server.warms_up else 1):
            before = rate
            rate = wrk.saturate(
                self.port, self.requests[self.headline], connections=CONNECTIONS, duration_s=4
            ).rps
            if abs(rate - before) < FLAT_FRAC * rate:
                break

    async def ask(self, request: Request) -> Answer:
        """Send one request on a new connection."""
        connection = await Connection.open("127.0.0.1", self.port)
        try:
            return await connection.send(request.wire(f"127.0.0.1:{self.port}"))
        finally:
            connection.close()

    def wires(self, name: str) -> list[bytes]:
        """The requests of one crop set as bytes."""
        return [request.wire(f"127.0.0.1:{self.port}") for request in self.requests[name]]

    def _reads_a_crop(self) -> bool:
        async def ask() -> int:
            async with asyncio.timeout(1.0):
                return (await self.ask(self.requests[self.headline][0])).status

        try:
            return asyncio.run(ask()) == 200
        except (OSError, TimeoutError):
            return False


class WrongAnswer(AssertionError):
    """A server reads other digits than the champion, so its numbers are not comparable."""


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold an exclusive lock on the file; without a file do nothing."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digit_of(body: bytes) -> int | None:
    """The digit in an answer. BentoML's batch API answers with a list of one."""
    answer = orjson.loads(body)
    digit = (answer[0] if isinstance(answer, list) else answer)["digit"]
    return None if digit is None else int(digit)


@contextlib.contextmanager
def start_contenders(
    servers: Sequence[Server], config: BenchConfig
) -> Iterator[tuple[list[Contender], dict[str, str]]]:
    """Start the servers; yield those that take part, and the reason of each that does not."""
    reader = Reader()
    samples = {name: crop_sets.make(name, NUM_CROPS) for name in config.crops}
    expected = {
        name: [_digit(reader, crop.png) for crop in crops] for name, crops in samples.items()
    }
    ready: list[Contender] = []
    absent: dict[str, str] = {}
    try:
        for server in servers:
            contender = Contender(server, config, expected)
            contender.requests = {
                name: [server.request(crop) for crop in crops] for name, crops in samples.items()
            }
            try:
                with contender.turn():
                    ready.append(contender)
            except (NotInstalled, TimeoutError, WrongAnswer) as error:
                absent[server.name] = str(error)
        yield ready, absent
    finally:
        for contender in ready:
            contender.stop()


def _digit(reader: Reader, png: bytes) -> int:
    digit = reader.read(png)["digit"]
    assert isinstance(digit, int)
    return digit

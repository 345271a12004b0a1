"""The benchmark: ours and every peer, measured in turn in one run, so that ratios mean something.

The server's whole process tree is pinned to one core, the load generator to another. Servers that
wait for their turn are stopped (SIGSTOP) and use no processor time. A number is the median of
interleaved rounds: this kind of machine drifts by a factor of two within an hour, but not within
a round.
"""

import asyncio
import contextlib
import fcntl
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from loadtest import digit_crops
from loadtest.bench.peers.same_work import Reader
from loadtest.clients import openloop, wrk
from loadtest.clients.http1 import Answer, Connection, Request
from loadtest.process import Tree
from loadtest.servers import NotInstalled, Server, start, wait_until

SIDES_PX: Final = (28, 128)
NUM_CROPS: Final = 20
CONNECTIONS: Final = 32
CALM_RPS: Final = 100
BURST: Final = 256
NUM_BURSTS: Final = 3
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
        folder: for the servers' files and logs.
        lock: a file locked during each turn, so that other jobs on this machine can take turns.
    """

    rounds: int
    saturate_s: int
    calm_s: float
    folder: Path
    lock: Path | None


@dataclass(slots=True)
class Contender:
    """A server that takes part: its requests, and while it runs its tree and port."""

    server: Server
    config: BenchConfig
    expected: dict[int, list[int]]  # side -> the digits that the champion reads
    requests: dict[int, list[Request]] = field(default_factory=dict)
    tree: Tree | None = None
    port: int = 0

    @property
    def running(self) -> Tree:
        """Its tree of processes; it must have been started."""
        assert self.tree is not None, f"{self.server.name} was not started"
        return self.tree

    def start(self) -> None:
        """Start it, wait until it reads every crop right, and warm it up.

        Raises:
            NotInstalled: its packages are not there.
            TimeoutError: it did not get ready.
            WrongAnswer: it reads a crop otherwise than the champion.
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
        """End it with everything it started."""
        if self.tree is not None:
            self.tree.terminate(grace_s=10)
            self.tree = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let it run, alone; stopped again afterwards."""
        with locked(self.config.lock):
            if self.tree is None:
                self.start()
            self.running.resume()
            time.sleep(SETTLE_S)
            self._restart_if_broken()
            wrk.saturate(self.port, self.requests[28], connections=8, duration_s=1)
            try:
                yield
            finally:
                if self.server.can_pause:
                    self.running.pause()
                else:
                    self.stop()

    def _restart_if_broken(self) -> None:
        """Some servers do not outlive a pause: they get a fresh start, and are warmed up again."""
        try:
            wait_until(self._reads_a_crop, self.running, timeout_s=WAKE_S)
        except TimeoutError:
            self.stop()
            self.start()

    def check(self) -> None:
        """Every crop is answered with the digit that the champion reads.

        Raises:
            WrongAnswer: one is not.
        """
        for side_px, requests in self.requests.items():
            for request, digit in zip(requests, self.expected[side_px], strict=True):
                answer = asyncio.run(self.ask(request))
                if answer.status != 200 or digit_of(answer.body) != digit:
                    raise WrongAnswer(
                        f"{self.server.name} answered {answer.status} {answer.body[:200]!r} "
                        f"to a {side_px} px crop; {digit} was expected"
                    )

    def warm_up(self) -> None:
        """Load it for two seconds; one that compiles while it runs, until its rate is flat."""
        rate = 0.0
        for _ in range(WARM_UP_ROUNDS if self.server.warms_up else 1):
            before = rate
            rate = wrk.saturate(
                self.port, self.requests[28], connections=CONNECTIONS, duration_s=4
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

    def wires(self, side_px: int) -> list[bytes]:
        """The requests as bytes."""
        return [request.wire(f"127.0.0.1:{self.port}") for request in self.requests[side_px]]

    def _reads_a_crop(self) -> bool:
        async def ask() -> int:
            async with asyncio.timeout(1.0):
                return (await self.ask(self.requests[28][0])).status

        try:
            return asyncio.run(ask()) == 200
        except (OSError, TimeoutError):
            return False


class WrongAnswer(AssertionError):
    """A server does other work than the rest, so its numbers would mean nothing."""


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold an exclusive lock on the file, if one is given."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digit_of(body: bytes) -> int | None:
    """The digit in an answer; BentoML's batch API answers with a list of one."""
    answer = orjson.loads(body)
    digit = (answer[0] if isinstance(answer, list) else answer)["digit"]
    return None if digit is None else int(digit)


@contextlib.contextmanager
def field_of(
    servers: Sequence[Server], config: BenchConfig
) -> Iterator[tuple[list[Contender], dict[str, str]]]:
    """Start the servers; those that take part, and why each other one does not."""
    reader = Reader()
    samples = {side: digit_crops.workload(side, NUM_CROPS) for side in SIDES_PX}
    expected = {side: [_digit(reader, crop.png) for crop in samples[side]] for side in SIDES_PX}
    ready: list[Contender] = []
    absent: dict[str, str] = {}
    try:
        for server in servers:
            contender = Contender(server, config, expected)
            contender.requests = {
                side: [server.request(crop.png) for crop in samples[side]] for side in SIDES_PX
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


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    measure: Callable[[Contender], dict[str, float]],
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Measure every contender once a round; the median of each figure, and all its values.

    Each round has an order of its own, the same in every run. In a fixed order whoever comes after
    the heaviest server pays for it in every round: after Ray our p99 was 3.8 ms, elsewhere 2.4.
    """
    rows: dict[str, list[dict[str, float]]] = {one.server.name: [] for one in contenders}
    for number in range(rounds):
        for contender in random.Random(number).sample(contenders, len(contenders)):  # noqa: S311
            with contender.turn():
                rows[contender.server.name].append(measure(contender))
            figures = rows[contender.server.name][-1]
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            say(f"round {number + 1}/{rounds}  {contender.server.name:18} {text}")
    return {name: summarise(values) for name, values in rows.items()}


def summarise(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Median of each figure over the rounds, with every round's value beside it."""
    return {
        name: {
            "median": statistics.median(row[name] for row in rows),
            "rounds": [round(row[name], 3) for row in rows],
        }
        for name in rows[0]
    }


def saturation(contender: Contender) -> dict[str, float]:
    """Requests a second at saturation and processor time per request, for both crop sizes."""
    figures: dict[str, float] = {}
    for side_px in SIDES_PX:
        cpu_s = contender.running.cpu_s()
        result = wrk.saturate(
            contender.port,
            contender.requests[side_px],
            connections=CONNECTIONS,
            duration_s=contender.config.saturate_s,
        )
        cpu_s = contender.running.cpu_s() - cpu_s
        figures |= {
            f"rps_{side_px}": result.rps,
            f"cpu_us_{side_px}": 1e6 * cpu_s / max(result.requests, 1),
            f"errors_{side_px}": float(result.errors),
        }
    return figures


def latency(contender: Contender) -> dict[str, float]:
    """Open loop at 100 RPS, then bursts of 256 at once, then 100 RPS again."""
    calm = drive(contender, openloop.constant(CALM_RPS, contender.config.calm_s))
    bursts = []
    for _ in range(NUM_BURSTS):
        bursts.append(drive(contender, openloop.burst(BURST)))
        time.sleep(0.5)
    after = drive(contender, openloop.constant(CALM_RPS, contender.config.calm_s))
    return {
        "p50_ms": calm.percentile_ms(50),
        "p99_ms": calm.percentile_ms(99),
        "failed": float(calm.num_failed + calm.num_wrong),
        "burst_p50_ms": statistics.median(one.percentile_ms(50) for one in bursts),
        "burst_max_ms": statistics.median(one.percentile_ms(100) for one in bursts),
        "burst_failed": float(sum(one.num_failed for one in bursts)),
        "after_p50_ms": after.percentile_ms(50),
        "after_p99_ms": after.percentile_ms(99),
        "after_failed": float(after.num_failed + after.num_wrong),
    }


def drive(contender: Contender, arrivals_s: np.ndarray[Any, Any]) -> openloop.Sample:
    """Send 28 px crops at these times, checking every digit."""
    expected = contender.expected[28]

    def is_right(number: int, answer: Answer) -> bool:
        return digit_of(answer.body) == expected[number % len(expected)]

    return openloop.run(
        "127.0.0.1", contender.port, contender.wires(28), arrivals_s, is_right=is_right
    )


def batching(contender: Contender) -> dict[str, float]:
    """Rate and latency at 1, 8, 32 and 128 callers, and bursts of 256 at once."""
    figures: dict[str, float] = {}
    for callers in (1, 8, 32, 128):
        result = wrk.saturate(
            contender.port,
            contender.requests[28],
            connections=callers,
            duration_s=contender.config.saturate_s,
        )
        figures |= {
            f"rps_{callers}": result.rps,
            f"p50_ms_{callers}": result.p50_ms,
            f"p99_ms_{callers}": result.p99_ms,
            f"errors_{callers}": float(result.errors),
        }
    bursts = [drive(contender, openloop.burst(BURST)) for _ in range(NUM_BURSTS)]
    figures["burst_max_ms"] = statistics.median(one.percentile_ms(100) for one in bursts)
    figures["burst_failed"] = float(sum(one.num_failed for one in bursts))
    return figures


def config_record(config: BenchConfig) -> dict[str, Any]:
    """The settings of a run, for its record."""
    return {name: value for name, value in asdict(config).items() if name not in ("folder", "lock")}

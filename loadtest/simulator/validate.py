"""`python -m loadtest validate`: the simulator against the real service behind nginx.

One and then two worker processes, each on a core of its own, behind nginx; the load steps up with
Poisson arrivals. The crops are large, so that the work is the workers' and the load generator,
which shares a core with a worker, takes a few per cent of it; and each is a batch of its own, so
that they are read in order of arrival, as the simulator has it (many crops in one request would
be read a chunk of each request in turn).

The simulator is given the very same arrivals and, as a recorded trace, the work of each request as
the service captured it: how long decoding, framing, inference and decision took. A shared machine's
speed changes within seconds, and of two cores one runs nginx and the load generator, too. What is
compared is what the simulator makes of that: who waits for how long.
"""

import itertools
import json
import uuid
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest import command_line, digit_crops, machine, servers
from loadtest.clients import openloop, wrk
from loadtest.clients.http1 import Request
from loadtest.failure import LoadtestFailed
from loadtest.simulator.arrivals import Traffic
from loadtest.simulator.nginx_stack import Stack, stack
from loadtest.simulator.policies import Plan
from loadtest.simulator.simulate import Simulation

SIDE_PX: Final = 1000  # 4 ms of decoding on the model's thread
NUM_CROPS: Final = 20
STEPS: Final = (0.3, 0.5, 0.7, 0.8)
STEP_S: Final = 25.0
NUM_PIECES: Final = 5  # of a step; the median counts, so that one pause of the machine does not
STEADY_FRAC: Final = 0.6  # at equal distances, so nothing waits; with less to do caches get cold
STEADY_S: Final = 15.0
SATURATION_TOLERANCE: Final = 0.10
LATENCY_TOLERANCE: Final = 0.25
SIDES: Final = ("no queue", "measured", "simulated")


@dataclass(frozen=True, slots=True)
class Measured:
    """What requests took, in their order."""

    latency_ms: NDArray[np.float64]
    work_ms: NDArray[np.float64]
    cpu_ms: float  # for a request, of all that runs on the workers' cores


@dataclass(frozen=True, slots=True)
class Recorded:
    """Service times that were measured of these very requests; the simulator draws none."""

    work_ms: NDArray[np.float64]
    cpu_ms: float  # mean; beside the work the worker parses and answers, nginx may run there
    rest_ms: float  # of latency: both ways through nginx, HTTP, a change of threads
    max_wait_ms: float = 1e6  # nothing is refused

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:  # noqa: ARG002
        """Seconds that each request keeps a worker busy."""
        beside_ms = max(self.cpu_ms - float(self.work_ms.mean()), 0.0)
        return (self.work_ms[:number] + beside_ms) / 1e3

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:  # noqa: ARG002
        """Latency of each request, had it not waited."""
        return self.work_ms[:number] + self.rest_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """One step of the load: measured beside simulated, each the median of the step's pieces."""

    workers: int
    rps: float
    work_ms: float
    unqueued_p50_ms: float  # had nobody waited: what both sides are given
    p50_ms: float
    simulated_p50_ms: float
    unqueued_p99_ms: float
    p99_ms: float
    simulated_p99_ms: float
    p50_ratio: float  # measured / simulated: the median of the pieces' ratios
    p99_ratio: float


def main(arguments: list[str]) -> int:
    """Measure, simulate, compare; non-zero if they differ by more than the tolerance."""
    parser = command_line.parser("validate", __doc__)
    parser.add_argument("--step-s", type=float, default=STEP_S, help="length of a step")
    parser.add_argument("--out", type=Path, default=Path("results") / "validate.json")
    chosen = parser.parse_args(arguments)
    facts = machine.provenance(["python -m loadtest validate", *arguments])
    with stack(1) as one:
        one_rps = saturation_rps(one.port)
        rest_ms = rest_of(one, one_rps)
        rows = compare(one, rest_ms, chosen.step_s)
    with stack(2) as two:
        predicted_rps, two_rps = saturations(two)
        rows += compare(two, rest_ms, chosen.step_s)
    report: dict[str, Any] = facts | {
        "saturation_rps": {"1 worker": one_rps, "2 workers": two_rps},
        "twice_one_worker_rps": predicted_rps,
        "rest_ms": rest_ms,
        "steps": [asdict(row) for row in rows],
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(text(rows))
    off = two_rps / predicted_rps - 1
    print(
        f"saturation with 2 workers: {two_rps:.1f} requests/s, twice one worker's "
        f"{predicted_rps:.1f} ({off:+.1%})"
    )
    worst = max(abs(ratio - 1) for row in rows for ratio in (row.p50_ratio, row.p99_ratio))
    print(f"largest difference in p50 or p99: {worst:.1%}")
    return 0 if abs(off) <= SATURATION_TOLERANCE and worst <= LATENCY_TOLERANCE else 1


@cache
def requests() -> list[Request]:
    """The load: large crops, one a request."""
    key = {"X-Api-Key": servers.API_KEY}
    return [
        Request("/v1/digit", "image/png", crop.png, key)
        for crop in digit_crops.workload(SIDE_PX, NUM_CROPS)
    ]


def saturation_rps(port: int) -> float:
    """As many crops a second as it takes: median of three."""
    return float(np.median([_saturate(port) for _ in range(3)]))


def saturations(two: Stack) -> tuple[float, float]:
    """Crops a second: twice one worker's, which is the simulator's, and both's; medians of three.

    One and both are measured in turn, so that the machine is as fast for the one as for the other.
    """
    pairs = [(2 * _saturate(two.first_port), _saturate(two.port)) for _ in range(3)]
    simulated, measured = np.median(pairs, axis=0).tolist()
    return simulated, measured


def _saturate(port: int) -> float:
    return wrk.saturate(port, requests(), connections=8, duration_s=5).rps


def rest_of(one: Stack, one_rps: float) -> float:
    """Milliseconds that a request takes beside the work on it, where none has to wait."""
    steady = measure(one, openloop.constant(STEADY_FRAC * one_rps, STEADY_S))
    return float(np.median(steady.latency_ms - steady.work_ms))


def measure(stack: Stack, arrivals_s: NDArray[np.float64]) -> Measured:
    """Send crops at these times.

    Raises:
        LoadtestFailed: not every crop was answered, so latencies cannot be compared.
    """
    run = uuid.uuid4().hex
    ids = [f"{run}-{number}" for number in range(len(arrivals_s))]
    wires = [
        replace(request, headers={**request.headers, "X-Request-Id": one}).wire("127.0.0.1")
        for one, request in zip(ids, itertools.cycle(requests()), strict=False)
    ]
    cpu_s = stack.cpu_s()
    sample = openloop.run(
        "127.0.0.1", stack.port, wires, arrivals_s, timeout_s=60.0, shares_core=True
    )
    cpu_s = stack.cpu_s() - cpu_s
    if sample.num_failed:
        raise LoadtestFailed(f"crops ended in {sample.statuses()}")
    work_ms = stack.work_ms(run)
    return Measured(
        sample.latency_ms, np.array([work_ms[one] for one in ids]), 1e3 * cpu_s / len(ids)
    )


def compare(stack: Stack, rest_ms: float, step_s: float) -> list[Comparison]:
    """Step the load up, each step a share of what the stack takes right before it."""
    rows = []
    for number, share in enumerate(STEPS):
        rps = share * _saturate(stack.port)
        rng = np.random.default_rng(number)
        count = int(rps * step_s / NUM_PIECES)
        pieces = [
            _piece(stack, np.cumsum(rng.exponential(1 / rps, count)), rest_ms)
            for _ in range(NUM_PIECES)
        ]
        rows.append(Comparison(len(stack.workers), rps, *np.median(pieces, axis=0).tolist()))
    return rows


def _piece(stack: Stack, arrivals_s: NDArray[np.float64], rest_ms: float) -> tuple[float, ...]:
    """A step's figures, from a piece of it."""
    workers = len(stack.workers)
    real = measure(stack, arrivals_s)
    load = Traffic("step", arrivals_s, float(np.ceil(arrivals_s[-1])))
    recorded = Recorded(real.work_ms, real.cpu_ms, rest_ms)
    outcome = Simulation(Plan(workers, workers), load, recorded, np.random.default_rng(0)).run()
    unqueued_ms = real.work_ms + rest_ms
    figures = [
        (
            float(np.percentile(unqueued_ms, percent)),
            float(np.percentile(real.latency_ms, percent)),
            outcome.percentile_ms(percent),
        )
        for percent in (50, 99)
    ]
    ratios = [measured / simulated for _, measured, simulated in figures]
    return (float(real.work_ms.mean()), *figures[0], *figures[1], *ratios)


def text(rows: list[Comparison]) -> str:
    """The comparison as a table; "no queue" is the input that both sides share."""
    times = [f"{name}, {side}" for name in ("p50 ms", "p99 ms") for side in SIDES]
    body = [
        [
            f"{row.workers}",
            f"{row.rps:.1f}",
            f"{row.work_ms:.2f}",
            f"{row.unqueued_p50_ms:.1f}",
            f"{row.p50_ms:.1f}",
            f"{row.simulated_p50_ms:.1f}",
            f"{row.unqueued_p99_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.simulated_p99_ms:.1f}",
        ]
        for row in rows
    ]
    return command_line.table([["workers", "crops/s", "work ms", *times], *body])

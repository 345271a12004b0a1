"""`python -m loadtest validate`: the simulator against the real service behind nginx.

Runs one and then two worker processes, each on its own core, behind nginx, under Poisson arrivals
that rise in steps. The crops are large: the load generator, which shares a core with a worker,
takes only a few per cent of the time. Each crop is one request and one batch, so crops are read in
order of arrival, as in the simulator (of several large requests, the service reads a chunk each in
turn).

The simulator gets the same arrivals and the work of each request (decoding, framing, inference,
decision) as the service captured it, because the speed of a shared machine changes within seconds.
So the comparison tests the waiting times. It fails if two workers differ from twice one by more
than 10 %, or if p50 or p99 of any step differs by more than 25 %.
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
NUM_PIECES: Final = 5  # of a step; the median discards one pause of the machine
STEADY_FRAC: Final = 0.6  # of saturation, evenly spaced: nothing waits, caches stay warm
STEADY_S: Final = 15.0
SATURATION_TOLERANCE: Final = 0.10
LATENCY_TOLERANCE: Final = 0.25
SIDES: Final = ("no queue", "measured", "simulated")


@dataclass(frozen=True, slots=True)
class Measured:
    """Times of the requests, in the order of arrival."""

    latency_ms: NDArray[np.float64]
    work_ms: NDArray[np.float64]
    cpu_ms: float  # per request, of everything on the workers' cores


@dataclass(frozen=True, slots=True)
class Recorded:
    """Service times measured on these same requests; nothing is drawn."""

    work_ms: NDArray[np.float64]
    cpu_ms: float  # mean per request: the work, HTTP, and nginx if it runs on these cores
    overhead_ms: float  # latency besides the work: nginx, HTTP, a thread switch
    max_wait_ms: float = 1e6  # effectively none: nothing is refused

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:  # noqa: ARG002
        """Seconds that each request keeps a worker busy."""
        other_ms = max(self.cpu_ms - float(self.work_ms.mean()), 0.0)
        return (self.work_ms[:number] + other_ms) / 1e3

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:  # noqa: ARG002
        """Latency of each request without its wait."""
        return self.work_ms[:number] + self.overhead_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """One step of the load, measured and simulated; each figure is the median of its pieces."""

    workers: int
    rps: float
    work_ms: float
    unqueued_p50_ms: float  # without waiting; input of both sides
    p50_ms: float
    simulated_p50_ms: float
    unqueued_p99_ms: float
    p99_ms: float
    simulated_p99_ms: float
    p50_ratio: float  # measured / simulated: the median of the pieces' ratios
    p99_ratio: float


def main(arguments: list[str]) -> int:
    """Measure, simulate, compare; 1 if they differ by more than the tolerances."""
    parser = command_line.parser("validate", __doc__)
    parser.add_argument(
        "--step-s", type=float, default=STEP_S, help="seconds per step (default: %(default)s)"
    )
    command_line.add_path(parser, "--out", Path("results") / "validate.json", "result")
    chosen = parser.parse_args(arguments)
    facts = machine.provenance(["python -m loadtest validate", *arguments])
    with stack(1) as one:
        one_rps = saturation_rps(one.port)
        overhead_ms = measure_overhead(one, one_rps)
        rows = compare(one, overhead_ms, chosen.step_s)
    with stack(2) as two:
        predicted_rps, two_rps = saturations(two)
        rows += compare(two, overhead_ms, chosen.step_s)
    report: dict[str, Any] = facts | {
        "saturation_rps": {"1 worker": one_rps, "2 workers": two_rps},
        "twice_one_worker_rps": predicted_rps,
        "overhead_ms": overhead_ms,
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
    """The load: one large crop per request."""
    key = {"X-Api-Key": servers.API_KEY}
    return [
        Request("/v1/digit", "image/png", crop.png, key)
        for crop in digit_crops.workload(SIDE_PX, NUM_CROPS)
    ]


def saturation_rps(port: int) -> float:
    """Crops a second at saturation: median of three runs."""
    return float(np.median([_saturate(port) for _ in range(3)]))


def saturations(two: Stack) -> tuple[float, float]:
    """Crops a second: twice one worker's (the simulator's prediction), and two workers'.

    Medians of three pairs, measured alternately, so that both see the same speed of the machine.
    """
    pairs = [(2 * _saturate(two.first_port), _saturate(two.port)) for _ in range(3)]
    simulated, measured = np.median(pairs, axis=0).tolist()
    return simulated, measured


def _saturate(port: int) -> float:
    return wrk.saturate(port, requests(), connections=8, duration_s=5).rps


def measure_overhead(one: Stack, one_rps: float) -> float:
    """Milliseconds of latency besides the work, while no request waits."""
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
        raise LoadtestFailed(f"crops ended with statuses {sample.statuses()}; all must be 200")
    work_ms = stack.work_ms(run)
    return Measured(
        sample.latency_ms, np.array([work_ms[one] for one in ids]), 1e3 * cpu_s / len(ids)
    )


def compare(stack: Stack, overhead_ms: float, step_s: float) -> list[Comparison]:
    """Raise the load in steps; a step's rate is a share of the saturation just before it."""
    rows = []
    for number, share in enumerate(STEPS):
        rps = share * _saturate(stack.port)
        rng = np.random.default_rng(number)
        count = int(rps * step_s / NUM_PIECES)
        pieces = [
            _piece(stack, np.cumsum(rng.exponential(1 / rps, count)), overhead_ms)
            for _ in range(NUM_PIECES)
        ]
        rows.append(Comparison(len(stack.workers), rps, *np.median(pieces, axis=0).tolist()))
    return rows


def _piece(stack: Stack, arrivals_s: NDArray[np.float64], overhead_ms: float) -> tuple[float, ...]:
    """The figures of one piece of a step."""
    workers = len(stack.workers)
    real = measure(stack, arrivals_s)
    load = Traffic("step", arrivals_s, float(np.ceil(arrivals_s[-1])))
    recorded = Recorded(real.work_ms, real.cpu_ms, overhead_ms)
    outcome = Simulation(Plan(workers, workers), load, recorded, np.random.default_rng(0)).run()
    unqueued_ms = real.work_ms + overhead_ms
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

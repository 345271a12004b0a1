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

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from capture.record import CaptureRecord
from capture.segments import live_segments, read_segment, sealed_segments
from loadtest import digit_crops, machine, servers
from loadtest.clients import openloop, wrk
from loadtest.clients.http1 import Request
from loadtest.errors import LoadtestFailed
from loadtest.process import TICKS_PER_S, Tree
from loadtest.simulator.arrivals import Traffic
from loadtest.simulator.policies import Plan
from loadtest.simulator.simulate import Simulation

SIDE_PX: Final = 1000  # 4 ms of decoding on the model's thread
NUM_CROPS: Final = 20
STEPS: Final = (0.3, 0.5, 0.7, 0.8)
STEP_S: Final = 25.0
NUM_PIECES: Final = 5  # of a step; the median counts, so that one pause of the machine does not
STEADY_FRAC: Final = 0.6  # at equal distances, so nothing waits; with less to do caches get cold
STEADY_S: Final = 15.0
# Nothing is refused, on either side: what is compared is waiting.
PLAIN_QUEUE: Final = {
    "DIGITS_MAX_BATCH_SIZE": "1",
    "DIGITS_QUEUE_LIMIT": "100000",
    "DIGITS_MAX_QUEUE_WAIT_MS": "60000",
    "DIGITS_REQUEST_DEADLINE_MS": "60000",
    "DIGITS_CAPTURE_ORIGINALS": "false",
}
SATURATION_TOLERANCE: Final = 0.10
LATENCY_TOLERANCE: Final = 0.25
_NGINX: Final = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
worker_rlimit_nofile 18000;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_max_body_size 8m; client_body_buffer_size 1m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_http_version 1.1; proxy_set_header Connection "";
  upstream all {{ least_conn; {all} keepalive 64; }}
  upstream first {{ {first} keepalive 64; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://all; }} }}
  server {{ listen 127.0.0.1:{first_port}; location / {{ proxy_pass http://first; }} }}
}}
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """Worker processes behind nginx."""

    port: int  # of nginx before all of them
    first_port: int  # of nginx before the first alone
    workers: list[Tree]
    spools: list[Path]  # what each has captured

    def cpu_s(self) -> float:
        """Processor time of whatever runs on the workers' cores.

        Where no core is left for nginx and the load generator, theirs is taken from the workers.
        """
        if (os.cpu_count() or 1) > len(self.workers):
            return sum(worker.cpu_s() for worker in self.workers)
        return machine_s()

    def work_ms(self, run: str) -> dict[str, float]:
        """Request id -> how long the model's thread worked on it, of the ids that begin so."""
        return {
            record.request_id: record.decode_ms
            + record.preprocess_ms
            + record.inference_ms
            + record.decision_ms
            for spool in self.spools
            for record in captured(spool)
            if record.request_id.startswith(run)
        }


def captured(spool: Path) -> Iterator[CaptureRecord]:
    """Every record of a spool that is being written; one may come twice."""
    for segment in live_segments(spool):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile, and so among the next
            yield from read_segment(segment)
    for segment in sealed_segments(spool):
        yield from read_segment(segment)


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
    parser = argparse.ArgumentParser("python -m loadtest validate", description=__doc__)
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


@contextlib.contextmanager
def stack(workers: int) -> Iterator[Stack]:
    """The service in so many processes, each on its core, behind nginx."""
    with tempfile.TemporaryDirectory(prefix="validate-") as name, contextlib.ExitStack() as undo:
        folder = Path(name)
        ports, trees, spools = [], [], []
        ours = servers.SERVERS[servers.OURS]
        queueing = replace(ours, env=ours.env | PLAIN_QUEUE, command=_nicely(ours.command))
        for core in range(workers):
            spool = folder / f"spool-{core}"
            capturing = replace(queueing, env=queueing.env | {"DIGITS_CAPTURE_DIR": str(spool)})
            tree, port = servers.start(capturing, folder / f"worker-{core}", core=core)
            undo.callback(tree.terminate, grace_s=30)
            servers.wait_until(partial(servers.is_ready, port), tree, timeout_s=60)
            ports.append(port)
            trees.append(tree)
            spools.append(spool)
        yield Stack(*undo.enter_context(nginx(folder, ports)), trees, spools)


def _nicely(command: Callable[[servers.Place], list[str]]) -> Callable[[servers.Place], list[str]]:
    """A worker that lets nginx and the load generator go first: they have no core of their own."""
    return lambda place: ["nice", "-n", "19", *command(place)]


@contextlib.contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[tuple[int, int]]:
    """Nginx, with connections kept: its port before all of these, and before the first alone."""
    port = servers.free_port()
    upstreams = [f"server 127.0.0.1:{one};" for one in ports]
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _NGINX.format(
            folder=folder,
            all=" ".join(upstreams),
            first=upstreams[0],
            port=port,
            first_port=port + 1,
        )
    )
    with subprocess.Popen(["nginx", "-e", "stderr", "-c", str(configuration)]) as process:
        try:
            yield port, port + 1
        finally:
            process.terminate()


def machine_s() -> float:
    """Processor time that this machine has spent on anything."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / TICKS_PER_S


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
    """The comparison as lines; "no queue" is what both sides are given."""
    figures = "no queue  measured  simulated"
    lines = [f"workers   crops/s  work ms | p50 ms: {figures} | p99 ms: {figures}"]
    lines += [
        f"{row.workers:7}  {row.rps:8.1f}  {row.work_ms:7.2f}"
        f" | {row.unqueued_p50_ms:16.1f}  {row.p50_ms:8.1f}  {row.simulated_p50_ms:9.1f}"
        f" | {row.unqueued_p99_ms:16.1f}  {row.p99_ms:8.1f}  {row.simulated_p99_ms:9.1f}"
        for row in rows
    ]
    return "\n".join(lines)

"""`python -m loadtest validate`: the simulator against the real service behind nginx.

One and then two worker processes, each on a core of its own, behind nginx; the load steps up with
Poisson arrivals. The crops are large, so that the work is the workers' and the load generator,
which shares a core with a worker, takes a few per cent of it; and each is a batch of its own, so
that they are read in order of arrival, as the simulator has it (many crops in one request would
be read a chunk of each request in turn).
"""

import argparse
import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest import crops, machine, openloop, servers, wrk
from loadtest.errors import LoadtestFailed
from loadtest.http1 import Request
from loadtest.runner import drive_requests
from loadtest.simulator.fit import spread_of
from loadtest.simulator.policies import Plan
from loadtest.simulator.service import ServiceTimes
from loadtest.simulator.simulate import Simulation
from loadtest.simulator.traffic import Traffic

SIDE_PX: Final = 1000  # 4 ms of decoding on the model's thread
NUM_CROPS: Final = 20
STEPS: Final = (0.3, 0.5, 0.7, 0.8)
STEP_S: Final = 20.0
IDLE_FRAC: Final = 0.05
IDLE_S: Final = 30.0
# Nothing is refused, on either side: what is compared is waiting.
PLAIN_QUEUE: Final = {
    "DIGITS_MAX_BATCH_SIZE": "1",
    "DIGITS_QUEUE_LIMIT": "100000",
    "DIGITS_MAX_QUEUE_WAIT_MS": "60000",
    "DIGITS_REQUEST_DEADLINE_MS": "60000",
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
  upstream workers {{ least_conn; {upstreams} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One step of the load: measured beside simulated."""

    workers: int
    rps: float
    p50_ms: float
    simulated_p50_ms: float
    p99_ms: float
    simulated_p99_ms: float


def main(arguments: list[str]) -> int:
    """Measure, simulate, compare; non-zero if they differ by more than the tolerance."""
    parser = argparse.ArgumentParser("python -m loadtest validate", description=__doc__)
    parser.add_argument("--step-s", type=float, default=STEP_S, help="length of a step")
    parser.add_argument("--out", type=Path, default=Path("results") / "validate.json")
    chosen = parser.parse_args(arguments)
    facts = machine.provenance(["python -m loadtest validate", *arguments])
    with stack(1) as port:
        times = fit(port)
        one_rps = saturation_rps(port)
        rows = compare(port, 1, times, chosen.step_s)
    with stack(2) as port:
        two_rps = saturation_rps(port)
        rows += compare(port, 2, times, chosen.step_s)
    predicted_rps = 2 * 1e3 / times.busy_ms
    report: dict[str, Any] = facts | {
        "saturation_rps": {"1 worker": one_rps, "2 workers": two_rps},
        "simulated_saturation_rps": {"1 worker": 1e3 / times.busy_ms, "2 workers": predicted_rps},
        "steps": [asdict(row) for row in rows],
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    print(text(rows))
    off = two_rps / predicted_rps - 1
    print(
        f"saturation with 2 workers: {two_rps:.1f} requests/s, simulated {predicted_rps:.1f} "
        f"({off:+.1%})"
    )
    worst = max(
        max(abs(row.p50_ms / row.simulated_p50_ms - 1), abs(row.p99_ms / row.simulated_p99_ms - 1))
        for row in rows
    )
    print(f"largest difference in p50 or p99: {worst:.1%}")
    return 0 if abs(off) <= SATURATION_TOLERANCE and worst <= LATENCY_TOLERANCE else 1


@contextlib.contextmanager
def stack(workers: int) -> Iterator[int]:
    """The service in so many processes, each on its core, behind nginx; nginx's port."""
    with tempfile.TemporaryDirectory(prefix="validate-") as name, contextlib.ExitStack() as undo:
        folder = Path(name)
        ports = []
        ours = servers.SERVERS[servers.OURS]
        queueing = replace(ours, env=ours.env | PLAIN_QUEUE)
        for core in range(workers):
            tree, port = servers.start(queueing, folder / f"worker-{core}", core=core)
            undo.callback(tree.terminate, grace_s=30)
            servers.wait_until(partial(servers.is_ready, port), tree, timeout_s=60)
            ports.append(port)
        yield undo.enter_context(nginx(folder, ports))


@contextlib.contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[int]:
    """Nginx in front of these ports, with a connection to each kept."""
    port = servers.free_port()
    upstreams = " ".join(f"server 127.0.0.1:{one};" for one in ports)
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, upstreams=upstreams, port=port))
    with subprocess.Popen(["nginx", "-e", "stderr", "-c", str(configuration)]) as process:
        try:
            yield port
        finally:
            process.terminate()


@cache
def requests() -> list[Request]:
    """The load: large crops, one a request."""
    key = {"X-Api-Key": servers.API_KEY}
    return [
        Request("/v1/digit", "image/png", crop.png, key)
        for crop in crops.workload(SIDE_PX, NUM_CROPS)
    ]


def saturation_rps(port: int) -> float:
    """As many crops a second as it takes: median of three."""
    runs = [wrk.saturate(port, requests(), connections=8, duration_s=5).rps for _ in range(3)]
    return float(np.median(runs))


def fit(port: int) -> ServiceTimes:
    """Service times of one worker."""
    busy_ms = 1e3 / saturation_rps(port)
    idle_rps = IDLE_FRAC * 1e3 / busy_ms
    latency_ms = measure(port, openloop.constant(idle_rps, IDLE_S))
    unloaded_ms = np.percentile(latency_ms, np.arange(101))
    return ServiceTimes(busy_ms, spread_of(unloaded_ms), tuple(unloaded_ms.tolist()), 1e6)


def measure(port: int, arrivals_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Latencies of crops sent at these times.

    Raises:
        LoadtestFailed: not every crop was answered, so latencies cannot be compared.
    """
    sample = drive_requests(port, requests(), arrivals_s)
    if sample.num_failed:
        raise LoadtestFailed(f"crops ended in {sample.statuses()}")
    return sample.latency_ms


def compare(port: int, workers: int, times: ServiceTimes, step_s: float) -> list[Comparison]:
    """Step the load up; the simulation gets the very same arrivals."""
    rows = []
    for number, share in enumerate(STEPS):
        rps = share * workers * 1e3 / times.busy_ms
        rng = np.random.default_rng(number)
        gaps = rng.exponential(1 / rps, int(rps * step_s))
        arrivals_s = np.cumsum(gaps)
        real_ms = measure(port, arrivals_s)
        load = Traffic("step", arrivals_s, float(np.ceil(arrivals_s[-1])))
        outcome = Simulation(Plan(workers, workers), load, times, rng).run()
        rows.append(
            Comparison(
                workers=workers,
                rps=rps,
                p50_ms=float(np.percentile(real_ms, 50)),
                simulated_p50_ms=outcome.percentile_ms(50),
                p99_ms=float(np.percentile(real_ms, 99)),
                simulated_p99_ms=outcome.percentile_ms(99),
            )
        )
    return rows


def text(rows: list[Comparison]) -> str:
    """The comparison as lines."""
    lines = ["workers    crops/s    p50 ms  simulated    p99 ms  simulated"]
    lines += [
        f"{row.workers:7}  {row.rps:9.1f}  {row.p50_ms:8.1f}  {row.simulated_p50_ms:9.1f}"
        f"  {row.p99_ms:8.1f}  {row.simulated_p99_ms:9.1f}"
        for row in rows
    ]
    return "\n".join(lines)

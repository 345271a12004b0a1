"""`python -m loadtest fit`: measure a running service for the simulator."""

import json
from dataclasses import asdict, replace
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from loadtest import command_line, machine
from loadtest.clients import openloop, wrk
from loadtest.load import mix, runner
from loadtest.simulator.service_times import SERVICE_FILE, ServiceTimes

IDLE_RPS: Final = 50.0
IDLE_S: Final = 20.0
SATURATE_S: Final = 5
NUM_CALLS: Final = 400


def main(arguments: list[str]) -> int:
    """Measure a running service of one worker and write the service times that `simulate` reads."""
    parser = command_line.parser("fit", main.__doc__)
    command_line.add_host(parser)
    command_line.add_keys(parser)
    command_line.add_path(parser, "--out", SERVICE_FILE, "result")
    chosen = parser.parse_args(arguments)
    source = machine.source(["python -m loadtest fit", *arguments])
    measured = replace(measure(chosen.host, chosen.keys), source=source)
    chosen.out.write_text(json.dumps(asdict(measured), indent=1) + "\n")
    print(
        f"{1e3 / measured.busy_ms:.0f} requests/s per core, unloaded p50 "
        f"{measured.unloaded_ms[50]:.2f} ms, p99 {measured.unloaded_ms[99]:.2f} ms"
    )
    return 0


def measure(host: str, keys: list[str]) -> ServiceTimes:
    """Measure latency at a low rate, then the rate at saturation.

    Returns:
        the times; the caller fills in `source`.
    """
    log, _ = runner.run_open(openloop.constant(IDLE_RPS, IDLE_S), host, keys)
    unloaded_ms = np.percentile(log.latency_ms[log.status == 200], np.arange(101))
    calls = mix.standard_calls(keys, NUM_CALLS)
    port = urlsplit(host).port or 80
    saturated = [
        wrk.saturate(
            port, [call.request for call in calls], connections=32, duration_s=SATURATE_S
        ).rps
        for _ in range(3)
    ]
    return ServiceTimes(
        busy_ms=1e3 / float(np.median(saturated)),
        spread=spread_of(unloaded_ms),
        unloaded_ms=tuple(np.round(unloaded_ms, 4).tolist()),
    )


def spread_of(percentiles_ms: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Standard deviation of the work by its mean, from percentiles 0 to 100 of idle latency.

    Only percentiles 16 to 84 count: the machine, not the request, causes the tail.
    """
    half_width = (percentiles_ms[84] - percentiles_ms[16]) / 2
    return float(round(half_width / percentiles_ms[50], 3))

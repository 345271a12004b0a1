"""Measures a running service for the simulator: what one request costs, and what it takes idle."""

import random
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from loadtest import digit_crops
from loadtest.clients import openloop, wrk
from loadtest.load import mix, runner
from loadtest.simulator.service_times import ServiceTimes

IDLE_RPS: Final = 50.0
IDLE_S: Final = 20.0
SATURATE_S: Final = 5
NUM_CALLS: Final = 400


def measure(host: str, keys: list[str]) -> ServiceTimes:
    """Load a service of one worker: idle first, then as much as it takes.

    Returns:
        its times; the source is left for the caller to fill in.
    """
    log, _ = runner.run_open(openloop.constant(IDLE_RPS, IDLE_S), host, keys)
    unloaded_ms = np.percentile(log.latency_ms[log.status == 200], np.arange(101))
    calls = mix.calls(digit_crops.load(), keys, NUM_CALLS, random.Random(7))  # noqa: S311
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
    """How much requests differ in work, from the percentiles 0 to 100 of their idle latency.

    From the middle two thirds: the tail is the machine's, not the request's.
    """
    half_width = (percentiles_ms[84] - percentiles_ms[16]) / 2
    return float(round(half_width / percentiles_ms[50], 3))

"""Measure every server in turn: saturation, latency, micro-batching.

A number is the median of interleaved rounds, because the speed of a shared machine changes by a
factor of two within an hour, but not within a round.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest.bench.contender import CONNECTIONS, Contender, digit_of
from loadtest.clients import openloop, wrk
from loadtest.clients.http1 import Answer

CALM_RPS: Final = 100
BURST: Final = 256
NUM_BURSTS: Final = 3


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    measure: Callable[[Contender], dict[str, float]],
    print_line: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Measure every contender once a round; return each figure's median and values.

    The order is shuffled with the round as seed, so every run has the same orders. In a fixed order
    the server after the heaviest one is always slowed down: our p99 was 3.8 ms after Ray, 2.4 ms
    elsewhere.
    """
    rows: dict[str, list[dict[str, float]]] = {one.server.name: [] for one in contenders}
    for number in range(rounds):
        for contender in random.Random(number).sample(contenders, len(contenders)):  # noqa: S311
            with contender.turn():
                rows[contender.server.name].append(measure(contender))
            figures = rows[contender.server.name][-1]
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print_line(f"round {number + 1}/{rounds}  {contender.server.name:18} {text}")
    return {name: summarise(values) for name, values in rows.items()}


def summarise(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The median of each figure over the rounds, and the value of every round."""
    return {
        name: {
            "median": statistics.median(row[name] for row in rows),
            "rounds": [round(row[name], 3) for row in rows],
        }
        for name in rows[0]
    }


def saturation(contender: Contender) -> dict[str, float]:
    """Requests a second at saturation and processor time per request, by crop set."""
    figures: dict[str, float] = {}
    for name in contender.config.crops:
        cpu_s = contender.running.cpu_s()
        result = wrk.saturate(
            contender.port,
            contender.requests[name],
            connections=CONNECTIONS,
            duration_s=contender.config.saturate_s,
        )
        cpu_s = contender.running.cpu_s() - cpu_s
        figures |= {
            f"rps_{name}": result.rps,
            f"cpu_us_{name}": 1e6 * cpu_s / max(result.requests, 1),
            f"errors_{name}": float(result.errors),
        }
    return figures


def latency(contender: Contender) -> dict[str, float]:
    """Open loop: 100 requests/s, then bursts of 256 at once, then 100 requests/s again."""
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


def drive(contender: Contender, arrivals_s: NDArray[np.float64]) -> openloop.Sample:
    """Send the headline's crops at these times and check every digit."""
    expected = contender.expected[contender.headline]

    def is_right(number: int, answer: Answer) -> bool:
        return digit_of(answer.body) == expected[number % len(expected)]

    return openloop.run(
        "127.0.0.1",
        contender.port,
        contender.wires(contender.headline),
        arrivals_s,
        is_right=is_right,
    )


def batching(contender: Contender) -> dict[str, float]:
    """Rate and latency at 1, 8, 32 and 128 callers, and bursts of 256 at once."""
    figures: dict[str, float] = {}
    for callers in (1, 8, 32, 128):
        result = wrk.saturate(
            contender.port,
            contender.requests[contender.headline],
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

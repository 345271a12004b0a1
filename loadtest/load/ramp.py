"""More and more load until the SLO breaks: what one core holds.

Open loop, because a closed loop slows down with the server and never shows the break.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from contract.slo import Slo
from loadtest.clients import openloop
from loadtest.load.runner import run_open
from loadtest.load.verdict import summarise

FIRST_RPS: Final = 200.0
GROWTH: Final = 1.25
FINE_GROWTH: Final = 1.05
STEP_S: Final = 8.0
JUDGED_FROM_S: Final = 2.0
MAX_LATE_MS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried."""

    rps: float
    p50_ms: float
    p99_ms: float
    failed_frac: float
    late_ms: float  # how late the generator was; large: it, not the server, is the limit
    held: bool


def ramp(host: str, keys: list[str], slo: Slo) -> list[Step]:
    """Steps of rising rate, coarse and then fine, until one does not hold the SLO."""
    steps: list[Step] = []
    rps, growth = FIRST_RPS, GROWTH
    while True:
        step = try_rate(rps, host, keys, slo)
        steps.append(step)
        if step.late_ms > MAX_LATE_MS:
            return steps
        if not step.held:
            held = [one.rps for one in steps if one.held]
            if growth == FINE_GROWTH or not held:
                return steps
            rps, growth = max(held), FINE_GROWTH
        rps *= growth


def try_rate(rps: float, host: str, keys: list[str], slo: Slo) -> Step:
    """One rate for a few seconds."""
    log, late_ms = run_open(openloop.constant(rps, STEP_S), host, keys)
    figures = summarise(log.between(JUDGED_FROM_S, STEP_S), STEP_S - JUDGED_FROM_S)
    held = figures["p99_ms"] < slo.p99_ms and figures["failed_frac"] <= slo.error_frac
    return Step(
        rps=rps,
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        failed_frac=figures["failed_frac"],
        late_ms=late_ms,
        held=bool(held),
    )


def capacity_rps(steps: list[Step]) -> float:
    """The highest rate that held; 0 if none did."""
    return float(np.max([step.rps for step in steps if step.held], initial=0.0))

"""Load profiles: the rate at each moment, and the phases that are judged.

Pure. Locust and the open-loop client both follow them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contract.arrivals import DAY
from contract.slo import Slo
from loadtest.load.verdict import Phase

SETTLE_S: Final = 5.0  # not judged: connections open and all users start
TRUCK_EVERY_S: Final = 60.0
TRUCK_AT_S: Final = 20.0
TRUCK_S: Final = 30.0
TRUCK_EDGE_S: Final = 2.0  # at both ends of a burst, not judged
IDLE_RPS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A load over time, and its judged phases."""

    name: str
    duration_s: float
    rps: Callable[[float], float]  # argument: seconds from the start
    phases: list[Phase]


def steady(duration_s: float, slo: Slo) -> Shape:
    """The sustained rate of the SLO."""
    phase = Phase("steady", SETTLE_S, duration_s, slo.sustained_rps, slo.p99_ms)
    return Shape("steady", duration_s, lambda _: slo.sustained_rps, [phase])


def trucks(duration_s: float, slo: Slo) -> Shape:
    """Three trucks at once, every minute: from 10 to 300 requests/s within a second."""

    def rps(at_s: float) -> float:
        inside = TRUCK_AT_S <= at_s % TRUCK_EVERY_S < TRUCK_AT_S + TRUCK_S
        return slo.burst_rps if inside else IDLE_RPS

    phases: list[Phase] = []
    start_s = TRUCK_AT_S
    while start_s + TRUCK_S <= duration_s:
        phases.append(
            Phase(
                f"burst {len(phases) + 1}",
                start_s + TRUCK_EDGE_S,
                start_s + TRUCK_S - TRUCK_EDGE_S,
                slo.burst_rps,
                slo.burst_p99_ms,
            )
        )
        start_s += TRUCK_EVERY_S
    if not phases:
        raise ValueError(
            f"{duration_s:g} s is too short for one burst; use at least {TRUCK_AT_S + TRUCK_S:g} s"
        )
    return Shape("trucks", duration_s, rps, phases)


def day(duration_s: float, slo: Slo) -> Shape:
    """A facility's day, compressed: each hour takes 1/24 of the duration."""
    hour_s = duration_s / len(DAY)

    def rps(at_s: float) -> float:
        return slo.sustained_rps * DAY[min(int(at_s / hour_s), len(DAY) - 1)]

    phases = [
        Phase(f"hour {hour:02}", hour * hour_s + hour_s / 4, (hour + 1) * hour_s, full, slo.p99_ms)
        for hour, share in enumerate(DAY)
        if (full := share * slo.sustained_rps) >= IDLE_RPS
    ]
    return Shape("day", duration_s, rps, phases)


SHAPES: Final[dict[str, Callable[[float, Slo], Shape]]] = {
    "steady": steady,
    "trucks": trucks,
    "day": day,
}

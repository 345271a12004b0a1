"""The figures of a simulation (latency, refusals, tasks, cost) and the choice between settings."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract.slo import Slo
from infra import prices
from loadtest.simulator.policies import Plan
from loadtest.simulator.simulate import Outcome

HOURS_PER_MONTH: Final = 730.0
BYTES_PER_REQUEST: Final = 2_000  # a scanned crop as PNG, the HTTP headers, and the answer
LCU_BYTES_PER_H: Final = 1e9  # of one load balancer capacity unit (LCU)
LCU_CONNECTIONS: Final = 3_000  # open connections of one LCU
WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one setting."""

    min_tasks: int
    target_scale: float
    p50_ms: float
    p99_ms: float
    worst_minute_p99_ms: float
    shed_frac: float
    mean_tasks: float
    max_tasks: int
    usd_per_month: float
    meets_slo: bool


def figures_of(outcome: Outcome, plan: Plan, slo: Slo, *, target_scale: float = 1.0) -> Figures:
    """Compute the figures. The SLO is judged by the worst minute; a refusal is an error."""
    worst_ms = worst_minute_p99_ms(outcome)
    return Figures(
        min_tasks=plan.min_tasks,
        target_scale=target_scale,
        p50_ms=outcome.percentile_ms(50),
        p99_ms=outcome.percentile_ms(99),
        worst_minute_p99_ms=worst_ms,
        shed_frac=outcome.shed_frac,
        mean_tasks=outcome.mean_tasks,
        max_tasks=outcome.max_tasks(),
        usd_per_month=usd_per_month(outcome, plan),
        meets_slo=bool(worst_ms < slo.burst_p99_ms and outcome.shed_frac <= slo.error_frac),
    )


def usd_per_month(outcome: Outcome, plan: Plan) -> float:
    """Tasks and load balancer at the run's mean load; list prices from infra/prices.py."""
    mean_rps = len(outcome.arrivals_s) / outcome.duration_s
    hourly = outcome.mean_tasks * task_usd_per_hour(plan) + prices.ALB_H
    return HOURS_PER_MONTH * (hourly + lcus(mean_rps) * prices.ALB_LCU_H)


def task_usd_per_hour(plan: Plan) -> float:
    """One Fargate task on ARM."""
    return plan.vcpus * prices.FARGATE_VCPU_H + plan.memory_gb * prices.FARGATE_GB_H


def lcus(rps: float) -> float:
    """Load balancer capacity units: the larger of bytes and connections (scanners keep theirs)."""
    return max(rps * 3600 * BYTES_PER_REQUEST / LCU_BYTES_PER_H, rps / LCU_CONNECTIONS)


def worst_minute_p99_ms(outcome: Outcome) -> float:
    """The highest p99 of any minute with at least one answered request."""
    starts = np.arange(0.0, outcome.duration_s, WINDOW_S)
    return float(max(binned(outcome, starts, WINDOW_S)["p99_ms"], default=float("inf")))


def binned(outcome: Outcome, starts_s: NDArray[np.float64], width_s: float) -> dict[str, list[Any]]:
    """Rate, latency and refusals for each bin of time; 0 in a bin without requests."""
    edges = np.searchsorted(outcome.arrivals_s, np.append(starts_s, starts_s[-1] + width_s))
    rows: dict[str, list[Any]] = {"rps": [], "p50_ms": [], "p99_ms": [], "shed_frac": []}
    for first, last in pairwise(edges):
        latency_ms = outcome.latency_ms[first:last]
        good = latency_ms[~np.isnan(latency_ms)]
        p50, p99 = np.percentile(good, [50, 99]).tolist() if good.size else (0.0, 0.0)
        rows["rps"].append((last - first) / width_s)
        rows["p50_ms"].append(p50)
        rows["p99_ms"].append(p99)
        rows["shed_frac"].append(1 - good.size / latency_ms.size if latency_ms.size else 0.0)
    return rows


def cheapest(settings: list[Figures]) -> Figures | None:
    """The cheapest setting that meets the SLO; None if none does."""
    good = [one for one in settings if one.meets_slo]
    return min(good, key=lambda one: one.usd_per_month) if good else None


def pareto(settings: list[Figures]) -> list[Figures]:
    """Settings that no other one beats in both cost and worst-minute p99, cheapest first."""
    front: list[Figures] = []
    for one in sorted(settings, key=lambda a: (a.usd_per_month, a.worst_minute_p99_ms)):
        if not front or one.worst_minute_p99_ms < front[-1].worst_minute_p99_ms:
            front.append(one)
    return front

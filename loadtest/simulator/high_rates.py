"""`python -m loadtest scale`: tasks, network and cost at rates far above the plan.

The deployment's own formula (infra/capacity.py) gives the number of tasks. A simulated minute shows
whether they hold the rate, with all tasks and with one availability zone (AZ) lost.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from infra import capacity, cost, prices
from loadtest import command_line
from loadtest.simulator import arrivals, deployed_policies, service_times
from loadtest.simulator.figures import (
    BYTES_PER_REQUEST,
    HOURS_PER_MONTH,
    lcus,
    task_usd_per_hour,
)
from loadtest.simulator.policies import Plan
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Simulation
from loadtest.simulator.simulate_command import TEMPLATES

SECONDS: Final = 60
NUM_AZS: Final = 3  # of a region, as in production
HEADER: Final = (
    "requests/s",
    "tasks",
    "p99 ms",
    "p99 ms, one AZ lost",
    "refused, one AZ lost",
    "LCU",
    "Gbit/s",
    "USD/month",
    "WAF USD/month",
    "captures TB/month",
)


@dataclass(frozen=True, slots=True)
class Size:
    """What one rate needs, and how it performs."""

    rps: float
    tasks: int
    p99_ms: float
    p99_ms_without_zone: float
    shed_frac_without_zone: float
    lcus: float
    gbit_per_s: float
    usd_per_month: float  # tasks and load balancer
    waf_usd_per_month: float  # charge for inspected requests
    capture_tb_per_month: float  # every crop captured


def main(arguments: list[str]) -> int:
    """Print one row for each rate."""
    parser = command_line.parser("scale", __doc__)
    parser.add_argument(
        "--rps",
        type=float,
        nargs="+",
        default=[100, 300, 10_000, 100_000],
        help="rates in requests/s (default: 100 300 10000 100000)",
    )
    command_line.add_path(
        parser, "--service", service_times.SERVICE_FILE, service_times.SERVICE_HELP
    )
    chosen = parser.parse_args(arguments)
    measured = service_times.read(chosen.service)
    plan = deployed_policies.read_plan(TEMPLATES)
    print(f"service times: {measured.source}")
    print(f"capacity: {capacity.read_measured().source}; prices of {prices.AS_OF}")
    sizes = [size(rps, plan, measured) for rps in chosen.rps]
    print(command_line.table([HEADER, *map(_row, sizes)]))
    return 0


def _row(one: Size) -> list[str]:
    return [
        f"{one.rps:,.0f}",
        f"{one.tasks:,}",
        f"{one.p99_ms:.1f}",
        f"{one.p99_ms_without_zone:.1f}",
        f"{one.shed_frac_without_zone:.3%}",
        f"{one.lcus:.1f}",
        f"{one.gbit_per_s:.2f}",
        f"{one.usd_per_month:,.0f}",
        f"{one.waf_usd_per_month:,.0f}",
        f"{one.capture_tb_per_month:,.1f}",
    ]


def size(rps: float, plan: Plan, measured: ServiceTimes) -> Size:
    """Tasks by the deployment's formula, checked by a simulated minute."""
    held_rps = capacity.read_measured().rps_per_core * plan.vcpus * capacity.USABLE_FRAC
    tasks = max(NUM_AZS, capacity.num_tasks(rps, held_rps, NUM_AZS))
    left = tasks - -(-tasks // NUM_AZS)
    p99_ms, _ = _minute(rps, tasks, plan, measured)
    without_ms, shed_frac = _minute(rps, left, plan, measured)
    units = lcus(rps)
    reads_per_month = rps * 3600 * HOURS_PER_MONTH
    hourly = tasks * task_usd_per_hour(plan) + prices.ALB_H + units * prices.ALB_LCU_H
    return Size(
        rps=rps,
        tasks=tasks,
        p99_ms=p99_ms,
        p99_ms_without_zone=without_ms,
        shed_frac_without_zone=shed_frac,
        lcus=units,
        gbit_per_s=rps * BYTES_PER_REQUEST * 8 / 1e9,
        usd_per_month=HOURS_PER_MONTH * hourly,
        waf_usd_per_month=reads_per_month / 1e6 * prices.WAF_MILLION,
        capture_tb_per_month=reads_per_month * cost.CAPTURE_BYTES / 1e12,
    )


def _minute(rps: float, tasks: int, plan: Plan, measured: ServiceTimes) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    load = arrivals.poisson("minute", arrivals.constant_rates(rps, SECONDS), rng)
    fixed = Plan(tasks, tasks, vcpus=plan.vcpus, memory_gb=plan.memory_gb)
    outcome = Simulation(fixed, load, measured, rng).run()
    return outcome.percentile_ms(99), outcome.shed_frac

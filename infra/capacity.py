"""How many tasks: one formula from measured requests per second to minimum and maximum.

    held         = measured requests per second per core * vCPUs * usable share
    tasks(rps)   = the fewest that hold rps when one availability zone (AZ) fails, at least two
    minimum      = max(AZs, tasks(peak)) in truck hours, tasks(planned) outside them
    maximum      = max(2 * tasks(peak), tasks(growth * peak))

In truck hours there is a task in each zone, so that after the loss of one a second failure does
not stop the reads either. A scaling policy is too slow for a burst: a new task serves 113 s after a
step of the load at the earliest (docs/scaling.md), and a truck's burst reaches its peak in one
second. So the minimum holds the whole planned peak, and scaling serves load above the plan. Knows
nothing about CDK; reads ``loadtest/capacity.json``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from infra import settings
from infra.settings import Environment

CAPACITY_FILE = settings.REPOSITORY_ROOT / "loadtest" / "capacity.json"
ASSUMED_RPS_PER_CORE = 2500.0  # used while loadtest/capacity.json is missing; every output says so
USABLE_FRAC = 0.5  # of a task: queueing at 50 % busy costs about one service time, at 80 % four
GROWTH = 10.0  # autoscaling's maximum, in planned peaks; a higher one needs an operator
CORE_TO_VCPU = 1.0  # a Graviton vCPU is a core, as measured; re-measure on ARM before going lower


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured rate of one core, and the source of the number."""

    rps_per_core: float
    source: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of tasks of one environment."""

    measured: Measured
    held_rps_per_task: float  # requests per second at USABLE_FRAC busy
    min_tasks: int  # outside truck hours
    truck_min_tasks: int
    max_tasks: int
    waf_limit: int  # requests per WAF window from one address

    def explain(self) -> str:
        """The plan in one line, for stack outputs and documents."""
        return (
            f"{self.measured.rps_per_core:.0f} req/s per core ({self.measured.source}) -> "
            f"{self.held_rps_per_task:.0f} req/s held per task -> min {self.min_tasks}, "
            f"truck hours {self.truck_min_tasks}, max {self.max_tasks}"
        )


def read_measured(path: Path = CAPACITY_FILE) -> Measured:
    """The measured requests per second per core, or the assumption if there is no measurement.

    Raises:
        ValueError: the file has no positive ``requests_per_s_per_core``.
    """
    if not path.exists():
        return Measured(ASSUMED_RPS_PER_CORE, "assumed, not measured")
    content = json.loads(path.read_text())
    rps = float(content.get("requests_per_s_per_core", 0.0))
    if not rps > 0:
        raise ValueError(f"{path.name}: requests_per_s_per_core is {rps}, must be above 0")
    return Measured(rps, f"measured {content['measured']}")


def num_tasks(rps: float, held_rps_per_task: float, num_azs: int) -> int:
    """The fewest tasks, spread over the AZs, of which enough remain when one AZ fails."""
    enough = max(1, math.ceil(rps / held_rps_per_task))
    tasks = enough + 1
    while tasks - math.ceil(tasks / num_azs) < enough:
        tasks += 1
    return tasks


def plan(environment: Environment, measured: Measured) -> Plan:
    """Apply the formula in the module's docstring.

    Raises:
        ValueError: the peak is below the planned rate.
    """
    planned_rps, peak_rps = environment.planned_rps, environment.peak_rps
    if peak_rps < planned_rps:
        raise ValueError(f"peak {peak_rps} req/s is below the planned {planned_rps} req/s")
    azs = environment.num_azs
    held = measured.rps_per_core * CORE_TO_VCPU * environment.task.vcpus * USABLE_FRAC
    truck_min = max(azs, num_tasks(peak_rps, held, azs))
    return Plan(
        measured=measured,
        held_rps_per_task=held,
        min_tasks=num_tasks(planned_rps, held, azs),
        truck_min_tasks=truck_min,
        max_tasks=max(2 * truck_min, num_tasks(GROWTH * peak_rps, held, azs)),
        waf_limit=math.ceil(settings.WAF_HEADROOM * peak_rps * settings.WAF_WINDOW_S),
    )

"""`python -m loadtest steps`: what unplanned load costs and what it is refused, by setting.

A step of the load from the planned peak to 5, 8 and 17 times as much, for different minimums of
tasks, task sizes and burst thresholds. The limits and policies are those of the deployment's own
templates.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from infra import cost, prices
from loadtest import command_line
from loadtest.simulator import arrivals, deployed_policies, service_times
from loadtest.simulator.figures import task_usd_per_hour
from loadtest.simulator.policies import Plan, StepScaling
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Outcome, Simulation
from loadtest.simulator.simulate_command import TEMPLATES

TRUCKS_MIN: Final = 6 * 60  # Monday 06:00: the minimum of the truck hours is in force
STEADY_S: Final = 120
AFTER_S: Final = 300
BEFORE_RPS: Final = 300.0  # the planned peak
AFTER_RPS: Final = (1500.0, 2500.0, 5000.0)
NUM_TASKS: Final = (2, 3, 4)
VCPUS: Final = (0.5, 1.0)
THRESHOLDS: Final = (40.0, None)  # percent of CPU; None: target tracking alone
HEADER: Final = (
    "tasks",
    "vCPU",
    "burst threshold",
    "USD/month",
    *(f"-> {rps:,.0f}/s: first task, refused" for rps in AFTER_RPS),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, and the outcome of each step."""

    num_tasks: int  # minimum in truck hours
    vcpus: float
    threshold: float | None
    usd_per_month: float  # of the tasks, without unplanned load
    first_task_s: tuple[float, ...]
    shed_frac: tuple[float, ...]


def main(arguments: list[str]) -> int:
    """Print the Pareto front: no other setting is cheaper and refuses less."""
    parser = command_line.parser("steps", __doc__)
    command_line.add_path(
        parser, "--service", service_times.SERVICE_FILE, service_times.SERVICE_HELP
    )
    parser.add_argument("--all", action="store_true", help="also the settings that are dominated")
    chosen = parser.parse_args(arguments)
    measured = service_times.read(chosen.service)
    plan = deployed_policies.read_plan(TEMPLATES)
    tried = [
        setting(plan, measured, number, vcpus, threshold)
        for number in NUM_TASKS
        for vcpus in VCPUS
        for threshold in THRESHOLDS
    ]
    tried.sort(key=lambda one: (one.usd_per_month, sum(one.shed_frac)))
    print(f"service times: {measured.source}; prices of {prices.AS_OF} in {prices.REGION}")
    print(command_line.table([HEADER, *map(_row, tried if chosen.all else pareto(tried))]))
    return 0


def setting(
    plan: Plan, measured: ServiceTimes, num_tasks: int, vcpus: float, threshold: float | None
) -> Setting:
    """Simulate every step with the deployment's policies and these sizes."""
    tried = with_burst_threshold(plan.with_minimum(num_tasks).with_size(vcpus), threshold)
    outcomes = [step(tried, measured, BEFORE_RPS, rps) for rps in AFTER_RPS]
    truck_h, quiet_h = cost.hours()
    task_h = num_tasks * truck_h + min(num_tasks, plan.min_tasks) * quiet_h
    return Setting(
        num_tasks=num_tasks,
        vcpus=vcpus,
        threshold=threshold,
        usd_per_month=task_h * task_usd_per_hour(tried),
        first_task_s=tuple(first_new_task_s(outcome, STEADY_S) for outcome in outcomes),
        shed_frac=tuple(outcome.shed_frac for outcome in outcomes),
    )


def pareto(settings: list[Setting]) -> list[Setting]:
    """Of settings sorted by cost, those that refuse less than every cheaper one."""
    front: list[Setting] = []
    for one in settings:
        if not front or sum(one.shed_frac) < sum(front[-1].shed_frac):
            front.append(one)
    return front


def step(
    plan: Plan, measured: ServiceTimes, before_rps: float, after_rps: float, phase_s: int = 0
) -> Outcome:
    """Two minutes of one rate, then five of another; the step is ``phase_s`` into a period."""
    rng = np.random.default_rng(1)
    rates = np.full(STEADY_S + phase_s + AFTER_S, after_rps)
    rates[: STEADY_S + phase_s] = before_rps
    traffic = arrivals.poisson("step", rates, rng)
    return Simulation(plan, traffic, measured, rng, start_minute=TRUCKS_MIN).run()


def first_new_task_s(outcome: Outcome, step_s: float) -> float:
    """Seconds from the step until one task more than before it serves; infinity if none does."""
    before = [serving for at_s, _, serving in outcome.tasks if at_s <= step_s][-1]
    return next(
        (at_s - step_s for at_s, _, serving in outcome.tasks if at_s > step_s and serving > before),
        float("inf"),
    )


def with_burst_threshold(plan: Plan, percent: float | None) -> Plan:
    """The plan with another threshold of its step policies; None: without them."""
    policies = (
        replace(one, threshold=percent)
        if isinstance(one, StepScaling) and percent is not None
        else one
        for one in plan.policies
        if percent is not None or not isinstance(one, StepScaling)
    )
    return replace(plan, policies=tuple(policies))


def _row(one: Setting) -> list[str]:
    return [
        f"{one.num_tasks}",
        f"{one.vcpus:g}",
        "none" if one.threshold is None else f"{one.threshold:g} %",
        f"{one.usd_per_month:,.0f}",
        *(
            f"{'none' if first_s == float('inf') else f'{first_s:.0f} s'}, {shed:.1%}"
            for first_s, shed in zip(one.first_task_s, one.shed_frac, strict=True)
        ),
    ]

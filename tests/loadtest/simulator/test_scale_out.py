"""A step of the load, and how long the deployed policies take to bring the first new task."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtest.simulator.arrivals import poisson
from loadtest.simulator.deployed_policies import read_plan
from loadtest.simulator.policies import Plan, StepScaling
from loadtest.simulator.service_times import SERVICE_FILE, read
from loadtest.simulator.simulate import Outcome, Simulation

SNAPSHOTS = Path(__file__).parents[3] / "infra" / "snapshots" / "prod"
NOON_MIN = 12 * 60  # Monday: the truck hours' minimum is in force
STEADY_S = 120
PHASES_S = (0, 1, 10, 19)  # of the 20-second metric, at the step


def step(plan: Plan, before_rps: float, after_rps: float, phase_s: int = 0) -> Outcome:
    rng = np.random.default_rng(1)
    rates = np.full(STEADY_S + phase_s + 600, after_rps)
    rates[: STEADY_S + phase_s] = before_rps
    traffic = poisson("step", rates, rng)
    times = read(SERVICE_FILE)
    return Simulation(plan, traffic, times, rng, start_minute=NOON_MIN).run()


def first_new_task_s(outcome: Outcome, step_s: float) -> float:
    before = [serving for at_s, _, serving in outcome.tasks if at_s <= step_s][-1]
    return next(
        (at_s - step_s for at_s, _, serving in outcome.tasks if at_s > step_s and serving > before),
        float("inf"),
    )


def with_burst_threshold(plan: Plan, percent: float) -> Plan:
    policies = tuple(
        replace(one, threshold=percent) if isinstance(one, StepScaling) else one
        for one in plan.policies
    )
    return replace(plan, policies=policies)


@pytest.mark.parametrize("before_rps", [500, 700, 1000])
@pytest.mark.parametrize("phase_s", PHASES_S)
def test_the_first_new_task_serves_150_s_after_a_fivefold_step(before_rps, phase_s):
    outcome = step(read_plan(SNAPSHOTS), before_rps, 5.0 * before_rps, phase_s)
    assert first_new_task_s(outcome, STEADY_S + phase_s) <= 150


def test_a_higher_threshold_misses_a_step_to_2500():
    plan = with_burst_threshold(read_plan(SNAPSHOTS), 50)
    assert first_new_task_s(step(plan, 500, 2500), STEADY_S) > 150


def test_a_step_that_three_tasks_hold_adds_none():
    plan = read_plan(SNAPSHOTS)
    assert step(plan, 300, 1500).max_tasks() == plan.min_tasks

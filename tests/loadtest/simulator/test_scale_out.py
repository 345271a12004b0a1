"""A step of the load, and how long the deployed policies take to bring the first new task."""

import pytest

from loadtest.simulator.deployed_policies import read_plan
from loadtest.simulator.scale_out import (
    STEADY_S,
    Setting,
    first_new_task_s,
    pareto,
    step,
    with_burst_threshold,
)
from loadtest.simulator.service_times import SERVICE_FILE, read
from loadtest.simulator.simulate_command import TEMPLATES

PHASES_S = (0, 1, 10, 19)  # of the 20-second metric, at the step


@pytest.mark.parametrize("before_rps", [500, 700, 1000])
@pytest.mark.parametrize("phase_s", PHASES_S)
def test_the_first_new_task_serves_150_s_after_a_fivefold_step(before_rps, phase_s):
    plan = read_plan(TEMPLATES)
    outcome = step(plan, read(SERVICE_FILE), before_rps, 5.0 * before_rps, phase_s)
    assert first_new_task_s(outcome, STEADY_S + phase_s) <= 150


def test_a_higher_threshold_misses_a_step_to_2500():
    plan = with_burst_threshold(read_plan(TEMPLATES), 50)
    assert first_new_task_s(step(plan, read(SERVICE_FILE), 500, 2500), STEADY_S) > 150


def test_a_step_that_three_tasks_hold_adds_none():
    assert step(read_plan(TEMPLATES), read(SERVICE_FILE), 300, 1500).max_tasks() == 3


def test_half_a_core_takes_twice_as_long_for_a_request():
    plan = read_plan(TEMPLATES).with_maximum(3)
    sheds = [
        step(sized, read(SERVICE_FILE), 300, 4000).shed_frac
        for sized in (plan, plan.with_size(0.5))
    ]
    assert sheds[0] == 0 < 0.15 < sheds[1]


def test_a_setting_that_costs_more_and_refuses_more_is_not_on_the_front():
    settings = [
        Setting(3, 1.0, 40.0, usd, (113.0,), (shed,))
        for usd, shed in ((50, 0.2), (60, 0.3), (70, 0.1))
    ]
    assert [one.usd_per_month for one in pareto(settings)] == [50, 70]

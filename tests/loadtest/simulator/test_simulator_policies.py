"""The scaling rules: AWS's published times, and properties over random metrics."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.simulator.arrivals import Traffic, constant_rates, poisson
from loadtest.simulator.policies import (
    AutoScaler,
    Plan,
    Predictive,
    Scheduled,
    Step,
    StepScaling,
    TargetTracking,
)
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Simulation

UNLOADED = tuple([1.0] * 101)


def cpu(period_s=60, **changes):
    return TargetTracking("cpu", "cpu_percent", 50.0, period_s, **changes)


def simulate(plan, rates, *, busy_ms=10.0, start_minute=0, seed=1):
    rng = np.random.default_rng(seed)
    service = ServiceTimes(busy_ms, 0.2, UNLOADED, max_wait_ms=300.0)
    traffic = poisson("test", np.asarray(rates, dtype=float), rng)
    return Simulation(plan, traffic, service, rng, start_minute).run()


@pytest.mark.parametrize(("period_s", "decided_s", "running_s"), [(60, 363, 386), (20, 86, 109)])
def test_scale_out_takes_as_long_as_aws_measured(period_s, decided_s, running_s):
    plan = Plan(1, 10, (cpu(period_s),), start_s=23.0, health_s=0.0)
    outcome = simulate(plan, constant_rates(150, 600))
    decided = next(at_s for at_s, desired, _ in outcome.tasks if desired > 1)
    running = next(at_s for at_s, _, running in outcome.tasks if running > 1)
    assert decided == pytest.approx(decided_s, abs=1)
    assert running == pytest.approx(running_s, abs=1)


def test_a_fast_step_policy_beats_target_tracking():
    step = StepScaling("burst", "requests_per_task", 3000.0, (Step(0, math.inf, 100.0),), True)
    slow = simulate(Plan(1, 10, (cpu(60),)), constant_rates(150, 600))
    fast = simulate(Plan(1, 10, (cpu(60), step)), constant_rates(150, 600))
    assert fast.tasks[1][0] < slow.tasks[1][0]
    assert fast.shed_frac < slow.shed_frac


def test_tasks_follow_a_step_in_load_and_are_removed_after_it():
    rates = np.concatenate([constant_rates(20, 600), constant_rates(250, 1800)])
    rates = np.concatenate([rates, constant_rates(20, 3600)])
    outcome = simulate(Plan(1, 20, (cpu(20),)), rates)
    peak = outcome.max_tasks()
    assert 5 <= peak <= 8  # 2.5 cores of work at 50 %
    assert outcome.tasks[-1][2] < peak


def test_only_a_sufficient_minimum_of_tasks_holds_a_short_burst():
    rates = np.tile(np.concatenate([constant_rates(10, 240), constant_rates(250, 60)]), 6)
    scaled = simulate(Plan(1, 10, (cpu(20),)), rates)
    minimum = simulate(Plan(4, 10, (cpu(20),)), rates)
    assert scaled.shed_frac > 0.05
    assert minimum.shed_frac == 0


def test_a_schedule_raises_the_minimum_of_tasks():
    morning = Scheduled(minute_of_week=4 * 60, min_tasks=6, max_tasks=10)
    night = Scheduled(minute_of_week=12 * 60, min_tasks=2, max_tasks=10)
    plan = Plan(2, 10, schedule=(morning, night))
    outcome = simulate(plan, constant_rates(1, 7200), start_minute=3 * 60)
    assert outcome.tasks[0][1] == 2
    raised = next(at_s for at_s, desired, _ in outcome.tasks if desired == 6)
    assert raised == 3600
    inside = simulate(plan, constant_rates(1, 60), start_minute=5 * 60)
    assert inside.tasks[0][1:] == (6, 6)  # the last action before the start applies


def test_a_forecast_has_tasks_ready_before_the_hour():
    rates = np.concatenate([constant_rates(10, 3600), constant_rates(250, 3600)])
    predictive = Predictive(requests_per_task_per_hour=3600 * 60.0, buffer_s=300)
    outcome = simulate(Plan(1, 10, predictive=predictive), rates)
    assert next(at_s for at_s, desired, _ in outcome.tasks if desired > 1) == 3300
    assert outcome.shed_frac == 0
    only = Predictive(3600 * 60.0, forecast_only=True)
    assert simulate(Plan(1, 10, predictive=only), rates).max_tasks() == 1


def test_paid_time_counts_starting_and_draining_tasks():
    steady = simulate(Plan(3, 3), constant_rates(1, 1000))
    assert steady.mean_tasks == 3
    schedule = (Scheduled(10, 2, 2), Scheduled(9000, 1, 1))
    growing = Plan(1, 2, schedule=schedule, start_s=100.0, health_s=0.0)
    outcome = simulate(growing, constant_rates(1, 1000))
    assert outcome.task_s == pytest.approx(1000 + 400)  # paid from second 600, ready at 700


# Runs of equal values, because 15 minutes of independent random values are never all low.
run_of_values = st.tuples(
    st.one_of(st.none(), st.floats(0, 500), st.floats(0, 9)), st.integers(1, 50)
)
values = st.lists(run_of_values, min_size=1, max_size=6).map(
    lambda runs: [value for value, length in runs for _ in range(length)]
)
tracking = st.builds(
    TargetTracking,
    name=st.just("a"),
    metric=st.just("cpu_percent"),
    target=st.floats(10, 90),
    period_s=st.sampled_from([20, 60]),
    out_cooldown_s=st.sampled_from([0.0, 300.0, 3000.0]),
    in_cooldown_s=st.sampled_from([0.0, 300.0, 3000.0]),
)


def replay(plan, values, names=("a",)):
    """Feed the same datapoints to every policy; (time, desired) after each."""
    scaler = AutoScaler(plan, desired=plan.min_tasks)
    path = []
    for number, value in enumerate(values):
        for name in names:
            scaler.observe(name, value, scaler.desired, 60.0 * number)
            path.append((60.0 * number, scaler.desired))
    return path


@settings(max_examples=150, deadline=None)
@given(tracking, values, st.integers(1, 5), st.integers(0, 20))
def test_tasks_stay_within_the_limits(policy, values, low, room):
    for _, desired in replay(Plan(low, low + room, (policy,)), values):
        assert low <= desired <= low + room


@settings(max_examples=150, deadline=None)
@given(tracking, values)
def test_no_scale_in_happens_within_a_cooldown(policy, values):
    path = replay(Plan(1, 50, (policy,)), values)
    last_change_s = -math.inf
    cooldown_s = 0.0
    for (_, before), (now_s, after) in pairwise(path):
        if after < before:
            assert now_s >= last_change_s + cooldown_s
        if after != before:
            last_change_s = now_s
            cooldown_s = policy.out_cooldown_s if after > before else policy.in_cooldown_s


@pytest.mark.parametrize(("other_value", "scales_in"), [(0.0, True), (48.0, False)])
def test_scale_in_needs_every_tracking_policy(other_value, scales_in):
    """A value of 48 needs fewer tasks than the target of 50, but is not below 90 % of it."""
    one = TargetTracking("a", "cpu_percent", 50.0)
    other = TargetTracking("b", "cpu_percent", 50.0)
    scaler = AutoScaler(Plan(1, 50, (one, other)), desired=40)
    for number in range(60):
        scaler.observe("a", 0.0, scaler.desired, 60.0 * number)
        scaler.observe("b", other_value, scaler.desired, 60.0 * number)
    assert (scaler.desired < 40) == scales_in


def test_a_scale_out_ends_the_cooldown_of_a_scale_in():
    policy = TargetTracking("a", "cpu_percent", 50.0, out_cooldown_s=0, in_cooldown_s=36_000)
    scaler = AutoScaler(Plan(1, 50, (policy,)), desired=10)
    path = []
    for number, value in enumerate([0.0] * 15 + [100.0] * 3 + [0.0] * 15):
        scaler.observe("a", value, scaler.desired, 60.0 * number)
        path.append(scaler.desired)
    assert (path[0], path[14], path[17], path[-1]) == (10, 9, 18, 17)


def test_only_a_larger_scale_out_ignores_the_cooldown():
    plan = Plan(2, 100, (cpu(),))
    scaler = AutoScaler(plan)
    for number, value in enumerate([100.0, 100.0, 100.0]):
        scaler.observe("cpu", value, 2, 60.0 * number)
    assert scaler.desired == 4
    scaler.observe("cpu", 90.0, 2, 180.0)  # the new tasks are not up yet: asks for 4 again
    assert scaler.desired == 4
    scaler.observe("cpu", 150.0, 2, 240.0)
    assert scaler.desired == 6


def test_missing_data_never_scales():
    scaler = AutoScaler(Plan(2, 10, (cpu(),)))
    for number in range(40):
        scaler.observe("cpu", 100.0 if number % 3 else None, 2, 60.0 * number)
    assert scaler.desired == 2


def test_an_empty_trace_of_requests_is_simulated():
    rng = np.random.default_rng(0)
    traffic = Traffic("none", np.zeros(0), 600.0)
    outcome = Simulation(Plan(2, 4, (cpu(),)), traffic, ServiceTimes(1, 0, UNLOADED), rng).run()
    assert (outcome.shed_frac, outcome.mean_tasks) == (0.0, 2.0)

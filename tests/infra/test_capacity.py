"""The capacity formula: measured requests per second -> tasks and targets."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from infra import capacity, settings
from infra.app import PROD
from infra.capacity import Measured


def plan(rps_per_core: float, planned: float = 100, peak: float = 300) -> capacity.Plan:
    environment = replace(PROD, planned_rps=planned, peak_rps=peak)
    return capacity.plan(environment, Measured(rps_per_core, "test"))


@pytest.mark.parametrize(
    ("rps_per_core", "truck_min"),
    # by hand: held = rps / 2; ceil(300 / held * 3 / 2), at least one in each zone
    [(2500, 3), (300, 3), (200, 5), (80, 12), (40, 23)],
)
def test_the_peak_is_held_with_one_zone_down(rps_per_core: float, truck_min: int) -> None:
    found = plan(rps_per_core)
    assert found.truck_min_tasks == truck_min
    survivors = found.truck_min_tasks - math.ceil(found.truck_min_tasks / PROD.num_azs)
    assert survivors * found.held_rps_per_task >= 300


@pytest.mark.parametrize("rps_per_core", [20, 137, 2500, 40_000])
def test_limits_are_in_order(rps_per_core: float) -> None:
    found = plan(rps_per_core)
    assert 2 <= found.min_tasks <= found.truck_min_tasks < found.max_tasks
    assert found.truck_min_tasks >= PROD.num_azs


@pytest.mark.parametrize(
    ("rps", "num_azs", "tasks"),
    # by hand, with 100 held: one is enough, so a second one; three and two are left of five
    [(1, 3, 2), (100, 2, 2), (101, 3, 3), (101, 2, 4), (300, 3, 5), (300, 2, 6)],
)
def test_enough_tasks_remain_when_a_zone_fails(rps: float, num_azs: int, tasks: int) -> None:
    assert capacity.num_tasks(rps, 100, num_azs) == tasks
    assert (tasks - math.ceil(tasks / num_azs)) * 100 >= rps


def test_the_schedule_changes_the_number_of_tasks() -> None:
    found = capacity.plan(PROD, capacity.read_measured())
    assert found.min_tasks < found.truck_min_tasks


def test_a_faster_service_needs_no_more_tasks() -> None:
    tasks = [plan(rps).truck_min_tasks for rps in range(20, 3000, 20)]
    assert tasks == sorted(tasks, reverse=True)


def test_the_firewall_allows_the_peak_from_one_address() -> None:
    assert plan(2500).waf_limit >= 2 * 300 * settings.WAF_WINDOW_S


def test_a_peak_below_the_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="peak 10 req/s is below"):
        plan(2500, planned=100, peak=10)


def test_a_measurement_replaces_the_assumption(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    assert "assumed" in capacity.read_measured(file).source
    file.write_text(json.dumps({"requests_per_s_per_core": 3100, "measured": "2026-11-21"}))
    assert capacity.read_measured(file) == Measured(3100, "measured 2026-11-21")


def test_a_measurement_of_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_text(json.dumps({"requests_per_s_per_core": 0, "measured": "2026-11-21"}))
    with pytest.raises(ValueError, match="must be above 0"):
        capacity.read_measured(file)

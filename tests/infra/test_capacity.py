"""The capacity formula: measured requests per second -> tasks and targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import capacity, settings
from infra.capacity import Measured


def plan(rps_per_core: float, planned: float = 100, peak: float = 300) -> capacity.Plan:
    measured = Measured(rps_per_core, "test")
    return capacity.plan(planned_rps=planned, peak_rps=peak, measured=measured)


@pytest.mark.parametrize(
    ("rps_per_core", "truck_min"),
    # by hand: held = rps / 2; ceil(300 / held * 3 / 2), at least one in each zone
    [(2500, 3), (300, 3), (200, 5), (80, 12), (40, 23)],
)
def test_the_peak_is_held_with_one_zone_down(rps_per_core: float, truck_min: int) -> None:
    found = plan(rps_per_core)
    assert found.truck_min_tasks == truck_min
    survivors = found.truck_min_tasks * (settings.NUM_AZS - 1) / settings.NUM_AZS
    assert survivors * found.held_rps_per_task >= 300


@pytest.mark.parametrize("rps_per_core", [20, 137, 2500, 40_000])
def test_limits_are_in_order(rps_per_core: float) -> None:
    found = plan(rps_per_core)
    assert settings.NUM_AZS <= found.min_tasks <= found.truck_min_tasks < found.max_tasks


def test_the_target_is_the_requests_a_minute_of_a_task_at_half_busy() -> None:
    found = plan(2000)
    assert found.target_per_min == 60 * 1000


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

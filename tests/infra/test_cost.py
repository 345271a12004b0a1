"""The bill: its arithmetic, and that it counts the deployed resources."""

from __future__ import annotations

import pytest

from infra import cost, foundation_stack, prices
from infra.__main__ import main
from infra.app import ENVIRONMENTS
from infra.capacity import Measured
from infra.settings import Environment
from infra.world import World

FAST = Measured(2500, "test")


def bill(planned: float = 100, peak: float = 300, measured: Measured = FAST) -> cost.Bill:
    return cost.monthly(planned_rps=planned, peak_rps=peak, num_endpoint_azs=2, measured=measured)


def line(found: cost.Bill, what: str) -> float:
    return next(row.usd for row in found.lines if row.what.startswith(what))


def test_the_service_is_billed_by_the_task_hour() -> None:
    # by hand: 3 tasks * 730 h * (1 vCPU * 0.03725 + 2 GB * 0.00409)
    assert line(bill(), "Service") == pytest.approx(3 * 730 * (0.03725 + 2 * 0.00409))


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_prices_are_of_the_region_that_is_deployed_to(environment: Environment) -> None:
    assert environment.region == prices.REGION


def test_reading_the_keys_every_20_s_is_billed() -> None:
    # by hand: 3 tasks * 730 h * 180 reads at 5 USD a million
    calls = 3 * 730 * 180 / 1e6 * 5
    assert line(bill(), "Keys") == pytest.approx(2 * 1.0 + 3 * 0.4 + calls)


def test_lambda_is_billed_by_request_and_gigabyte_second() -> None:
    # by hand, for one million reads of 1 + 2 ms: 0.20 + 1e6 * 0.003 s * 1.769 GB * 0.0000133334
    found = bill()
    million = 0.20 + 3000 * 1.769 * 0.0000133334
    assert f"Lambda  {found.num_reads / 1e6 * million:8.2f} USD" in cost.with_lambda(found)


def test_the_price_list_and_its_date_are_printed() -> None:
    head = cost.table(bill()).splitlines()[0]
    assert head == f"USD a month, {prices.LIST} of {prices.AS_OF} in {prices.REGION}"


def test_endpoints_are_billed_by_zone() -> None:
    assert line(bill(), "Interface") == pytest.approx(6 * 2 * 730 * prices.ENDPOINT_AZ_H)


def test_the_bill_counts_the_endpoints_that_are_deployed(worlds: dict[str, World]) -> None:
    deployed = [e for e in worlds["prod"].all("EC2::VPCEndpoint") if e.get("SubnetIds")]
    planned = len(foundation_stack.INTERFACE_ENDPOINTS)
    assert len(deployed) == cost.NUM_INTERFACE_ENDPOINTS == planned


def test_a_slow_service_costs_more_tasks() -> None:
    slow = bill(measured=Measured(40, "test"))
    assert line(slow, "Service") > 3 * line(bill(), "Service")


def test_the_cost_per_read_falls_with_volume() -> None:
    assert bill(1000, 3000).usd_per_million < bill().usd_per_million / 3
    assert bill(1000, 3000).total_usd > bill().total_usd


def test_the_command_prints_total_and_cost_per_million(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--rps", "100", "--peak", "300"]) == 0
    printed = capsys.readouterr().out
    assert "Total" in printed
    assert "USD per million" in printed

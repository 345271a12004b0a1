"""The bill: its arithmetic, its limits, and that it counts the deployed resources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra import capacity, cost, foundation_stack, lookups, prices
from infra.__main__ import COMPARISON, main
from infra.app import ENVIRONMENTS, LEAN, PROD
from infra.capacity import Measured
from infra.settings import Environment
from infra.world import World

FAST = Measured(2500, "test")
TASK_HOURS = 3 * 8.25 * 6 * 730 / 168 + 2 * (730 - 8.25 * 6 * 730 / 168)  # 3 in truck hours, else 2


def bill(environment: Environment = PROD, measured: Measured = FAST) -> cost.Bill:
    return cost.monthly(environment, measured)


def line(found: cost.Bill, what: str) -> float:
    return next(row.usd for row in found.lines if row.what.startswith(what))


def test_production_costs_at_most_2_50_usd_a_million_reads() -> None:
    found = bill(PROD, capacity.read_measured())
    assert found.num_reads == pytest.approx(86.7e6, rel=0.01)
    assert found.usd_per_million <= 2.50
    promised = f"costs {found.usd_per_million:.2f} USD for a million reads at 86.7 million a month"
    assert promised in COMPARISON.read_text()


def test_an_office_costs_at_most_100_usd_a_month() -> None:
    found = bill(LEAN, capacity.read_measured())
    assert found.num_reads == pytest.approx(11e6, rel=0.01)
    assert found.total_usd <= 100


def test_the_service_is_billed_by_the_task_hour() -> None:
    assert line(bill(), "Service") == pytest.approx(TASK_HOURS * (0.03725 + 2 * 0.00409))


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_prices_are_of_the_region_that_is_deployed_to(environment: Environment) -> None:
    assert environment.region == prices.REGION


def test_reading_the_keys_every_20_s_is_billed() -> None:
    # by hand: 180 reads in a task hour and one a minute from outside, at 5 USD a million for the
    # secret and 3 for its key
    calls = (TASK_HOURS * 180 + 730 * 60) / 1e6 * (5 + 3)
    assert line(bill(), "Keys") == pytest.approx(2 * 1.0 + 4 * 0.4 + calls)


def test_the_synthetic_read_is_billed() -> None:
    # by hand: 43,800 seconds of a quarter of a gigabyte, and as many calls at 0.20 USD a million
    by_hand = 43_800 * 0.25 * 0.0000133334 + 43_800 / 1e6 * 0.20
    assert line(bill(), "Functions") == pytest.approx(by_hand)


def test_lambda_is_billed_by_request_and_gigabyte_second() -> None:
    # by hand, for one million reads of 1 + 2 ms: 0.20 + 1e6 * 0.003 s * 1.769 GB * 0.0000133334
    found = bill()
    million = 0.20 + 3000 * 1.769 * 0.0000133334
    assert f"Lambda  {found.num_reads / 1e6 * million:8.2f} USD" in cost.with_lambda(found)


def test_the_price_list_and_its_date_are_printed() -> None:
    head = cost.table(bill()).splitlines()[0]
    assert head == f"USD a month, {prices.LIST} of {prices.AS_OF} in {prices.REGION}"


def test_endpoints_are_billed_by_zone() -> None:
    two = bill(replace(PROD, num_endpoint_azs=2))
    assert line(two, "Interface") == pytest.approx(6 * 2 * 730 * prices.ENDPOINT_AZ_H)


def test_tasks_without_endpoints_pay_for_their_addresses() -> None:
    addresses = bill(replace(PROD, num_endpoint_azs=0))
    assert line(addresses, "Public") == pytest.approx((3 * 730 + TASK_HOURS) * prices.IPV4_H)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_the_bill_counts_what_is_deployed(
    worlds: dict[str, World], environment: Environment
) -> None:
    world, comforts = worlds[environment.name], environment.has_comforts
    endpoints = [e for e in world.all("EC2::VPCEndpoint") if e.get("SubnetIds")]
    planned = len(foundation_stack.INTERFACE_ENDPOINTS) if environment.is_isolated else 0
    assert len(endpoints) == planned <= cost.NUM_INTERFACE_ENDPOINTS
    (acl,) = world.all("WAFv2::WebACL")
    assert len(acl.get("Rules")) == cost.NUM_FIREWALL_RULES
    secrets = cost.NUM_SECRETS + (cost.NUM_COMFORT_SECRETS if comforts else 0)
    assert len(world.all("SecretsManager::Secret")) == secrets
    assert len(world.all("KMS::Key")) == (2 if comforts else 1)
    alarms = [a for a in world.all("CloudWatch::Alarm") if min(lookups.periods(a)) >= 60]
    metrics = sum(max(1, sum("MetricStat" in q for q in a.get("Metrics", []))) for a in alarms)
    counted = cost.NUM_ALARM_METRICS - (0 if comforts else cost.NUM_COMFORT_ALARM_METRICS)
    assert metrics <= counted <= metrics + 6, "CloudWatch bills each metric of an alarm"


def test_a_slow_service_costs_more_tasks() -> None:
    slow = bill(measured=Measured(40, "test"))
    assert line(slow, "Service") > 3 * line(bill(), "Service")


def test_the_cost_per_read_falls_with_volume() -> None:
    tenfold = bill(replace(PROD, planned_rps=1000, peak_rps=3000))
    assert tenfold.usd_per_million < bill().usd_per_million / 3
    assert tenfold.total_usd > bill().total_usd


def test_the_command_prints_total_and_cost_per_million(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--environment", "lean"]) == 0
    printed = capsys.readouterr().out
    assert "Total" in printed
    assert "USD per million" in printed

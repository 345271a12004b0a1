"""The simulator where theory is known."""

import numpy as np
import pytest

from loadtest.simulator.policies import Plan
from loadtest.simulator.queueing import SHED, Servers, erlang_c, mmc_wait_s
from loadtest.simulator.service import ServiceTimes
from loadtest.simulator.simulate import Simulation
from loadtest.simulator.traffic import constant_rates, poisson

NOTHING = tuple([0.0] * 101)


def run(*, rate, servers, duration_s, seed=5):
    rng = np.random.default_rng(seed)
    service = ServiceTimes(100.0, 1.0, NOTHING, max_wait_ms=1e9, kind="exponential")
    traffic = poisson("test", constant_rates(rate, duration_s), rng)
    return Simulation(Plan(servers, servers), traffic, service, rng).run()


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 2.1), (10, 8.0)])
def test_mean_wait_equals_mmc_within_two_percent(servers, load):
    rate = load / 0.1
    outcome = run(rate=rate, servers=servers, duration_s=1_500_000 / rate)
    assert outcome.wait_s.mean() == pytest.approx(mmc_wait_s(rate, 0.1, servers), rel=0.02)


def test_the_share_that_waits_equals_erlang_c():
    outcome = run(rate=21.0, servers=3, duration_s=50_000)
    assert (outcome.wait_s > 0).mean() == pytest.approx(erlang_c(2.1, 3), rel=0.02)


def test_littles_law_holds():
    """Requests in the system, counted at fixed moments, equal rate times time in the system."""
    rng = np.random.default_rng(3)
    service = ServiceTimes(100.0, 0.5, NOTHING, max_wait_ms=1e9)
    traffic = poisson("test", constant_rates(24.0, 20_000), rng)
    services_s = service.draw_s(len(traffic.arrivals_s), np.random.default_rng(9))
    servers = Servers()
    servers.set_number(3, 0.0)
    waits = servers.serve(traffic.arrivals_s, services_s, 1e9)
    leaves = np.sort(traffic.arrivals_s + waits + services_s)
    moments = np.linspace(1_000, 19_000, 200_000)
    inside = np.searchsorted(traffic.arrivals_s, moments) - np.searchsorted(leaves, moments)
    rate = len(traffic.arrivals_s) / traffic.duration_s
    assert inside.mean() == pytest.approx(rate * (waits + services_s).mean(), rel=0.02)


def test_the_queue_is_first_come_first_served():
    servers = Servers()
    servers.set_number(2, 0.0)
    waits = servers.serve(np.array([0.0, 0.0, 0.0, 1.0]), np.array([3.0, 1.0, 1.0, 1.0]), 1e9)
    assert waits.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_request_that_would_wait_too_long_is_refused_and_leaves_no_work():
    servers = Servers()
    servers.set_number(1, 0.0)
    waits = servers.serve(np.array([0.0, 0.1, 1.1]), np.array([1.0, 1.0, 1.0]), 0.5)
    assert waits.tolist() == [0.0, SHED, 0.0]


def test_new_servers_are_free_from_now_and_taken_ones_finish_their_work():
    servers = Servers()
    servers.set_number(1, 0.0)
    servers.serve(np.array([0.0]), np.array([10.0]), 1e9)
    servers.set_number(2, 4.0)
    assert sorted(servers.free_at_s) == [4.0, 10.0]
    servers.set_number(1, 5.0)
    assert servers.free_at_s == [10.0]


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_drawn_service_times_have_the_mean_and_spread_asked_for(spread):
    times = ServiceTimes(2.0, spread, NOTHING).draw_s(400_000, np.random.default_rng(1))
    assert times.mean() == pytest.approx(0.002, rel=0.02)
    assert times.std() / times.mean() == pytest.approx(spread, rel=0.05, abs=1e-9)


def test_latency_without_load_is_the_measured_one():
    unloaded = tuple(np.linspace(1.0, 3.0, 101))
    rng = np.random.default_rng(2)
    traffic = poisson("test", constant_rates(5.0, 2_000), rng)
    outcome = Simulation(Plan(3, 3), traffic, ServiceTimes(0.1, 0.2, unloaded), rng).run()
    assert outcome.percentile_ms(50) == pytest.approx(2.0, rel=0.02)
    assert outcome.percentile_ms(99) == pytest.approx(2.98, rel=0.02)

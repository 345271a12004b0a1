"""The simulator against queueing theory."""

from itertools import pairwise

import numpy as np
import pytest

from loadtest.simulator.arrivals import Traffic, constant_rates, poisson
from loadtest.simulator.policies import Plan
from loadtest.simulator.queueing import REFUSED, Cores, erlang_c, mmc_wait_s
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Simulation
from loadtest.simulator.validate import Recorded

NOTHING = tuple([0.0] * 101)


def run(*, rate, servers, duration_s, seed=5):
    rng = np.random.default_rng(seed)
    service = ServiceTimes(100.0, 1.0, NOTHING, max_wait_ms=1e9, kind="exponential")
    traffic = poisson("test", constant_rates(rate, duration_s), rng)
    return Simulation(Plan(servers, servers), traffic, service, rng).run()


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 2.1), (10, 8.0)])
def test_mean_wait_equals_mmc_within_two_percent(servers, load):
    rate = load / 0.1
    outcome = run(rate=rate, servers=servers, duration_s=600_000 / rate)
    assert outcome.wait_s.mean() == pytest.approx(mmc_wait_s(rate, 0.1, servers), rel=0.02)


def test_the_share_that_waits_equals_erlang_c():
    outcome = run(rate=21.0, servers=3, duration_s=50_000)
    assert (outcome.wait_s > 0).mean() == pytest.approx(erlang_c(2.1, 3), rel=0.02)


@pytest.fixture(scope="module")
def watched():
    """Three cores at 80 % load: their state once a second, and each request's wait and work.

    The two are computed independently, so the laws below can fail.
    """
    rng = np.random.default_rng(3)
    traffic = poisson("test", constant_rates(24.0, 20_000), rng)
    services_s = ServiceTimes(100.0, 0.5, NOTHING).draw_s(len(traffic.arrivals_s), rng)
    servers, busy, work_s, waits = Cores(), [], [], []
    servers.set_number(3, 0.0)
    moments = np.arange(1.0, traffic.duration_s + 1.0)
    edges = np.searchsorted(traffic.arrivals_s, np.append(0.0, moments))
    for now_s, (first, last) in zip(moments, pairwise(edges), strict=True):
        arrived = slice(first, last)
        waits.append(servers.serve(traffic.arrivals_s[arrived], services_s[arrived], 1e9))
        left_s = np.array(servers.free_at_s) - now_s
        busy.append((left_s > 0).sum())
        work_s.append(left_s[left_s > 0].sum())
    rate = len(traffic.arrivals_s) / traffic.duration_s
    return np.mean(busy), np.mean(work_s), rate, np.concatenate(waits), services_s


def test_littles_law_holds_for_the_cores(watched):
    """The mean number of busy cores equals rate times service time."""
    busy, _, rate, _, services_s = watched
    assert busy == pytest.approx(rate * services_s.mean(), rel=0.01)


def test_littles_law_holds_for_the_work(watched):
    """The mean work in the system equals rate times the work-time of one request.

    A request of S seconds contributes S while it waits W, then its remainder: W S + S^2 / 2
    (Brumelle 1971, H = lambda G).
    """
    _, work_s, rate, waits, services_s = watched
    added = (waits * services_s + services_s**2 / 2).mean()
    assert work_s == pytest.approx(rate * added, rel=0.02)


def test_the_queue_is_first_come_first_served():
    servers = Cores()
    servers.set_number(2, 0.0)
    waits = servers.serve(np.array([0.0, 0.0, 0.0, 1.0]), np.array([3.0, 1.0, 1.0, 1.0]), 1e9)
    assert waits.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_request_with_too_long_a_wait_is_refused_and_adds_no_work():
    servers = Cores()
    servers.set_number(1, 0.0)
    waits = servers.serve(np.array([0.0, 0.1, 1.1]), np.array([1.0, 1.0, 1.0]), 0.5)
    assert waits.tolist() == [0.0, REFUSED, 0.0]


def test_new_cores_are_free_at_once_and_removed_ones_finish_their_work():
    servers = Cores()
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


@pytest.mark.parametrize(("cpu_ms", "other_ms"), [(15.0, 5.0), (9.0, 0.0)])
def test_recorded_requests_have_their_own_work_and_wait_for_earlier_requests(cpu_ms, other_ms):
    """By hand: the second request waits for the first, the third arrives when both are done."""
    traffic = Traffic("trace", np.array([0.0, 0.004, 0.5]), 1.0)
    recorded = Recorded(np.array([8.0, 12.0, 10.0]), cpu_ms, overhead_ms=2.0)
    outcome = Simulation(Plan(1, 1), traffic, recorded, np.random.default_rng(0)).run()
    assert outcome.wait_s * 1e3 == pytest.approx([0.0, 8.0 + other_ms - 4.0, 0.0])
    assert outcome.latency_ms == pytest.approx([10.0, 14.0 + 4.0 + other_ms, 12.0])

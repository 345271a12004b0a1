import json

import numpy as np
import pytest

from contract import slo
from infra import capacity
from loadtest.simulator import arrivals, high_rates, service_times, simulate_command
from loadtest.simulator.figures import Figures, cheapest, figures_of, lcus, pareto
from loadtest.simulator.policies import Plan
from loadtest.simulator.service_fit import spread_of
from loadtest.simulator.simulate import Simulation
from pages.chart import nice

OBJECTIVE = slo.load()
UNLOADED = tuple([2.0] * 101)


def setting(usd, p99_ms, *, meets=True):
    return Figures(1, 1.0, 1.0, p99_ms, p99_ms, 0.0, 1.0, 1, usd, meets)


def outcome_of(tasks, rps, seconds=600, busy_ms=10.0):
    rng = np.random.default_rng(1)
    load = arrivals.poisson("p", arrivals.constant_rates(rps, seconds), rng)
    plan = Plan(tasks, tasks)
    measured = service_times.ServiceTimes(busy_ms, 0.2, UNLOADED)
    return Simulation(plan, load, measured, rng).run(), plan


def test_enough_tasks_meet_the_slo_and_too_few_do_not():
    good = figures_of(*outcome_of(4, 200), OBJECTIVE)
    bad = figures_of(*outcome_of(1, 200), OBJECTIVE)
    assert good.meets_slo
    assert not bad.meets_slo
    assert bad.shed_frac == pytest.approx(0.5, abs=0.05)  # the load is twice one task's capacity
    assert good.usd_per_month > bad.usd_per_month


def test_the_cheapest_setting_is_one_that_meets_the_slo():
    settings = [setting(10, 900, meets=False), setting(30, 50), setting(20, 90)]
    assert cheapest(settings).usd_per_month == 20
    assert cheapest(settings[:1]) is None


def test_the_pareto_front_drops_settings_that_cost_more_and_are_slower():
    settings = [setting(10, 90), setting(20, 95), setting(30, 50), setting(40, 50)]
    assert [one.usd_per_month for one in pareto(settings)] == [10, 30]


def test_bytes_determine_the_load_balancers_capacity_units():
    assert lcus(10_000) == pytest.approx(72)


def test_a_csv_trace_and_a_service_log_give_the_same_arrivals(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("time,x\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:03Z,1\n")
    log = tmp_path / "a.log"
    lines = [
        {"timestamp": "2026-01-01T00:00:00Z", "status": 200},
        {"timestamp": "2026-01-01T00:00:02Z", "event": "draining"},
        {"timestamp": "2026-01-01T00:00:03Z", "status": 503},
    ]
    log.write_text("starting\n" + "\n".join(map(json.dumps, lines)))
    assert arrivals.recorded(table).arrivals_s.tolist() == [0, 3]
    assert arrivals.recorded(log).arrivals_s.tolist() == [0, 3]


def test_a_trace_without_requests_is_an_error(tmp_path):
    empty = tmp_path / "a.csv"
    empty.write_text("time\n")
    with pytest.raises(ValueError, match="no request"):
        arrivals.recorded(empty)


def test_trucks_unload_every_quarter_of_an_hour():
    rates = arrivals.truck_rates(300, 3600)
    assert (rates == 300).sum() == 4 * arrivals.TRUCK_S
    assert rates.min() == 10


def test_the_spread_ignores_the_tail_of_the_latencies():
    percentiles = np.full(101, 2.0)
    percentiles[98:] = 500.0
    assert spread_of(percentiles) == 0


def test_a_simulation_writes_its_page_and_figures(tmp_path, capsys):
    times = {
        "busy_ms": 5.0,
        "spread": 0.3,
        "unloaded_ms": UNLOADED,
        "max_wait_ms": 300.0,
        "kind": "lognormal",
        "source": "a test",
    }
    file = tmp_path / "times.json"
    file.write_text(json.dumps(times))
    arguments = ["--service", str(file), "--hours", "0.1", "--sweep", "--out", str(tmp_path)]
    assert simulate_command.simulate(arguments) == 0
    assert "cheapest that meets the SLO" in capsys.readouterr().out
    kept = json.loads((tmp_path / "simulate.json").read_text())
    assert len(kept["sweep"]) > 3
    document = (tmp_path / "simulate.html").read_text()
    assert document.count("<svg") == 5
    assert "http" not in document.replace("http://www.w3.org", "")  # the page loads nothing


def test_the_same_seed_gives_the_same_answer():
    first, _ = outcome_of(2, 150)
    second, _ = outcome_of(2, 150)
    assert np.array_equal(first.latency_ms, second.latency_ms)


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1), (0.03, 0.05), (1, 1), (7, 10), (130, 200), (4100, 5000)]
)
def test_an_axis_ends_on_a_round_number(value, end):
    assert nice(value) == pytest.approx(end)


def test_a_hundredfold_rate_needs_more_tasks_and_holds_with_one_zone_lost():
    plan = Plan(3, 6)
    busy_ms = 1e3 / capacity.read_measured().rps_per_core
    measured = service_times.ServiceTimes(busy_ms, 0.3, UNLOADED)
    small, large = (high_rates.size(rps, plan, measured) for rps in (100, 10_000))
    assert large.tasks > small.tasks >= 3
    assert large.shed_frac_without_zone == 0
    assert large.lcus == pytest.approx(100 * small.lcus)
    assert large.usd_per_month > small.usd_per_month

"""`python -m loadtest simulate`: capacity on paper."""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from contract import slo
from contract.slo import Slo
from loadtest import command_line, machine, page, servers
from loadtest.simulator import arrivals, deployed_policies, service_times
from loadtest.simulator.answer import Answer, answer, binned, cheapest, pareto, record
from loadtest.simulator.arrivals import Traffic
from loadtest.simulator.policies import Plan
from loadtest.simulator.service_fit import measure
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Outcome, Simulation

TEMPLATES: Final = servers.ROOT / "infra" / "snapshots" / "prod"
RESULTS: Final = Path("results") / "simulate"
SWEEP_TARGETS: Final = (0.5, 1.0, 1.5)
RATES: Final = {
    "poisson": arrivals.constant_rates,
    "trucks": arrivals.truck_rates,
    "day": arrivals.day_rates,
}


def _parser() -> argparse.ArgumentParser:
    parser = command_line.parser("simulate", simulate.__doc__)
    parser.add_argument("--arrivals", choices=RATES, default="trucks")
    parser.add_argument("--trace", type=Path, help="recorded requests, instead of --arrivals")
    parser.add_argument("--rps", type=float, help="the peak rate; default: the SLO's burst")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--start-minute", type=int, default=5 * 60, help="of the week, Monday 0:00")
    parser.add_argument("--templates", type=Path, default=TEMPLATES, help="synthesised, folder")
    parser.add_argument(
        "--service", type=Path, default=service_times.SERVICE_FILE, help="measured file"
    )
    parser.add_argument("--fit", metavar="URL", help="measure a running service instead")
    command_line.add_keys(parser)
    parser.add_argument("--min-tasks", type=int, help="instead of the templates'")
    parser.add_argument("--max-tasks", type=int, help="instead of the templates'")
    parser.add_argument("--sweep", action="store_true", help="minimum tasks and targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def simulate(arguments: list[str]) -> int:
    """Simulate the deployment under a load, as deployed and swept."""
    chosen = _parser().parse_args(arguments)
    objective = slo.load()
    measured = _service(chosen)
    plan = _plan(chosen)
    begun = time.perf_counter()
    load = _traffic(chosen, objective)
    outcome = run(plan, load, measured, chosen.seed, chosen.start_minute)
    one = answer(outcome, plan, objective)
    sweep = _sweep(chosen, plan, load, measured, objective) if chosen.sweep else []
    seconds = time.perf_counter() - begun
    print(text(load, one, sweep))
    print(
        f"{len(load.arrivals_s):,} requests simulated in {seconds:.1f} s"
        + (f", {len(sweep) + 1} times" if sweep else "")
    )
    _keep(chosen.out, arguments, measured, load, plan, outcome, one, sweep)
    return 0


def _service(chosen: argparse.Namespace) -> ServiceTimes:
    if chosen.fit:
        return replace(measure(chosen.fit, chosen.keys), source=f"measured now at {chosen.fit}")
    return service_times.read(chosen.service)


def _plan(chosen: argparse.Namespace) -> Plan:
    plan = deployed_policies.read_plan(chosen.templates)
    if chosen.min_tasks is not None:
        plan = plan.with_minimum(chosen.min_tasks)
    if chosen.max_tasks is not None:
        plan = plan.with_maximum(chosen.max_tasks)
    return plan


def _traffic(chosen: argparse.Namespace, objective: Slo) -> Traffic:
    if chosen.trace:
        return arrivals.recorded(chosen.trace)
    rates = RATES[chosen.arrivals](chosen.rps or objective.burst_rps, 3600 * chosen.hours)
    return arrivals.poisson(chosen.arrivals, rates, np.random.default_rng(chosen.seed))


def run(plan: Plan, load: Traffic, measured: ServiceTimes, seed: int, start: int) -> Outcome:
    """One simulation; the same seed gives the same outcome."""
    return Simulation(plan, load, measured, np.random.default_rng(seed + 1), start).run()


def _sweep(
    chosen: argparse.Namespace, plan: Plan, load: Traffic, measured: ServiceTimes, objective: Slo
) -> list[Answer]:
    answers = []
    for number in range(1, max(plan.min_tasks, 4) * 2 + 1):
        for factor in SWEEP_TARGETS:
            tried = plan.with_minimum(number).with_target_scale(factor)
            outcome = run(tried, load, measured, chosen.seed, chosen.start_minute)
            answers.append(answer(outcome, tried, objective, target_scale=factor))
    return answers


def _row(one: Answer) -> list[str]:
    return [
        f"{one.min_tasks}",
        f"{one.target_scale:g}",
        f"{one.p50_ms:.1f}",
        f"{one.p99_ms:.1f}",
        f"{one.worst_minute_p99_ms:.1f}",
        f"{one.shed_frac:.4%}",
        f"{one.mean_tasks:.1f}",
        f"{one.max_tasks}",
        f"{one.usd_per_month:,.0f}",
        "yes" if one.meets_slo else "no",
    ]


HEADER: Final = [
    "min tasks",
    "target x",
    "p50 ms",
    "p99 ms",
    "worst minute p99 ms",
    "refused",
    "mean tasks",
    "most tasks",
    "USD/month",
    "SLO",
]


def text(load: Traffic, one: Answer, sweep: list[Answer]) -> str:
    """The answers as lines."""
    rows = [HEADER, _row(one), *[_row(other) for other in pareto(sweep)]]
    lines = [
        f"{load.name}: as deployed" + (", then the Pareto front of the sweep" if sweep else "")
    ]
    lines.append(command_line.table(rows))
    if sweep:
        best = cheapest(sweep)
        lines.append(
            "no setting of the sweep meets the SLO"
            if best is None
            else f"cheapest that meets the SLO: at least {best.min_tasks} tasks, targets x"
            f"{best.target_scale:g}: {best.usd_per_month:,.0f} USD/month"
        )
    return "\n".join(lines)


def _keep(
    out: Path,
    arguments: list[str],
    measured: ServiceTimes,
    load: Traffic,
    plan: Plan,
    outcome: Outcome,
    one: Answer,
    sweep: list[Answer],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    source = machine.source(["python -m loadtest simulate", *arguments])
    content: dict[str, Any] = {"source": source, "service": measured.source, "answer": record(one)}
    content["sweep"] = [record(other) for other in sweep]
    (out / "simulate.json").write_text(json.dumps(content, indent=1) + "\n")
    intro = (
        f"{len(load.arrivals_s):,} requests in {load.duration_s / 3600:.1f} h. Service times: "
        f"{measured.source}. Limits and policies: {plan.min_tasks} to {plan.max_tasks} tasks, "
        f"{len(plan.policies)} policies, from the deployment's templates. {source}"
    )
    rows = [HEADER, _row(one), *[_row(other) for other in pareto(sweep)]]
    document = page.page("Capacity, simulated", intro, rows, charts(outcome, sweep))
    (out / "simulate.html").write_text(document)
    print(f"kept in {out}/simulate.html and .json")


def charts(outcome: Outcome, sweep: list[Answer]) -> list[page.Chart]:
    """Arrivals, tasks, latency and refusals on one time axis; the sweep below."""
    width_s = max(10.0, outcome.duration_s / 400)
    starts = np.arange(0.0, outcome.duration_s, width_s)
    rows = binned(outcome, starts, width_s)
    minutes = (starts / 60).tolist()
    last = outcome.duration_s / 60
    changes = [*outcome.tasks, (outcome.duration_s, *outcome.tasks[-1][1:])]
    times = [at_s / 60 for at_s, _, _ in changes]
    drawn = [
        page.Chart("Requests a second", [page.Line("arrivals", minutes, rows["rps"])], "min", last),
        page.Chart(
            "Tasks",
            [
                page.Line("wanted", times, [wanted for _, wanted, _ in changes], is_step=True),
                page.Line("in service", times, [run for _, _, run in changes], is_step=True),
            ],
            "min",
            last,
        ),
        page.Chart(
            "Latency, ms",
            [
                page.Line("p50", minutes, rows["p50_ms"]),
                page.Line("p99", minutes, rows["p99_ms"]),
            ],
            "min",
            last,
        ),
        page.Chart(
            "Refused, % of requests",
            [page.Line("refused", minutes, [100 * share for share in rows["shed_frac"]])],
            "min",
            last,
        ),
    ]
    if sweep:
        drawn.append(_pareto_chart(sweep))
    return drawn


def _pareto_chart(sweep: list[Answer]) -> page.Chart:
    front = pareto(sweep)
    return page.Chart(
        "The sweep: worst-minute p99 in ms over USD a month",
        [
            page.Line(
                "every setting",
                [one.usd_per_month for one in sweep],
                [one.worst_minute_p99_ms for one in sweep],
                dots_only=True,
            ),
            page.Line(
                "Pareto front",
                [one.usd_per_month for one in front],
                [one.worst_minute_p99_ms for one in front],
                is_step=True,
            ),
        ],
        "USD",
        page.nice(max(one.usd_per_month for one in sweep)),
    )

"""`python -m loadtest simulate`: latency, refusals, tasks and cost of the deployment."""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from contract import slo
from contract.slo import Slo
from loadtest import command_line, machine, servers
from loadtest.simulator import arrivals, deployed_policies, service_times
from loadtest.simulator.arrivals import Traffic
from loadtest.simulator.figures import Figures, binned, cheapest, figures_of, pareto
from loadtest.simulator.policies import Plan
from loadtest.simulator.service_fit import measure
from loadtest.simulator.service_times import ServiceTimes
from loadtest.simulator.simulate import Outcome, Simulation
from pages.chart import Chart, Line, nice
from pages.templating import render

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
    default = "(default: %(default)s)"
    parser.add_argument(
        "--arrivals", choices=RATES, default="trucks", help=f"shape of the load {default}"
    )
    parser.add_argument(
        "--trace", type=Path, help="CSV or JSON lines of recorded requests (default: --arrivals)"
    )
    parser.add_argument("--rps", type=float, help="peak rate (default: burst_rps of the SLO)")
    parser.add_argument(
        "--hours", type=float, default=2.0, help=f"length of the simulated load {default}"
    )
    parser.add_argument(
        "--start-minute",
        type=int,
        default=5 * 60,
        help=f"start, in minutes after Monday 00:00, local time of the schedules {default}",
    )
    command_line.add_path(
        parser, "--templates", TEMPLATES, "folder of the synthesised CloudFormation templates"
    )
    command_line.add_path(
        parser, "--service", service_times.SERVICE_FILE, service_times.SERVICE_HELP
    )
    parser.add_argument(
        "--fit", metavar="URL", help="measure this running service now (default: read --service)"
    )
    command_line.add_keys(parser)
    parser.add_argument("--min-tasks", type=int, help="fewest tasks (default: the templates')")
    parser.add_argument("--max-tasks", type=int, help="most tasks (default: the templates')")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="also simulate other minimums of tasks, with policy targets times 0.5, 1 and 1.5",
    )
    parser.add_argument("--seed", type=int, default=1, help=f"of the random numbers {default}")
    command_line.add_path(parser, "--out", RESULTS, "folder for the page and the JSON")
    return parser


def simulate(arguments: list[str]) -> int:
    """Simulate the deployment under a load; with --sweep under other settings too."""
    chosen = _parser().parse_args(arguments)
    objective = slo.load()
    measured = _service(chosen)
    plan = _plan(chosen)
    begun = time.perf_counter()
    load = _traffic(chosen, objective)
    outcome = run(plan, load, measured, chosen.seed, chosen.start_minute)
    one = figures_of(outcome, plan, objective)
    sweep = _sweep(chosen, plan, load, measured, objective) if chosen.sweep else []
    seconds = time.perf_counter() - begun
    print(text(load, one, sweep))
    print(
        f"{len(load.arrivals_s):,} requests simulated in {seconds:.1f} s"
        + (f", {len(sweep) + 1} times" if sweep else "")
    )
    _write(chosen.out, arguments, measured, load, plan, outcome, one, sweep)
    return 0


def _service(chosen: argparse.Namespace) -> ServiceTimes:
    if chosen.fit:
        return replace(
            measure(chosen.fit, chosen.keys), source=f"measured during this run at {chosen.fit}"
        )
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
    """Run one simulation; the same seed gives the same outcome."""
    return Simulation(plan, load, measured, np.random.default_rng(seed + 1), start).run()


def _sweep(
    chosen: argparse.Namespace, plan: Plan, load: Traffic, measured: ServiceTimes, objective: Slo
) -> list[Figures]:
    settings = []
    for number in range(1, max(plan.min_tasks, 4) * 2 + 1):
        for factor in SWEEP_TARGETS:
            tried = plan.with_minimum(number).with_target_scale(factor)
            outcome = run(tried, load, measured, chosen.seed, chosen.start_minute)
            settings.append(figures_of(outcome, tried, objective, target_scale=factor))
    return settings


def _rows(one: Figures, sweep: list[Figures]) -> list[list[str]]:
    return [HEADER, *map(_row, [one, *pareto(sweep)])]


def _row(one: Figures) -> list[str]:
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


def text(load: Traffic, one: Figures, sweep: list[Figures]) -> str:
    """The figures as a table; after a sweep with the cheapest setting that meets the SLO."""
    title = f"{load.name}: as deployed"
    lines = [title + (", then the Pareto front of the sweep" if sweep else "")]
    lines.append(command_line.table(_rows(one, sweep)))
    if sweep:
        best = cheapest(sweep)
        lines.append(
            "no setting of the sweep meets the SLO"
            if best is None
            else f"cheapest that meets the SLO: minimum {best.min_tasks} tasks, targets times "
            f"{best.target_scale:g}: {best.usd_per_month:,.0f} USD/month"
        )
    return "\n".join(lines)


def _write(
    out: Path,
    arguments: list[str],
    measured: ServiceTimes,
    load: Traffic,
    plan: Plan,
    outcome: Outcome,
    one: Figures,
    sweep: list[Figures],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    source = machine.source(["python -m loadtest simulate", *arguments])
    content: dict[str, Any] = {"source": source, "service": measured.source, "answer": asdict(one)}
    content["sweep"] = [asdict(other) for other in sweep]
    (out / "simulate.json").write_text(json.dumps(content, indent=1) + "\n")
    intro = (
        f"{len(load.arrivals_s):,} requests in {load.duration_s / 3600:.1f} h. Service times: "
        f"{measured.source}. Limits and policies from the deployment's templates: "
        f"{plan.min_tasks} to {plan.max_tasks} tasks, {len(plan.policies)} policies. {source}"
    )
    document = render(
        "measurement.html",
        title="Simulated capacity",
        intro=intro,
        rows=_rows(one, sweep),
        charts=charts(outcome, sweep),
    )
    (out / "simulate.html").write_text(document)
    print(f"written: {out}/simulate.html and {out}/simulate.json")


def charts(outcome: Outcome, sweep: list[Figures]) -> list[Chart]:
    """Arrivals, tasks, latency and refusals on one time axis; then the sweep."""
    width_s = max(10.0, outcome.duration_s / 400)
    starts = np.arange(0.0, outcome.duration_s, width_s)
    rows = binned(outcome, starts, width_s)
    minutes = (starts / 60).tolist()
    changes = [*outcome.tasks, (outcome.duration_s, *outcome.tasks[-1][1:])]
    times = [at_s / 60 for at_s, _, _ in changes]

    def over_time(title: str, *lines: Line) -> Chart:
        return Chart(title, lines, "min", outcome.duration_s / 60)

    drawn = [
        over_time("Requests a second", Line("arrivals", minutes, rows["rps"])),
        over_time(
            "Tasks",
            Line("desired", times, [desired for _, desired, _ in changes], is_step=True),
            Line("in service", times, [running for _, _, running in changes], is_step=True),
        ),
        over_time(
            "Latency, ms",
            Line("p50", minutes, rows["p50_ms"]),
            Line("p99", minutes, rows["p99_ms"]),
        ),
        over_time(
            "Refused, % of requests",
            Line("refused", minutes, [100 * share for share in rows["shed_frac"]]),
        ),
    ]
    if sweep:
        drawn.append(_pareto_chart(sweep))
    return drawn


def _pareto_chart(sweep: list[Figures]) -> Chart:
    front = pareto(sweep)
    return Chart(
        "Sweep: p99 of the worst minute, ms, against USD/month",
        [
            Line(
                "every setting",
                [one.usd_per_month for one in sweep],
                [one.worst_minute_p99_ms for one in sweep],
                dots_only=True,
            ),
            Line(
                "Pareto front",
                [one.usd_per_month for one in front],
                [one.worst_minute_p99_ms for one in front],
                is_step=True,
            ),
        ],
        "USD",
        nice(max(one.usd_per_month for one in sweep)),
    )

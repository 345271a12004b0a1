"""`python -m loadtest soak`: the sustained rate for long, with charts of memory and latency.

Fails if requests failed, p99 was above the SLO in more than 1 % of the intervals, or memory grew by
more than 10 MB after the first minute.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract import slo
from loadtest import command_line, machine
from loadtest.clients import openloop
from loadtest.load import verdict
from loadtest.load.load_command import RESULTS
from loadtest.load.local_service import Local, local_service
from loadtest.load.runner import run_open
from pages.chart import Chart, Line
from pages.templating import render

INTERVAL_S: Final = 10.0
MAX_GROWTH_MB: Final = 10.0
WARM_UP_INTERVALS: Final = 6  # the first minute fills caches and pools


@dataclass(frozen=True, slots=True)
class Interval:
    """The figures of ten seconds."""

    at_min: float
    rss_mb: float
    p50_ms: float
    p99_ms: float
    failed_frac: float


def main(arguments: list[str]) -> int:
    """Start the service, load it, judge the intervals, write figures and page."""
    parser = command_line.parser("soak", __doc__)
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="duration (default: %(default)s)"
    )
    command_line.add_path(parser, "--out", RESULTS, "folder for the results")
    chosen = parser.parse_args(arguments)
    facts = machine.provenance(["python -m loadtest soak", *arguments])
    with local_service([secrets.token_urlsafe(32)]) as service:
        intervals = load(service, chosen.minutes)
    reasons = judge(intervals, slo.load())
    write(chosen.out, facts, intervals, reasons)
    print("\n".join(reasons) or f"passed: {chosen.minutes:g} minutes")
    return 1 if reasons else 0


def load(service: Local, minutes: float) -> list[Interval]:
    """Send the sustained rate, one interval after another."""
    objective = slo.load()
    intervals = []
    for number in range(max(1, round(60 * minutes / INTERVAL_S))):
        arrivals_s = openloop.constant(objective.sustained_rps, INTERVAL_S)
        log, _ = run_open(arrivals_s, service.host, service.keys)
        figures = verdict.summarise(log, INTERVAL_S)
        intervals.append(
            Interval(
                at_min=(number + 1) * INTERVAL_S / 60,
                rss_mb=service.tree.memory().rss_bytes / 1e6,
                p50_ms=figures["p50_ms"],
                p99_ms=figures["p99_ms"],
                failed_frac=figures["failed_frac"],
            )
        )
    return intervals


def judge(intervals: list[Interval], objective: slo.Slo) -> list[str]:
    """The reasons why the soak failed; empty if it passed."""
    reasons = []
    failed = sum(one.failed_frac for one in intervals) / len(intervals)
    if failed > objective.error_frac:
        reasons.append(f"{failed:.4%} of requests failed; {objective.error_frac:.4%} is allowed")
    slow = sum(one.p99_ms >= objective.p99_ms for one in intervals)
    if slow > len(intervals) / 100:
        reasons.append(
            f"p99 was {objective.p99_ms:g} ms or more in {slow} of {len(intervals)} intervals;"
            " 1 % is allowed"
        )
    grown = growth_mb(intervals)
    if grown > MAX_GROWTH_MB:
        reasons.append(
            f"memory grew by {grown:.1f} MB after the first minute; {MAX_GROWTH_MB:g} MB is allowed"
        )
    return reasons


def growth_mb(intervals: list[Interval]) -> float:
    """Memory at the end minus memory after the first minute."""
    warm = intervals[min(WARM_UP_INTERVALS, len(intervals) - 1)]
    return intervals[-1].rss_mb - warm.rss_mb


def write(out: Path, facts: dict[str, Any], intervals: list[Interval], reasons: list[str]) -> None:
    """Write `soak.json` and `soak.html`."""
    out.mkdir(parents=True, exist_ok=True)
    times = [one.at_min for one in intervals]
    charts = [
        Chart(
            "Resident memory of all processes, MB",
            [Line("memory", times, [one.rss_mb for one in intervals])],
            "min",
        ),
        Chart(
            "Latency, ms",
            [
                Line("p50", times, [one.p50_ms for one in intervals]),
                Line("p99", times, [one.p99_ms for one in intervals]),
            ],
            "min",
        ),
    ]
    reason = "; ".join(reasons) or "Passed."
    intro = f"{reason} {facts['date']}, {facts['machine']}: {facts['command']}"
    (out / "soak.html").write_text(
        render("measurement.html", title="Soak", intro=intro, rows=[], charts=charts)
    )
    rows = [
        {name: verdict.finite(getattr(one, name)) for name in Interval.__slots__}
        for one in intervals
    ]
    report = facts | {"failed_because": reasons, "growth_mb": growth_mb(intervals)}
    (out / "soak.json").write_text(json.dumps(report | {"intervals": rows}, indent=1) + "\n")
    print(f"memory {intervals[0].rss_mb:.1f} -> {intervals[-1].rss_mb:.1f} MB; written: {out}")

"""`python -m loadtest soak --minutes 30`: the sustained rate for long; memory and latency drawn."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contract import slo
from loadtest import command_line, machine, page
from loadtest.clients import openloop
from loadtest.load import verdict
from loadtest.load.load_command import RESULTS
from loadtest.load.local_service import Local, local_service
from loadtest.load.runner import run_open

STRETCH_S: Final = 10.0
MAX_GROWTH_MB: Final = 10.0
WARM_STRETCHES: Final = 6  # the first minute fills caches and pools


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ten seconds."""

    at_min: float
    rss_mb: float
    p50_ms: float
    p99_ms: float
    failed_frac: float


def main(arguments: list[str]) -> int:
    """Start the service, load it, draw, judge: no failures, p99 in the SLO, memory flat."""
    parser = command_line.parser("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    facts = machine.provenance(["python -m loadtest soak", *arguments])
    with local_service([secrets.token_urlsafe(32)]) as service:
        stretches = load(service, chosen.minutes)
    reasons = judge(stretches, slo.load())
    keep(chosen.out, facts, stretches, reasons)
    print("\n".join(reasons) or f"held for {chosen.minutes:g} minutes")
    return 1 if reasons else 0


def load(service: Local, minutes: float) -> list[Stretch]:
    """The sustained rate, stretch by stretch."""
    objective = slo.load()
    stretches = []
    for number in range(max(1, round(60 * minutes / STRETCH_S))):
        arrivals_s = openloop.constant(objective.sustained_rps, STRETCH_S)
        log, _ = run_open(arrivals_s, service.host, service.keys)
        figures = verdict.summarise(log, STRETCH_S)
        stretches.append(
            Stretch(
                at_min=(number + 1) * STRETCH_S / 60,
                rss_mb=service.tree.memory().rss_bytes / 1e6,
                p50_ms=figures["p50_ms"],
                p99_ms=figures["p99_ms"],
                failed_frac=figures["failed_frac"],
            )
        )
    return stretches


def judge(stretches: list[Stretch], objective: slo.Slo) -> list[str]:
    """Why the soak failed; empty if it did not."""
    reasons = []
    failed = sum(one.failed_frac for one in stretches) / len(stretches)
    if failed > objective.error_frac:
        reasons.append(f"{failed:.4%} failed; {objective.error_frac:.4%} is allowed")
    slow = sum(one.p99_ms >= objective.p99_ms for one in stretches)
    if slow > len(stretches) / 100:
        reasons.append(f"p99 was {objective.p99_ms:g} ms or more in {slow} of {len(stretches)}")
    grown = growth_mb(stretches)
    if grown > MAX_GROWTH_MB:
        reasons.append(f"memory grew by {grown:.1f} MB; {MAX_GROWTH_MB:g} are allowed")
    return reasons


def growth_mb(stretches: list[Stretch]) -> float:
    """Memory at the end less memory after the first minute."""
    warm = stretches[min(WARM_STRETCHES, len(stretches) - 1)]
    return stretches[-1].rss_mb - warm.rss_mb


def keep(out: Path, facts: dict[str, Any], stretches: list[Stretch], reasons: list[str]) -> None:
    """Write the figures and the page."""
    out.mkdir(parents=True, exist_ok=True)
    times = [one.at_min for one in stretches]
    charts = [
        page.Chart(
            "Resident memory of all processes, MB",
            [page.Line("memory", times, [one.rss_mb for one in stretches])],
            "min",
        ),
        page.Chart(
            "Latency, ms",
            [
                page.Line("p50", times, [one.p50_ms for one in stretches]),
                page.Line("p99", times, [one.p99_ms for one in stretches]),
            ],
            "min",
        ),
    ]
    reason = "; ".join(reasons) or "It held."
    intro = f"{reason} {facts['date']}, {facts['machine']}: {facts['command']}"
    (out / "soak.html").write_text(page.page("Soak", intro, [], charts))
    rows = [
        {name: verdict.finite(getattr(one, name)) for name in Stretch.__slots__}
        for one in stretches
    ]
    report = facts | {"failed_because": reasons, "growth_mb": growth_mb(stretches)}
    (out / "soak.json").write_text(json.dumps(report | {"stretches": rows}, indent=1) + "\n")
    print(f"memory {stretches[0].rss_mb:.1f} -> {stretches[-1].rss_mb:.1f} MB; kept in {out}")

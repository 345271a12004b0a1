"""Raise the rate until the SLO breaks: this measures the capacity.

Open loop, because a closed loop slows down with the server and so hides the overload.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from contract import slo
from contract.slo import Slo
from loadtest import command_line, machine
from loadtest.clients import openloop
from loadtest.load.runner import run_open
from loadtest.load.verdict import summarise

FIRST_RPS: Final = 200.0
GROWTH: Final = 1.25
FINE_GROWTH: Final = 1.05
STEP_S: Final = 8.0
JUDGED_FROM_S: Final = 2.0
MAX_LATE_MS: Final = 20.0
HEADER: Final = ("requests/s", "p50 ms", "p99 ms", "failed", "SLO")


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried."""

    rps: float
    p50_ms: float
    p99_ms: float
    failed_frac: float
    late_ms: float  # of the generator; above MAX_LATE_MS it is the limit, not the server
    held: bool


def ramp(host: str, keys: list[str], objective: Slo) -> list[Step]:
    """Raise the rate in coarse and then fine steps, until a step breaks the SLO."""
    steps: list[Step] = []
    rps, growth = FIRST_RPS, GROWTH
    while True:
        step = try_rate(rps, host, keys, objective)
        steps.append(step)
        if step.late_ms > MAX_LATE_MS:
            return steps
        if not step.held:
            held = [one.rps for one in steps if one.held]
            if growth == FINE_GROWTH or not held:
                return steps
            rps, growth = max(held), FINE_GROWTH
        rps *= growth


def try_rate(rps: float, host: str, keys: list[str], objective: Slo) -> Step:
    """Send one rate for `STEP_S` seconds and judge it."""
    log, late_ms = run_open(openloop.constant(rps, STEP_S), host, keys)
    figures = summarise(log.between(JUDGED_FROM_S, STEP_S), STEP_S - JUDGED_FROM_S)
    held = figures["p99_ms"] < objective.p99_ms and figures["failed_frac"] <= objective.error_frac
    return Step(
        rps=rps,
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        failed_frac=figures["failed_frac"],
        late_ms=late_ms,
        held=bool(held),
    )


def capacity_rps(steps: list[Step]) -> float:
    """The highest rate that held the SLO; 0 if none did."""
    return float(np.max([step.rps for step in steps if step.held], initial=0.0))


def run(host: str, keys: list[str], cores: int, out: Path, command: Sequence[str]) -> int:
    """Run the ramp, print its steps, write `ramp.json`; return the exit code."""
    objective = slo.load()
    steps = ramp(host, keys, objective)
    print(command_line.table([HEADER, *map(_row, steps)]))
    capacity = capacity_rps(steps)
    limited = steps[-1].late_ms > MAX_LATE_MS
    print(f"capacity: {capacity:.0f} requests/s, {capacity / cores:.0f} per core")
    if limited:
        print("the load generator reached its limit, so the service may hold more")
    out.mkdir(parents=True, exist_ok=True)
    report = machine.provenance(command) | {
        "capacity_rps": capacity,
        "cores": cores,
        "generator_was_the_limit": limited,
        "steps": [asdict(step) for step in steps],
    }
    text = json.dumps(report, indent=1).replace("Infinity", "null")
    (out / "ramp.json").write_text(text + "\n")
    return 0 if capacity >= objective.sustained_rps else 1


def _row(step: Step) -> list[str]:
    return [
        f"{step.rps:.0f}",
        f"{step.p50_ms:.1f}",
        f"{step.p99_ms:.1f}",
        f"{step.failed_frac:.2%}",
        "holds" if step.held else "broken",
    ]


def write_capacity(ramp_file: Path, to: Path) -> None:
    """Write the rate that one core holds within the SLO; the deployment's plan reads it.

    Raises:
        ValueError: the load generator, not the service, was the limit.
    """
    report = json.loads(ramp_file.read_text())
    if report["generator_was_the_limit"]:
        raise ValueError("the load generator reached its limit, so the capacity is not known")
    facts = {
        "requests_per_s_per_core": round(report["capacity_rps"] / report["cores"], 1),
        "measured": report["date"],
        "machine": report["machine"],
        "commit": report["commit"],
        "command": report["command"],
    }
    to.write_text(json.dumps(facts, indent=1) + "\n")

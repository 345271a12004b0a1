"""`python -m loadtest run` and `local`: generate load, judge it, write the record."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from contract import slo
from loadtest import command_line, machine, servers
from loadtest.load import ramp, request_log, runner, shapes, verdict
from loadtest.load.local_service import local_service
from loadtest.load.request_log import Log
from loadtest.load.verdict import Finding, Phase

RESULTS: Final = Path("results") / "load"
CAPACITY: Final = servers.ROOT / "loadtest" / "capacity.json"  # the deployment reads it
NUM_SITES: Final = 3


def run(arguments: list[str]) -> int:
    """Run a load profile against a running service and judge the SLO.

    `ramp` raises the rate until the SLO breaks, which measures the capacity.
    """
    parser = command_line.parser("run", run.__doc__)
    parser.add_argument("shape", choices=[*shapes.SHAPES, "ramp"], help="the load over time")
    command_line.add_host(parser)
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="duration, not for ramp (default: %(default)s)"
    )
    command_line.add_keys(parser)
    parser.add_argument(
        "--open", action="store_true", help="use the open-loop client (default: Locust)"
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=1,
        help="cores of the service, to compute ramp's capacity per core (default: %(default)s)",
    )
    command_line.add_path(parser, "--out", RESULTS, "folder for the results")
    chosen = parser.parse_args(arguments)
    command = ["python -m loadtest run", *arguments]
    if chosen.shape == "ramp":
        return ramp.run(chosen.host, chosen.keys, chosen.cores, chosen.out, command)
    shape = shapes.SHAPES[chosen.shape](60 * chosen.minutes, slo.load())
    return _run_shape(shape, chosen.host, chosen.keys, chosen.out, command, open_loop=chosen.open)


def _run_shape(
    shape: shapes.Shape,
    host: str,
    keys: list[str],
    out: Path,
    command: Sequence[str],
    *,
    open_loop: bool,
) -> int:
    if open_loop:
        log, late_ms = runner.run_open(runner.arrivals_of(shape), host, keys)
        print(f"lateness of the load generator: p99 {late_ms:.1f} ms")
        request_log.save(log, out / f"{shape.name}.npz")
    else:
        log = runner.run_locust(shape, host, keys, out)
    findings = verdict.judge(log, shape.phases, slo.load())
    tool = "open loop" if open_loop else "Locust"
    report = machine.provenance(command) | {"shape": shape.name, "tool": tool}
    report |= record(log, shape.phases, findings)
    path = out / f"{shape.name}.json"
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(verdict_text(findings))
    print(f"written: {path}")
    return 0 if all(finding.passed for finding in findings) else 1


def record(log: Log, phases: list[Phase], findings: list[Finding]) -> dict[str, Any]:
    """The content of a run's JSON file, next to its provenance."""

    def clean(row: dict[str, Any]) -> dict[str, Any]:
        return {
            key: verdict.finite(value) if isinstance(value, float) else value
            for key, value in row.items()
        }

    return {
        "passed": all(finding.passed for finding in findings),
        "findings": [clean(asdict(finding)) for finding in findings],
        "phases": [asdict(phase) for phase in phases],
        "seconds": [clean(row) for row in verdict.timeline(log)],
    }


def verdict_text(findings: list[Finding]) -> str:
    """One line per finding; the last line names the first that failed."""
    lines = [
        f"{'ok  ' if one.passed else 'FAIL'}  {one.question:40} {one.value:>12.4f}  {one.limit}"
        for one in findings
    ]
    failed = [one for one in findings if not one.passed]
    if failed:
        first = failed[0]
        lines.append(
            f"the SLO is broken: {first.question} is {first.value:.4g}, must be {first.limit}"
        )
    else:
        lines.append("the SLO holds")
    return "\n".join(lines)


def local(arguments: list[str]) -> int:
    """Start the service, run the steady rate and a truck's burst, judge the SLO, stop it."""
    parser = command_line.parser("local", local.__doc__)
    parser.add_argument(
        "--minutes",
        type=float,
        default=2.0,
        help="duration of the steady rate (default: %(default)s)",
    )
    parser.add_argument(
        "--ramp", action="store_true", help="measure the capacity too; write loadtest/capacity.json"
    )
    command_line.add_path(parser, "--out", RESULTS, "folder for the results")
    chosen = parser.parse_args(arguments)
    keys = [secrets.token_urlsafe(32) for _ in range(NUM_SITES)]
    command = ["python -m loadtest local", *arguments]
    objective = slo.load()
    codes = []
    with local_service(keys) as service:
        for shape in (
            shapes.steady(60 * chosen.minutes, objective),
            shapes.trucks(shapes.TRUCK_EVERY_S, objective),
        ):
            print(f"== {shape.name}, {shape.duration_s:g} s", flush=True)
            codes.append(
                _run_shape(shape, service.host, keys, chosen.out, command, open_loop=False)
            )
            time.sleep(1)
        if chosen.ramp:
            print("== ramp, open loop", flush=True)
            codes.append(ramp.run(service.host, keys, 1, chosen.out, command))
            ramp.write_capacity(chosen.out / "ramp.json", CAPACITY)
    return max(codes)

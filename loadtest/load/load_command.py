"""`python -m loadtest run | local | compare`: make load, judge it, keep the evidence."""

import argparse
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from contract import slo
from loadtest import machine, servers
from loadtest.load import ramp, request_log, runner, shapes, verdict
from loadtest.load.request_log import Log
from loadtest.load.verdict import Finding, Phase
from loadtest.process import Tree, pinned_to

RESULTS: Final = Path("results") / "load"
CAPACITY: Final = servers.ROOT / "loadtest" / "capacity.json"  # the deployment reads it
NUM_SITES: Final = 3
READY_S: Final = 60.0


def run(arguments: list[str]) -> int:
    """Load a running service with a shape, and judge the SLO."""
    parser = argparse.ArgumentParser("python -m loadtest run", description=run.__doc__)
    parser.add_argument("shape", choices=[*shapes.SHAPES, "ramp"])
    parser.add_argument("--host", required=True, help="for example http://127.0.0.1:3000")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--keys-file", type=Path, help="one API key a line, one for each site")
    parser.add_argument("--open", action="store_true", help="open loop instead of Locust")
    parser.add_argument("--cores", type=int, default=1, help="the service's, for ramp")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    keys = chosen.keys_file.read_text().split() if chosen.keys_file else []
    command = ["python -m loadtest run", *arguments]
    if chosen.shape == "ramp":
        return _ramp(chosen.host, keys, chosen.cores, chosen.out, command)
    shape = shapes.SHAPES[chosen.shape](60 * chosen.minutes, slo.load())
    return _shape(shape, chosen.host, keys, chosen.out, command, open_loop=chosen.open)


def _shape(
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
        print(f"the generator was at most {late_ms:.1f} ms late for 99 % of the requests")
        request_log.save(log, out / f"{shape.name}.npz")
    else:
        log = runner.run_locust(shape, host, keys, out)
    findings = verdict.judge(log, shape.phases, slo.load())
    tool = "open loop" if open_loop else "Locust"
    report = machine.provenance(command) | {"shape": shape.name, "tool": tool}
    report |= evidence(log, shape.phases, findings)
    path = out / f"{shape.name}.json"
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(verdict_text(findings))
    print(f"kept in {path}")
    return 0 if all(finding.passed for finding in findings) else 1


def evidence(log: Log, phases: list[Phase], findings: list[Finding]) -> dict[str, Any]:
    """The figures of a run, for its JSON file."""

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
    """The questions and answers as lines, and the first reason to fail."""
    lines = [
        f"{'ok  ' if one.passed else 'FAIL'}  {one.question:40} {one.value:>12.4f}  {one.limit}"
        for one in findings
    ]
    failed = [one for one in findings if not one.passed]
    if failed:
        first = failed[0]
        lines.append(f"the SLO is broken: {first.question} is {first.value:.4g}, not {first.limit}")
    else:
        lines.append("the SLO holds")
    return "\n".join(lines)


def _ramp(host: str, keys: list[str], cores: int, out: Path, command: Sequence[str]) -> int:
    steps = ramp.ramp(host, keys, slo.load())
    for step in steps:
        print(
            f"{step.rps:8.0f} requests/s  p50 {step.p50_ms:7.1f} ms  p99 {step.p99_ms:7.1f} ms  "
            f"failed {step.failed_frac:.2%}  {'holds' if step.held else 'breaks'}"
        )
    capacity = ramp.capacity_rps(steps)
    limited = steps[-1].late_ms > ramp.MAX_LATE_MS
    print(f"capacity: {capacity:.0f} requests/s, {capacity / cores:.0f} per core")
    if limited:
        print("the load generator was the limit: the service may hold more")
    out.mkdir(parents=True, exist_ok=True)
    report = machine.provenance(command) | {
        "capacity_rps": capacity,
        "cores": cores,
        "generator_was_the_limit": limited,
        "steps": [asdict(step) for step in steps],
    }
    text = json.dumps(report, indent=1).replace("Infinity", "null")
    (out / "ramp.json").write_text(text + "\n")
    return 0 if capacity >= slo.load().sustained_rps else 1


def write_capacity(ramp_file: Path, to: Path) -> None:
    """What one core holds within the SLO, for the deployment's plan; nothing if unknown.

    Raises:
        ValueError: the load generator, not the service, was the limit.
    """
    report = json.loads(ramp_file.read_text())
    if report["generator_was_the_limit"]:
        raise ValueError("the load generator was the limit, so the capacity is not known")
    facts = {
        "requests_per_s_per_core": round(report["capacity_rps"] / report["cores"], 1),
        "measured": report["date"],
        "machine": report["machine"],
        "commit": report["commit"],
        "command": report["command"],
    }
    to.write_text(json.dumps(facts, indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Local:
    """Our service, started for a test."""

    tree: Tree
    host: str
    keys: list[str]


@contextlib.contextmanager
def local_service(keys: list[str]) -> Iterator[Local]:
    """Start our service as it ships, with a key for each site; stop it afterwards."""
    server = servers.ours(keys)
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        tree, port = servers.start(server, Path(folder))
        try:
            servers.wait_until(lambda: servers.is_ready(port), tree, timeout_s=READY_S)
            with pinned_to(servers.CLIENT_CORE):
                yield Local(tree, f"http://127.0.0.1:{port}", keys)
        finally:
            tree.terminate(grace_s=30)


def local(arguments: list[str]) -> int:
    """Start the service, hold the steady rate, take a truck, judge both, stop it."""
    parser = argparse.ArgumentParser("python -m loadtest local", description=local.__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of the steady rate")
    parser.add_argument("--ramp", action="store_true", help="write loadtest/capacity.json, too")
    parser.add_argument("--out", type=Path, default=RESULTS)
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
            codes.append(_shape(shape, service.host, keys, chosen.out, command, open_loop=False))
            time.sleep(1)
        if chosen.ramp:
            print("== ramp, open loop", flush=True)
            codes.append(_ramp(service.host, keys, 1, chosen.out, command))
            write_capacity(chosen.out / "ramp.json", CAPACITY)
    return max(codes)


def compare(arguments: list[str]) -> int:
    """Two runs side by side."""
    parser = argparse.ArgumentParser("python -m loadtest compare", description=compare.__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    chosen = parser.parse_args(arguments)
    before, after = (json.loads(path.read_text()) for path in (chosen.before, chosen.after))
    print(compare_text(before, after))
    return 0


def compare_text(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Every question of both runs, the change, and whether the verdict changed.

    Raises:
        ValueError: the runs had different shapes or tools.
    """
    for name in ("shape", "tool"):
        if before[name] != after[name]:
            raise ValueError(
                f"the runs cannot be compared: {name} is {before[name]!r} and {after[name]!r}"
            )
    old = {row["question"]: row for row in before["findings"]}
    lines = [f"{before['date']} {before['commit']} -> {after['date']} {after['commit']}"]
    for row in after["findings"]:
        was = old.get(row["question"])
        if was is None or was["value"] is None or row["value"] is None:
            lines.append(f"{row['question']:40} {was and was['value']!s:>12} {row['value']!s:>12}")
            continue
        change = row["value"] / was["value"] - 1 if was["value"] else 0.0
        failure = "" if was["passed"] == row["passed"] else "  FAILS NOW" * (not row["passed"])
        lines.append(
            f"{row['question']:40} {was['value']:>12.4f} {row['value']:>12.4f} {change:+8.1%}"
            f"{failure}"
        )
    return "\n".join(lines)

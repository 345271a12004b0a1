"""`python -m loadtest bench`: choose parts and servers, measure, write JSON and tables."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest import command_line, machine, servers
from loadtest.bench import (
    bulk_jobs,
    bulk_requests,
    contender,
    field_times,
    measurements,
    stage_times,
    startup,
    table,
)
from loadtest.bench.catalog import SERVERS
from loadtest.bench.crop_sets import CROPS
from loadtest.process import pinned_to

PARTS: Final = (
    "saturation", "latency", "batching", "crops", "bulk", "stages", "field", "start",
)  # fmt: skip
RESULTS: Final = servers.ROOT / "docs" / "measurements" / "bench.json"
QUICK_RESULTS: Final = Path("results") / "bench-quick.json"
DOCUMENT: Final = servers.ROOT / "docs" / "measurements" / "bench.md"
LOCK: Final = "LOADTEST_LOCK"  # names a file to lock during each turn, if jobs share the machine
BATCHERS: Final = (servers.OURS, "bentoml-batchable")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to measure, and where to write it."""

    parts: list[str]
    names: list[str]
    config: contender.BenchConfig
    out: Path
    document: Path | None


def parse(arguments: list[str], folder: Path) -> Choice:
    """Read the command line."""
    parser = command_line.parser("bench", __doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round: all parts take about two minutes"
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        metavar="PART",
        default=list(PARTS),
        help=f"default: all of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=SERVERS,
        metavar="NAME",
        default=list(SERVERS),
        help=f"default: all of {', '.join(SERVERS)}",
    )
    parser.add_argument(
        "--crops",
        nargs="+",
        choices=CROPS,
        metavar="SET",
        default=list(CROPS),
        help="crop sets of saturation; the first also measures latency and batching"
        f" (default: {' '.join(CROPS)})",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="interleaved rounds, of which the median is reported (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"JSON file; parts not measured are kept (default: {QUICK_RESULTS} with --quick, else"
        f" {RESULTS.relative_to(servers.ROOT)}, and the tables in"
        f" {DOCUMENT.relative_to(servers.ROOT)})",
    )
    chosen = parser.parse_args(arguments)
    quick = bool(chosen.quick)
    config = contender.BenchConfig(
        rounds=1 if quick else chosen.rounds,
        saturate_s=1 if quick else 3,
        calm_s=2.0 if quick else 4.0,
        crops=tuple(chosen.crops),
        folder=folder,
        lock=Path(os.environ[LOCK]) if LOCK in os.environ else None,
    )
    out = chosen.out or (QUICK_RESULTS if quick else RESULTS)
    document = DOCUMENT if out == RESULTS else None
    return Choice(chosen.parts, chosen.servers, config, out, document)


def main(arguments: list[str]) -> int:
    """Measure, write, print."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        choice = parse(arguments, Path(folder))
        results = json.loads(choice.out.read_text()) if choice.out.exists() else {"parts": {}}
        with pinned_to(servers.CLIENT_CORE):
            for part in choice.parts:
                print(f"== {part}", flush=True)
                command = ["python -m loadtest bench", *arguments]
                record = machine.provenance(command) | choice.config.record()
                results["parts"][part] = record | MEASURES[part](choice)
                _write(choice, results)
    print(table.render(results))
    return 0


def _write(choice: Choice, results: dict[str, Any]) -> None:
    """Write after every part, so that an interrupted run keeps its finished parts."""
    results["parts"] = {part: results["parts"][part] for part in PARTS if part in results["parts"]}
    choice.out.parent.mkdir(parents=True, exist_ok=True)
    choice.out.write_text(table.dump(results))
    if choice.document:
        text = choice.document.read_text()
        choice.document.write_text(table.insert(text, table.render(results)))


def _interleaved(measure: Any, only: tuple[str, ...] | None) -> Callable[[Choice], dict[str, Any]]:
    def run(choice: Choice) -> dict[str, Any]:
        names = [name for name in choice.names if only is None or name in only]
        chosen = [SERVERS[name] for name in names]
        with contender.start_contenders(chosen, choice.config) as (ready, absent):
            rows = measurements.interleave(ready, choice.config.rounds, measure, _print)
        return {"rows": rows, "absent": absent}

    return run


def _stages(choice: Choice) -> dict[str, Any]:
    with contender.locked(choice.config.lock):
        return {"rows": stage_times.stages()}


def _field(choice: Choice) -> dict[str, Any]:
    with contender.locked(choice.config.lock):
        return {"rows": field_times.field_times()}


def _bulk(choice: Choice) -> dict[str, Any]:
    with contender.locked(choice.config.lock):
        return bulk_jobs.bulk_jobs(choice.config)


def _start(choice: Choice) -> dict[str, Any]:
    with contender.locked(choice.config.lock):
        return {"rows": startup.start_and_memory(SERVERS[servers.OURS], choice.config)}


def _print(line: str) -> None:
    print(line, flush=True)


MEASURES: Final[dict[str, Callable[[Choice], dict[str, Any]]]] = {
    "saturation": _interleaved(measurements.saturation, None),
    "latency": _interleaved(measurements.latency, None),
    "batching": _interleaved(measurements.batching, BATCHERS),
    "crops": _interleaved(bulk_requests.many_crops, (servers.OURS,)),
    "bulk": _bulk,
    "stages": _stages,
    "field": _field,
    "start": _start,
}

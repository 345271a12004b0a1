"""deploy/release.sh, run with stand-ins for Docker, the AWS CLI and the wait for the canary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore import xform_name

from infra import settings
from infra.world import Template

ROOT = settings.REPOSITORY_ROOT
SCRIPT = ROOT / "deploy" / "release.sh"
DIGEST = "sha256:" + 64 * "a"
STAND_INS = {
    "docker": f"""
case "$*" in *imagetools*) echo {DIGEST};; esac
for argument; do case "$argument" in type=local,dest=*)
  mkdir -p "${{argument#*dest=}}"; echo "{{}}" > "${{argument#*dest=}}/sbom.spdx.json";; esac; done
case "$*" in *" -") sed "s/^/docker reads /" >> "$LOG";; esac
""",
    "aws": """
case "$*" in
  sts*) echo 111122223333;;
  *describe-image-scan-findings*service*) echo "${FOUND_IN_SERVICE:-None}";;
  *describe-image-scan-findings*) echo "${FOUND_IN_JOBS:-None}";;
  *batch-get-image*) echo "{}";;
esac
""",
    "git": "echo abc1234",
    "python": f'case "$1" in -c) exec {sys.executable} "$@";; esac',
}


def released(folder: Path, **variables: str) -> tuple[int, list[str]]:
    """Run the script; its exit status, and each command with its arguments."""
    log = folder / "log"
    log.touch()
    (folder / "deploy").mkdir()
    shutil.copy(SCRIPT, folder / "deploy")
    (folder / "model" / "champion").mkdir(parents=True)
    shutil.copy(ROOT / "model" / "champion" / "manifest.json", folder / "model" / "champion")
    (folder / "bin").mkdir()
    for name, body in STAND_INS.items():
        file = folder / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> "$LOG"\n{body}\n')
        file.chmod(0o755)
    given = {
        "STAGE": "prod",
        "BUILD": "7-1",
        "AWS_REGION": "eu-central-1",
        "PYTHON": "python",
    }
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", folder / "deploy" / "release.sh"],
        env={"PATH": path, "LOG": str(log), **given, **variables},
        capture_output=True,
        check=False,
    )
    return done.returncode, log.read_text().splitlines()


def first(calls: list[str], *words: str) -> int:
    return next(i for i, call in enumerate(calls) if all(word in call for word in words))


def test_a_release_is_scanned_before_it_gets_its_tag(tmp_path: Path) -> None:
    status, calls = released(tmp_path)
    assert status == 0
    scans = [first(calls, "image-scan-complete", image) for image in ("prod/jobs", "prod/service")]
    assert max(scans) < first(calls, "put-image")
    assert not [call for call in calls if call.startswith("docker") and ":champion-" in call]


def test_the_service_gets_the_tag_last_because_its_tag_starts_the_release(tmp_path: Path) -> None:
    calls = released(tmp_path)[1]
    assert first(calls, "put-image", "jobs") < first(calls, "put-image", "service")
    assert first(calls, "put-image", "service") < first(calls, "infra.release_wait")


@pytest.mark.parametrize("image", ["SERVICE", "JOBS"])
def test_a_critical_finding_in_either_image_stops_the_release(tmp_path: Path, image: str) -> None:
    status, calls = released(tmp_path, **{f"FOUND_IN_{image}": "1"})
    assert status == 1
    assert not [call for call in calls if "put-image" in call]


def test_the_bill_of_materials_is_of_the_pushed_image(tmp_path: Path) -> None:
    calls = released(tmp_path)[1]
    pushed = [call.split("--tag ")[1].split()[0] for call in calls if "--push" in call]
    assert [call.split()[-1] for call in calls if "docker reads FROM" in call] == pushed
    assert {file.stem for file in (tmp_path / "sbom").iterdir()} == {"jobs.spdx", "service.spdx"}


def test_both_images_are_built_on_the_newest_base_and_record_its_digest(tmp_path: Path) -> None:
    pushes = [call for call in released(tmp_path)[1] if "--push" in call]
    assert len(pushes) == 2
    for push in pushes:
        assert f"BASE=python:3.11-slim@{DIGEST}" in push
        assert f"image.base.digest={DIGEST}" in push


def test_production_is_built_on_the_base_that_staging_tested(tmp_path: Path) -> None:
    calls = released(tmp_path, BASE="python:3.11-slim@sha256:bbb")[1]
    assert not [call for call in calls if "imagetools" in call]
    assert "BASE=python:3.11-slim@sha256:bbb" in calls[first(calls, "--push")]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    step = next(s for s in jobs["staging"]["steps"] if s.get("run") == "make release")
    assert jobs["staging"]["outputs"]["base"] == f"${{{{ steps.{step['id']}.outputs.base }}}}"
    given = next(s for s in jobs["prod"]["steps"] if s.get("run") == "make release")["env"]
    assert given["BASE"] == "${{ needs.staging.outputs.base }}"


def test_every_aws_command_of_the_script_exists_with_its_options() -> None:
    text = SCRIPT.read_text().replace("\\\n", " ")
    option = r" +--[a-z-]+ (?:\"[^\"]*\"|'[^']*'|\S+)"
    found = re.findall(rf"\baws (sts|ecr) ([a-z-]+)((?:{option})+)", text)
    assert len(found) == 4  # the others are the CLI's own: `wait`, `get-login-password`
    for service, operation, options in found:
        model = botocore.session.get_session().get_service_model(service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        members = model.operation_model(names[operation]).input_shape.members
        known = {xform_name(name, "-") for name in members} | {"query", "output"}
        assert set(re.findall(r"--([a-z-]+) ", options)) <= known


@pytest.mark.parametrize(
    "file", ["deploy/Dockerfile", "deploy/Dockerfile.jobs", "infra/mlflow/Dockerfile"]
)
def test_every_base_image_is_pinned_by_its_digest(file: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(r"^ARG BASE=python:3\.11-slim@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    assert bases - stages == {"${BASE}"}


def test_the_session_of_a_release_lasts_as_long_as_its_job(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    resources = synthesised["prod"]["identity"]["Resources"]
    role = next(body for name, body in resources.items() if name.startswith("Deployer"))
    longest = role["Properties"]["MaxSessionDuration"]
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    for job in jobs.values():
        sessions = [s["with"]["role-duration-seconds"] for s in job["steps"] if "role-to" in str(s)]
        assert sessions == [60 * job["timeout-minutes"]] == [longest]

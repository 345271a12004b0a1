"""cfn-lint and checkov have no findings except those acknowledged beside the resource.

They also report the seeded faults that no rule of ours repeats. The ``assembly`` fixture fails on
the first finding of cdk-nag.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from cdk_nag import AwsSolutionsChecks
from conftest import NAMES
from mutations import MUTATIONS, Mutation

from infra import settings
from infra.world import Template

CFN_LINT = Path(sys.executable).parent / "cfn-lint"
CHECKOV = settings.REPOSITORY_ROOT / ".venv-checkov" / "bin" / "checkov"


@pytest.fixture(scope="module")
def seeded(
    tmp_path_factory: pytest.TempPathFactory, synthesised: dict[str, dict[str, Template]]
) -> Path:
    """A folder for each fault that a linter must report, with the templates that it changed."""
    folder = tmp_path_factory.mktemp("seeded")
    clean = synthesised["prod"]
    for mutation in MUTATIONS:
        changed = mutation.changed(clean) if mutation.linter else clean
        for stack in changed:
            if changed[stack] != clean[stack]:
                (folder / mutation.name).mkdir(exist_ok=True)
                file = folder / mutation.name / f"{stack}.template.json"
                file.write_text(json.dumps(changed[stack]))
    return folder


def linted_by(linter: str) -> list[Mutation]:
    return [mutation for mutation in MUTATIONS if mutation.linter == linter]


def cfn_lint(folder: Path) -> list[tuple[str, str]]:
    """File and check of each finding."""
    files = sorted(str(file) for file in folder.rglob("*.template.json"))
    command = [str(CFN_LINT), "--format", "json", *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return [(found["Filename"], found["Rule"]["Id"]) for found in json.loads(run.stdout)]


def test_cfn_lint_has_no_findings(assembly: Path) -> None:
    assert len(list(assembly.rglob("*.template.json"))) == 6 * len(NAMES)
    assert cfn_lint(assembly) == []


def test_cfn_lint_reports_the_seeded_faults(seeded: Path) -> None:
    found = {(Path(file).parent.name, rule) for file, rule in cfn_lint(seeded)}
    assert {(m.name, m.rule) for m in linted_by("cfn-lint")} <= found


@pytest.fixture(scope="module")
def checkov(assembly: Path, seeded: Path) -> Any:
    """checkov's report on the templates, copied to ``clean``, and on those with a fault.

    One run for both, because it starts slowly.
    """
    if not CHECKOV.exists():
        pytest.skip("checkov needs .venv-checkov, which `make infra-test` creates")
    shutil.copytree(assembly, seeded / "clean")
    command = [str(CHECKOV), "--skip-download", "-d", str(seeded), "-o", "json", "--quiet"]
    run = subprocess.run(
        [*command, "--framework", "cloudformation"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    return json.loads(run.stdout)


def failed(report: Any) -> list[tuple[str, str, str]]:
    """Folder, check and resource of each finding."""
    return [
        (c["file_path"].split("/")[1], c["check_id"], c["resource"])
        for c in report["results"]["failed_checks"]
    ]


def test_checkov_has_no_findings(checkov: Any) -> None:
    assert [found for found in failed(checkov) if found[0] == "clean"] == []
    assert checkov["summary"]["parsing_errors"] == 0
    assert checkov["summary"]["passed"] > 800


@pytest.mark.parametrize("mutation", linted_by("checkov"), ids=str)
def test_checkov_reports_the_seeded_fault(checkov: Any, mutation: Mutation) -> None:
    assert (mutation.name, mutation.rule) in {found[:2] for found in failed(checkov)}


@pytest.mark.parametrize(
    ("action", "resource"), [("s3:*", "arn:aws:s3:::one"), ("s3:GetObject", "*")]
)
def test_cdk_nag_refuses_a_wildcard_permission(tmp_path: Path, action: str, resource: str) -> None:
    app = cdk.App(outdir=str(tmp_path))
    role = iam.Role(
        cdk.Stack(app, "One"), "Role", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")
    )
    role.add_to_policy(iam.PolicyStatement(actions=[action], resources=[resource]))
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert "AwsSolutions-IAM5" in (tmp_path / "validation-report.json").read_text()


def test_every_acknowledgement_has_a_reason(
    assembly: Path, synthesised: dict[str, dict[str, Template]]
) -> None:
    reasons = [reason for stacks in synthesised.values() for reason in _reasons(stacks)]
    reasons += [reason for file in assembly.rglob("*metadata.json") for reason in _nag(file)]
    assert len(reasons) > 30
    assert [reason for reason in reasons if len(reason) < 15] == []


def _reasons(stacks: dict[str, Template]) -> list[str]:
    """Reasons for checkov and cfn-lint, from the resources' metadata."""
    found = []
    for template in stacks.values():
        for body in template["Resources"].values():
            metadata: dict[str, Any] = body.get("Metadata", {})
            found += [skip["comment"] for skip in metadata.get("checkov", {}).get("skip", [])]
            ignored = metadata.get("cfn-lint", {}).get("config", {}).get("ignore_checks", [])
            found += [metadata[f"cfn-lint-{rule}"] for rule in ignored]
    return found


def _nag(file: Path) -> list[str]:
    """Reasons for cdk-nag, from the metadata file beside the template."""
    entries = [e for path in json.loads(file.read_text()).values() for e in path]
    kept = [e["data"] for e in entries if e["type"] == "aws:cdk:acknowledged-rules"]
    return [reason for rules in kept for reason in rules.values()]

"""cfn-lint and checkov have no findings except those acknowledged beside the resource.

cdk-nag needs no test here: the ``assembly`` fixture fails on its first finding.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import NAMES

from infra import settings
from infra.world import Template

CFN_LINT = Path(sys.executable).parent / "cfn-lint"
CHECKOV = settings.REPOSITORY_ROOT / ".venv-checkov" / "bin" / "checkov"


def test_cfn_lint_has_no_findings(assembly: Path) -> None:
    files = [str(file) for file in assembly.rglob("*.template.json")]
    assert len(files) == 6 * len(NAMES)
    run = subprocess.run([str(CFN_LINT), *files], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_checkov_has_no_findings(assembly: Path) -> None:
    if not CHECKOV.exists():
        pytest.skip("checkov needs .venv-checkov, which `make infra-test` creates")
    command = [str(CHECKOV), "--skip-download", "-d", str(assembly), "-o", "json", "--quiet"]
    run = subprocess.run(
        [*command, "--framework", "cloudformation"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    report = json.loads(run.stdout)
    failed = [f"{c['check_id']} {c['resource']}" for c in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 800


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

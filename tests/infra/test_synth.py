"""Every environment synthesises without findings of cdk-nag; production equals its snapshots."""

from __future__ import annotations

import difflib
import json

import pytest
from conftest import NAMES

from infra import world
from infra.__main__ import SNAPSHOTS
from infra.app import ENVIRONMENTS, PROD, STAGING
from infra.world import Template

STACKS = ["foundation", "service", "autoscaling", "mlops", "watch", "identity"]


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_has_its_six_stacks(
    synthesised: dict[str, dict[str, Template]], name: str
) -> None:
    assert list(synthesised[name]) == STACKS


@pytest.mark.parametrize("stack", STACKS)
def test_the_template_equals_its_snapshot(
    synthesised: dict[str, dict[str, Template]], stack: str
) -> None:
    kept = (SNAPSHOTS / f"{stack}.json").read_text()
    now = world.text(synthesised[PROD.name][stack])
    difference = list(difflib.unified_diff(kept.splitlines(), now.splitlines(), lineterm="", n=2))
    assert not difference, "run `python -m infra snapshot`:\n" + "\n".join(difference[:60])


def test_there_are_no_other_snapshots() -> None:
    kept = {str(file.relative_to(SNAPSHOTS.parent)) for file in SNAPSHOTS.parent.rglob("*.json")}
    assert kept == {f"{PROD.name}/{stack}.json" for stack in STACKS}


def test_templates_hold_no_account_id(synthesised: dict[str, dict[str, Template]]) -> None:
    text = json.dumps(synthesised)
    assert "arn:aws:iam::1" not in text
    assert "AWS::AccountId" in text


def test_only_production_retains_its_buckets(synthesised: dict[str, dict[str, Template]]) -> None:
    for environment in (STAGING, PROD):
        policies = {
            body.get("DeletionPolicy")
            for body in synthesised[environment.name]["foundation"]["Resources"].values()
            if body["Type"] == "AWS::S3::Bucket"
        }
        assert policies == {"RetainExceptOnCreate" if environment.keeps_data else "Delete"}


def test_environments_do_not_overlap() -> None:
    assert len({environment.cidr for environment in ENVIRONMENTS}) == len(ENVIRONMENTS)

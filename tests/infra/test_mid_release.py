"""An edit of the stack during a release leaves the traffic where ECS has sent it.

CloudFormation touches a resource only if its template changes, and refuses what the stack policy
denies. moto does not evaluate stack policies, so this file does.

Source:
    AWS, "Prevent updates to stack resources"; aws/aws-cdk issue 36649.
"""

from __future__ import annotations

import copy
import json
import re
from fnmatch import fnmatch
from typing import Any

import pytest

from infra.__main__ import DOCUMENT
from infra.world import Template

RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"


def policy() -> list[dict[str, Any]]:
    found = re.search(r"--stack-policy-body '(.*?)'", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    statements: list[dict[str, Any]] = json.loads(found[1])["Statement"]
    return statements


def refused(before: Template, after: Template) -> set[str]:
    """Logical ids of the changed resources whose update the policy denies."""
    old, new = before["Resources"], after["Resources"]
    changed = {name for name in old if old[name] != new.get(name)}
    denied = [s["Resource"] for s in policy() if s["Effect"] == "Deny"]
    patterns = [p.removeprefix("LogicalResourceId/") for ps in denied for p in ps]
    return {name for name in changed if any(fnmatch(name, pattern) for pattern in patterns)}


@pytest.fixture
def service(synthesised: dict[str, dict[str, Template]]) -> Template:
    return synthesised["prod"]["service"]


def weighted(template: Template) -> set[str]:
    return {
        name
        for name, body in template["Resources"].items()
        if body["Type"] == RULE and "ForwardConfig" in json.dumps(body)
    }


def test_an_edit_of_a_rule_whose_weights_ecs_owns_is_refused(service: Template) -> None:
    assert len(weighted(service)) == 2
    for name in weighted(service):
        edited = copy.deepcopy(service)
        edited["Resources"][name]["Properties"]["Priority"] = 77
        assert refused(service, edited) == {name}


def test_every_other_edit_is_allowed_and_leaves_the_rules_alone(service: Template) -> None:
    edited = copy.deepcopy(service)
    for name, body in edited["Resources"].items():
        if name not in weighted(service):
            body["Properties"] = {**body.get("Properties", {}), "Edited": "yes"}
    assert refused(service, edited) == set()


def test_a_release_changes_no_rule(service: Template) -> None:
    """A release changes the image's tag, and no rule refers to it."""
    for name in weighted(service):
        assert "imagetag" not in json.dumps(service["Resources"][name])


def test_the_service_shifts_exactly_the_protected_rules(service: Template) -> None:
    (ecs,) = (b for b in service["Resources"].values() if b["Type"] == "AWS::ECS::Service")
    advanced = ecs["Properties"]["LoadBalancers"][0]["AdvancedConfiguration"]
    shifted = {advanced[f"{kind}ListenerRule"]["Ref"] for kind in ("Production", "Test")}
    assert shifted == weighted(service)

"""Accepts a linter's finding beside the resource, with the reason.

One function serves the three linters. A finding that is not acknowledged fails ``make infra-test``.
"""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct, IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept ``rule`` on ``construct`` (for cdk-nag also on everything below it).

    Args:
        construct: the resource, or for cdk-nag a parent of it.
        rule: ``AwsSolutions-...`` (cdk-nag), ``CKV...`` (checkov) or ``W1234`` (cfn-lint).
        reason: why the finding is acceptable here.
    """
    if rule.startswith("AwsSolutions-"):
        cdk.Validations.of(construct).acknowledge(
            cdk.Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason)
        )
        return
    resource = _resource(construct)
    if rule.startswith("CKV"):
        checkov = resource.get_metadata("checkov") or {"skip": []}
        checkov["skip"].append({"id": rule, "comment": reason})
        resource.add_metadata("checkov", checkov)
    else:
        lint = resource.get_metadata("cfn-lint") or {"config": {"ignore_checks": []}}
        lint["config"]["ignore_checks"].append(rule)
        resource.add_metadata("cfn-lint", lint)
        resource.add_metadata(f"cfn-lint-{rule}", reason)


def _resource(construct: IConstruct) -> cdk.CfnResource:
    resource = construct if isinstance(construct, Construct) else None
    child = resource.node.default_child if resource is not None else None
    found = child if child is not None else construct
    if not isinstance(found, cdk.CfnResource):
        raise TypeError(f"{construct.node.path} is not a single CloudFormation resource")
    return found

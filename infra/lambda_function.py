"""A Lambda function whose source is one file of ``infra/functions``, copied into the template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation

_SOURCES = Path(__file__).parent / "functions"
_ACCEPTED = {
    "W3005": "CDK adds the explicit dependency on the role's policy",
    "CKV_AWS_115": "a reservation would take from a new account's ten; it runs once at a time",
    "CKV_AWS_116": "its errors raise an alarm or end the deployment; nothing is lost",
    "CKV_AWS_117": "it must be outside the VPC, whose tasks have no way to the internet",
    "CKV_AWS_173": "its variables hold no secret, but the name of one",
}


def function(
    scope: Construct,
    name: str,
    *,
    entry: str,
    environment: Mapping[str, str],
    foundation: Foundation,
    timeout_s: int,
) -> lambda_.Function:
    """The function, with a role that may write its own log and nothing else.

    Args:
        scope: the stack.
        name: of the construct.
        entry: ``file.function`` in ``infra/functions``.
        environment: its variables.
        foundation: where its log is.
        timeout_s: it is ended after.
    """
    role = iam.Role(scope, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log = foundation.log_group(scope, f"{name}Logs")
    log.grant_write(role)
    file, _, handler = entry.partition(".")
    made = lambda_.Function(
        scope,
        name,
        runtime=lambda_.Runtime.PYTHON_3_14,
        architecture=lambda_.Architecture.ARM_64,
        handler=f"index.{handler}",
        code=lambda_.Code.from_inline((_SOURCES / f"{file}.py").read_text()),
        environment=dict(environment),
        role=role,
        log_group=log,
        timeout=cdk.Duration.seconds(timeout_s),
        memory_size=256,
    )
    for rule, reason in _ACCEPTED.items():
        acknowledge(made, rule, reason)
    return made

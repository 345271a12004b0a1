"""Golden crops that are read from outside: each minute, and before a release gets traffic."""

from __future__ import annotations

import base64
import json

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm

from infra import grants, settings
from infra.foundation_stack import Foundation
from infra.lambda_function import function
from infra.settings import Environment


def watcher(scope: cdk.Stack, environment: Environment, foundation: Foundation) -> lambda_.Function:
    """Reads one crop each minute."""
    made = _reader(scope, "SyntheticRead", "watch", environment, foundation, timeout_s=15)
    events.Rule(
        scope,
        "EachMinute",
        description="Reads a golden crop from outside",
        schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
        # a second try would hide the failure from the alarm
        targets=[event_targets.LambdaFunction(made, retry_attempts=0)],
    )
    return made


def successes(reader: lambda_.Function) -> cloudwatch.MathExpression:
    """Right answers in a minute; no data if nothing was asked."""
    minute = cdk.Duration.minutes(1)
    return cloudwatch.MathExpression(
        expression="asked - FILL(failed, 0)",
        using_metrics={
            "asked": reader.metric_invocations(period=minute, statistic="Sum"),
            "failed": reader.metric_errors(period=minute, statistic="Sum"),
        },
        label="right synthetic reads",
        period=minute,
    )


def approval(
    scope: cdk.Stack, environment: Environment, foundation: Foundation
) -> ecs.DeploymentLifecycleLambdaTarget:
    """The hook that reads every crop with the new version; ECS rolls back if they are misread."""
    made = _reader(scope, "Approve", "approve", environment, foundation, timeout_s=60)
    role = iam.Role(scope, "ApproveHookRole", assumed_by=iam.ServicePrincipal("ecs.amazonaws.com"))
    role.add_to_policy(
        iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[made.function_arn])
    )
    return ecs.DeploymentLifecycleLambdaTarget(
        made,
        "ApproveHook",
        lifecycle_stages=[ecs.DeploymentLifecycleStage.POST_TEST_TRAFFIC_SHIFT],
        role=role,
    )


def _reader(
    scope: cdk.Stack,
    name: str,
    entry: str,
    environment: Environment,
    foundation: Foundation,
    *,
    timeout_s: int,
) -> lambda_.Function:
    domain = ssm.StringParameter.value_for_string_parameter(scope, environment.parameter("domain"))
    secret = foundation.golden_key.secret_arn
    made = function(
        scope,
        name,
        entry=f"golden_read.{entry}",
        environment={
            "ADDRESS": f"https://{domain}",
            "KEY_SECRET": secret,
            "TEST_HEADER": settings.TEST_HEADER,
            "CROPS": crops(),
        },
        foundation=foundation,
        timeout_s=timeout_s,
    )
    made.add_to_role_policy(
        iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[secret])
    )
    assert made.role is not None
    grants.key_use(made.role, foundation.key.key_arn)
    return made


def crops() -> str:
    """JSON of digit -> PNG in base64: below the 4 KB that a function's variables may hold."""
    folder = settings.REPOSITORY_ROOT / "tests" / "data" / "crops"
    files = {name[0]: folder / f"{name}.png" for name in settings.GOLDEN_CROPS}
    return json.dumps({d: base64.b64encode(f.read_bytes()).decode() for d, f in files.items()})

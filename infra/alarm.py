"""An alarm: what it watches, whom it tells, and the link to what to do (docs/operations.md)."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_ssm as ssm

from infra.settings import Environment

RUNBOOK_FILE = "docs/operations.md"
GREATER = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
LESS = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
MISSING_IS_BAD = cloudwatch.TreatMissingData.BREACHING
MISSING_IS_FINE = cloudwatch.TreatMissingData.NOT_BREACHING


def alarm(
    stack: cdk.Stack,
    environment: Environment,
    topic: sns.Topic,
    name: str,
    what: str,
    metric: cloudwatch.IMetric,
    threshold: float,
    *,
    periods: int,
    datapoints: int | None = None,
    comparison: cloudwatch.ComparisonOperator = GREATER,
    missing: cloudwatch.TreatMissingData = MISSING_IS_FINE,
) -> cloudwatch.Alarm:
    """Make an alarm that tells ``topic`` when it starts and when it ends.

    Args:
        stack: where it belongs.
        environment: begins its name.
        topic: Page where reads fail or soon will, else Ticket.
        name: ends its name, and is its section of the runbook.
        what: is wrong, as a sentence without a full stop.
        metric: watched.
        threshold: compared with.
        periods: of the metric, that are looked at.
        datapoints: of them that must be beyond the threshold; None: all.
        comparison: with the threshold.
        missing: what a period without data counts as.
    """
    repository = ssm.StringParameter.value_for_string_parameter(
        stack, environment.parameter("github-repository")
    )
    made = cloudwatch.Alarm(
        stack,
        f"Alarm-{name}",
        alarm_name=f"digitline-{environment.name}-{name}",
        alarm_description=(
            f"{what}. Runbook: https://github.com/{repository}/blob/main/{RUNBOOK_FILE}#alarm-{name}"
        ),
        metric=metric,
        threshold=threshold,
        comparison_operator=comparison,
        evaluation_periods=periods,
        datapoints_to_alarm=datapoints,
        treat_missing_data=missing,
    )
    action = actions.SnsAction(topic)
    made.add_alarm_action(action)
    made.add_ok_action(action)
    return made

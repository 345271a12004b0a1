"""The hours in which MLflow and its database run: the retraining's, and those that people ask for.

Both are billed by the hour, and only the monthly retraining needs them. ``python -m infra mlflow
start`` starts them for a person. Every evening both stop. RDS starts a database that was stopped
for seven days (RDS user guide, "Stopping an Amazon RDS DB instance temporarily"), about the hour at
which it was stopped, so the database is stopped a second time later in the evening.
"""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_rds as rds
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets

from infra import settings


def schedule(scope: cdk.Stack, database: rds.DatabaseInstance, server: ecs.FargateService) -> None:
    """The four schedules. A call that finds the database already stopped fails, which is fine."""
    name = {"DbInstanceIdentifier": database.instance_identifier}
    of_server = {"Cluster": server.cluster.cluster_name, "Service": server.service_name}
    arn, server_arn = database.instance_arn, server.service_arn
    _call(scope, settings.DATABASE_START_CRON, "rds", "startDBInstance", name, arn)
    _call(scope, settings.DATABASE_STOP_CRON, "rds", "stopDBInstance", name, arn)
    for cron, number in ((settings.MLFLOW_START_CRON, 1), (settings.MLFLOW_STOP_CRON, 0)):
        wanted = {**of_server, "DesiredCount": number}
        _call(scope, cron, "ecs", "updateService", wanted, server_arn)


def _call(
    scope: cdk.Stack,
    cron: str,
    service: str,
    operation: str,
    arguments: Mapping[str, object],
    resource: str,
) -> None:
    """Call an operation of AWS's API on a schedule."""
    number = arguments.get("DesiredCount", "")
    scheduler.Schedule(
        scope,
        f"{operation}{number}",
        schedule_name=f"{scope.stack_name}-{operation}{number}",
        description=f"{service} {operation} {number}: the hours of MLflow".replace(" :", ":"),
        schedule=scheduler.ScheduleExpression.expression(
            cron, cdk.TimeZone.of(settings.JOB_TIMEZONE)
        ),
        target=targets.Universal(
            service=service,
            action=operation,
            input=scheduler.ScheduleTargetInput.from_object(dict(arguments)),
            policy_statements=[
                iam.PolicyStatement(
                    actions=[f"{service}:{operation[0].upper()}{operation[1:]}"],
                    resources=[resource],
                )
            ],
            retry_attempts=settings.SCHEDULE_RETRIES,
            max_event_age=cdk.Duration.hours(settings.SCHEDULE_MAX_AGE_H),
        ),
    )

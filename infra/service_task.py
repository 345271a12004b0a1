"""The service's task: the server, and the shipper of captures as its sidecar.

Knows nothing about load balancers or releases.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs

from contract import timeouts
from infra import fargate_task, grants, settings
from infra.foundation_stack import Foundation
from infra.settings import Environment

_SPOOL = f"{settings.WRITABLE}/spool"


def task_definition(
    scope: cdk.Stack, environment: Environment, foundation: Foundation
) -> ecs.FargateTaskDefinition:
    """Two containers that share the spool volume."""
    task = fargate_task.task(
        scope,
        "Task",
        family=f"digitline-{environment.name}-service",
        size=environment.task,
        volume="spool",
    )
    shipper = _shipper(task, environment, foundation)
    server = _server(task, environment, foundation)
    # The server starts after the shipper, so ECS stops it first: records of a draining task are
    # shipped too.
    server.add_container_dependencies(
        ecs.ContainerDependency(container=shipper, condition=ecs.ContainerDependencyCondition.START)
    )
    grants.objects(
        task.task_role,
        grants.ObjectGrant(
            foundation.captures,
            "captures",
            grants.WRITE,
            "the shipper writes captures; it may not delete them, and reads only the sites' states",
        ),
    )
    grants.objects(
        task.task_role,
        grants.ObjectGrant(
            foundation.captures,
            "captures/sites",
            grants.READ,
            "tasks share which sites are on hold",
        ),
    )
    # the server reads the keys itself, again and again: ECS would read them at start only
    grants.secret(task.task_role, foundation.api_keys.secret_arn)
    return task


def _server(
    task: ecs.FargateTaskDefinition, environment: Environment, foundation: Foundation
) -> ecs.ContainerDefinition:
    stack = cdk.Stack.of(task)
    return fargate_task.container(
        task,
        "server",
        image=fargate_task.image(
            stack, environment, foundation.service_images, "service-image-tag"
        ),
        command=["python", "-m", "serving"],
        environment={
            "DIGITS_HOST": "0.0.0.0",  # noqa: S104  # the task's own interface
            "DIGITS_PORT": str(settings.SERVICE_PORT),
            "DIGITS_ERROR_TARGET": str(settings.ERROR_TARGET),
            "DIGITS_AUTH": "on",
            "DIGITS_KEY_STORE": foundation.api_keys.secret_arn,
            "FORWARDED_ALLOW_IPS": "*",  # the security group admits the load balancer only
            "DIGITS_REQUEST_DEADLINE_MS": str(1000 * timeouts.REQUEST_DEADLINE_S),
            "DIGITS_DRAIN_S": str(timeouts.DRAIN_S),
            "DIGITS_CAPTURE_DIR": _SPOOL,
            "DIGITS_EMF": "on",
            "DIGITS_RELEASE": fargate_task.image_tag(stack, environment, "service-image-tag"),
            "DIGITS_LOG_LEVEL": "info",
        },
        port=settings.SERVICE_PORT,
        health_check=ecs.HealthCheck(
            command=fargate_task.probe(settings.SERVICE_PORT, "/livez"),
            interval=cdk.Duration.seconds(settings.HEALTH_INTERVAL_S),
            timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
            retries=settings.UNHEALTHY_CHECKS,
            start_period=cdk.Duration.seconds(settings.START_GRACE_S),
        ),
        log_group=foundation.log_group(stack, "ServerLogs"),
        volume="spool",
    )


def _shipper(
    task: ecs.FargateTaskDefinition, environment: Environment, foundation: Foundation
) -> ecs.ContainerDefinition:
    """The process that converts spool segments to Parquet files on S3.

    It may exit and be restarted without the server; records stay in the spool meanwhile.
    """
    stack = cdk.Stack.of(task)
    return fargate_task.container(
        task,
        "shipper",
        image=fargate_task.image(stack, environment, foundation.jobs_images, "jobs-image-tag"),
        command=["python", "-m", "monitoring", "ship", "--follow"],
        environment={
            "DIGITS_CAPTURE_DIR": _SPOOL,
            "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
            "DIGITS_EMF": "on",
        },
        essential=False,
        memory_limit_mib=int(settings.SHIPPER_MEMORY_FRAC * environment.task.memory_mib),
        log_group=foundation.log_group(stack, "ShipperLogs"),
        volume="spool",
    )

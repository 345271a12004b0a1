"""What all our Fargate tasks share: ARM64, no root, no capability, one writable folder.

Also the image whose tag is an SSM parameter, and the command of a container's health check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contract import timeouts
from infra import grants, settings
from infra.acknowledge import acknowledge
from infra.settings import Environment, TaskSize


def image(
    scope: Construct, environment: Environment, repository: ecr.IRepository, parameter: str
) -> ecs.ContainerImage:
    """The image whose tag is an SSM parameter: a release changes it, not the template."""
    tag = image_tag(scope, environment, parameter)
    return ecs.ContainerImage.from_ecr_repository(repository, tag)


def image_tag(scope: Construct, environment: Environment, parameter: str) -> str:
    """The value of that parameter when the stack is deployed."""
    return ssm.StringParameter.value_for_string_parameter(scope, environment.parameter(parameter))


def cluster(scope: Construct, vpc: ec2.IVpc, *, has_insights: bool, **more: Any) -> ecs.Cluster:
    """A cluster; Container Insights, which costs 11 USD a month, only where alarms read it."""
    level = ecs.ContainerInsights.ENABLED if has_insights else ecs.ContainerInsights.DISABLED
    made = ecs.Cluster(scope, "Cluster", vpc=vpc, container_insights_v2=level, **more)
    if not has_insights:
        reason = "no alarm here reads its metrics; the load balancer counts the healthy tasks"
        acknowledge(made, "AwsSolutions-ECS4", reason)
        acknowledge(made, "CKV_AWS_65", reason)
    return made


def task(
    scope: Construct, name: str, *, family: str, size: TaskSize, volume: str
) -> ecs.FargateTaskDefinition:
    """A task on Graviton with one volume and no container yet."""
    definition = ecs.FargateTaskDefinition(
        scope,
        name,
        family=family,
        cpu=size.cpu_units,
        memory_limit_mib=size.memory_mib,
        runtime_platform=ecs.RuntimePlatform(
            cpu_architecture=ecs.CpuArchitecture.ARM64,
            operating_system_family=ecs.OperatingSystemFamily.LINUX,
        ),
    )
    definition.add_volume(name=volume)
    grants.accept_any_resource(
        definition.obtain_execution_role(), "ecr:GetAuthorizationToken has no resource in IAM"
    )
    acknowledge(
        definition,
        "AwsSolutions-ECS2",
        "secrets come from Secrets Manager, not from variables",
    )
    return definition


def container(
    definition: ecs.FargateTaskDefinition,
    name: str,
    *,
    image: ecs.ContainerImage,
    environment: Mapping[str, str],
    log_group: logs.LogGroup,
    command: Sequence[str] | None = None,
    secrets: Mapping[str, ecs.Secret] | None = None,
    port: int | None = None,
    health_check: ecs.HealthCheck | None = None,
    memory_limit_mib: int | None = None,
    essential: bool = True,
    volume: str,
) -> ecs.ContainerDefinition:
    """Add a container that can write to one folder only, ``settings.WRITABLE``.

    Args:
        definition: the task.
        name: of the container; prefix of its log streams.
        image: its image.
        environment: variables; the region is added.
        log_group: receives its output; the container never waits for it.
        command: None for the image's own.
        secrets: variables from Secrets Manager.
        port: it listens on.
        health_check: its health check.
        memory_limit_mib: None for the whole memory of the task.
        essential: if False, ECS restarts the container alone and the task keeps running.
        volume: the task's volume at that folder; containers with the same volume share it.
    """
    linux = ecs.LinuxParameters(definition, f"{name}-linux", init_process_enabled=True)
    linux.drop_capabilities(ecs.Capability.ALL)
    added = definition.add_container(
        name,
        image=image,
        command=None if command is None else list(command),
        environment={**environment, "AWS_DEFAULT_REGION": cdk.Stack.of(definition).region},
        secrets=secrets,
        port_mappings=None if port is None else [ecs.PortMapping(container_port=port)],
        health_check=health_check,
        memory_limit_mib=memory_limit_mib,
        essential=essential,
        enable_restart_policy=not essential or None,
        user=settings.CONTAINER_USER,
        readonly_root_filesystem=True,
        linux_parameters=linux,
        stop_timeout=cdk.Duration.seconds(timeouts.STOP_TIMEOUT_S),
        logging=ecs.LogDriver.aws_logs(
            stream_prefix=name,
            log_group=log_group,
            mode=ecs.AwsLogDriverMode.NON_BLOCKING,
            max_buffer_size=cdk.Size.mebibytes(25),
        ),
    )
    added.add_mount_points(
        ecs.MountPoint(source_volume=volume, container_path=settings.WRITABLE, read_only=False)
    )
    return added


def probe(port: int, path: str) -> list[str]:
    """The command that requests a path of the container's own server with the image's Python."""
    url = f"http://localhost:{port}{path}"
    return ["CMD", "python", "-c", f"import urllib.request as u; u.urlopen({url!r}, timeout=3)"]

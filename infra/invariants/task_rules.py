"""Tasks: size, permissions, volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra import lookups, settings
from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-tasks-containers.html"
)
def containers_have_least_privilege(world: World) -> Iterator[str]:
    """Not root, read-only root, no capability, logs kept, no secret in plain variables."""
    for task, container in lookups.all_containers(world):
        name = f"{task} {container['Name']}"
        if container.get("User", "0").split(":")[0] in ("0", "root"):
            yield f"{name}: runs as root"
        if container.get("ReadonlyRootFilesystem") is not True:
            yield f"{name}: can write to its root file system"
        if "ALL" not in dig(container, "LinuxParameters.Capabilities.Drop", []):
            yield f"{name}: keeps Linux capabilities"
        if world.at(dig(container, "LogConfiguration.Options.awslogs-group")) is None:
            yield f"{name}: its log group does not exist"
        for variable in lookups.variables(container):
            if re.search(r"PASSWORD|SECRET|TOKEN|API_KEYS", variable):
                yield f"{name}: {variable} is a plain variable, not a secret"


@must_hold("https://github.com/aws/containers-roadmap/issues/1359")
def ecs_exec_works_where_it_is_enabled(world: World) -> Iterator[str]:
    """ECS Exec's agent needs writable folders, permission for its channels, and an endpoint."""
    endpoints = [str(e.get("ServiceName")) for e in world.all("EC2::VPCEndpoint")]
    for service in world.all("ECS::Service"):
        if not service.get("EnableExecuteCommand"):
            continue
        for name, container in lookups.containers(world, service).items():
            for folder in settings.EXEC_AGENT_FOLDERS:
                if container.get("ReadonlyRootFilesystem") and not lookups.volume_of(
                    container, folder
                ):
                    yield f"{service}: {name} is read-only and has no volume at {folder}"
        task = world.at(service.get("TaskDefinition"))
        allowed = lookups.statements(world, task.get("TaskRoleArn") if task else None)
        for channel in ("CreateControlChannel", "OpenDataChannel"):
            if not lookups.permits(allowed, f"ssmmessages:{channel}", "*"):
                yield f"{service}: the task may not call ssmmessages:{channel}"
        if not any(endpoint.endswith(".ssmmessages") for endpoint in endpoints):
            yield f"{service}: no endpoint for ssmmessages"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html"
)
def containers_fit_their_task(world: World) -> Iterator[str]:
    """And every task is on Graviton, which the images are built for."""
    for task in world.all("ECS::TaskDefinition"):
        memory = int(task.get("Memory", 0))
        if sum(c.get("Memory", 0) for c in task.get("ContainerDefinitions")) > memory:
            yield f"{task}: its containers need more than {memory} MiB"
        if task.get("RuntimePlatform.CpuArchitecture") != "ARM64":
            yield f"{task}: not on Graviton"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html"
)
def execution_roles_can_start_their_tasks(world: World) -> Iterator[str]:
    """Pull each image, read each secret, write each log; otherwise the task stays PENDING."""
    for task, container in lookups.all_containers(world):
        statements = lookups.statements(world, task.get("ExecutionRoleArn"))
        group = dig(container, "LogConfiguration.Options.awslogs-group")
        repository = re.search(r"/(\{[^}]+\}):", container["Image"])
        needs = [
            ("ecr:GetAuthorizationToken", "*"),
            ("ecr:BatchGetImage", f"{repository[1][:-1]}.Arn}}" if repository else "?"),
            ("logs:PutLogEvents", f"{str(group)[:-1]}.Arn}}"),
        ]
        needs += [
            ("secretsmanager:GetSecretValue", re.sub(r":\w+::$", "", secret["ValueFrom"]))
            for secret in container.get("Secrets", [])
        ]
        for action, resource in needs:
            if not lookups.permits(statements, action, resource):
                yield f"{task} {container['Name']}: may not {action} on {resource}"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html")
def task_roles_allow_the_buckets_in_their_variables(world: World) -> Iterator[str]:
    """Every s3:// URL in a task's variables is below a prefix that its role may access."""
    for task, container in lookups.all_containers(world):
        statements = lookups.statements(world, task.get("TaskRoleArn"))
        for name, value in lookups.variables(container).items():
            if not value.startswith("s3://"):
                continue
            arn = f"arn:aws:s3:::{value.removeprefix('s3://')}/*"
            if not any(lookups.permits(statements, f"s3:{a}Object", arn) for a in ("Get", "Put")):
                yield f"{task}: {name} is {value}, which its role may not access"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html")
def server_and_shipper_share_the_spool(world: World) -> Iterator[str]:
    """Same folder on one volume; the shipper starts before the server and so stops after it."""
    for service, balancer in lookups.balanced(world):
        containers = lookups.containers(world, service)
        server, shipper = containers[balancer["ContainerName"]], containers.get("shipper", {})
        folders = [lookups.variables(c).get("DIGITS_CAPTURE_DIR") for c in (server, shipper)]
        if folders[0] is None or folders[0] != folders[1]:
            yield f"{service}: server writes to {folders[0]}, shipper reads {folders[1]}"
            continue
        volumes = [lookups.volume_of(c, folders[0]) for c in (server, shipper)]
        if volumes[0] is None or volumes[0] != volumes[1]:
            yield f"{service}: {folders[0]} is on volumes {volumes}"
        if {"ContainerName": "shipper", "Condition": "START"} not in server.get("DependsOn", []):
            yield f"{service}: the shipper may be stopped before the server has drained"
        if not dig(shipper, "RestartPolicy.Enabled") and not shipper.get("Essential", True):
            yield f"{service}: an exited shipper is not restarted"

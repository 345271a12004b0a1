"""``python -m infra mlflow``: starts, stops and upgrades the server, and restores its database.

MLflow refuses to start on a schema that is behind its own version, and its migrations are not
always transactional (``mlflow db upgrade --help``). So the server stops, a snapshot is taken, a
one-off task of the new image changes the schema, and only then the server gets the new image.

A restored database is a new instance with a new address. It takes the old one's name, and so its
address and its place in the stack (RDS user guide, "Renaming a DB instance"); nothing is deployed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import boto3

from infra.argument_parsers import add_action

POLL_S = 15  # between two looks at a slow operation
_ATTEMPTS = 240  # an hour
_WAIT: dict[str, Any] = {"Delay": POLL_S, "MaxAttempts": _ATTEMPTS}


@dataclass(frozen=True, slots=True)
class Registry:
    """The deployed MLflow server of one environment."""

    environment: str
    stack: str
    cluster: str
    service: str
    database: str  # identifier of the instance


def add_actions(parser: argparse.ArgumentParser) -> None:
    """The actions start, stop, upgrade and restore."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add_action(actions, "start", _start, "start the database and the server, until the evening")
    add_action(actions, "stop", _stop, "stop the server and the database")
    upgraded = add_action(
        actions, "upgrade", _upgrade, "take a snapshot, change the schema, start the new image"
    )
    upgraded.add_argument("tag", help="of the new image, which is in the registry")
    restored = add_action(actions, "restore", _restore, "replace the database by a snapshot")
    restored.add_argument("snapshot", help="name of the snapshot")
    restored.add_argument("tag", help="of the image that fits the snapshot's schema")


class NoMlflowError(Exception):
    """The environment runs no MLflow."""


def find(environment: str) -> Registry:
    """Look up what the stack made.

    Raises:
        NoMlflowError: as in an environment without comforts (``lean``).
    """
    stack = f"digitline-{environment}-mlops"
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources")
    made = {
        resource["ResourceType"]: resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=stack)
        for resource in page["StackResourceSummaries"]
    }
    if "AWS::RDS::DBInstance" not in made:
        raise NoMlflowError(f"{stack} has no MLflow: {environment} retrains in a checkout")
    return Registry(
        environment=environment,
        stack=stack,
        cluster=made["AWS::ECS::Cluster"],
        service=made["AWS::ECS::Service"],
        database=made["AWS::RDS::DBInstance"],
    )


def _start(options: argparse.Namespace) -> int:
    registry = find(options.environment)
    start_database(registry)
    set_number(registry, 1)
    print("MLflow runs until the evening")
    return 0


def _stop(options: argparse.Namespace) -> int:
    registry = find(options.environment)
    set_number(registry, 0)
    boto3.client("rds").stop_db_instance(DBInstanceIdentifier=registry.database)
    print("MLflow and its database are stopped")
    return 0


def start_database(registry: Registry) -> None:
    """Start the database if it is stopped, as it is most of the month (mlflow_hours.py)."""
    rds = boto3.client("rds")
    (found,) = rds.describe_db_instances(DBInstanceIdentifier=registry.database)["DBInstances"]
    if found["DBInstanceStatus"] == "stopped":
        rds.start_db_instance(DBInstanceIdentifier=registry.database)
    rds.get_waiter("db_instance_available").wait(
        DBInstanceIdentifier=registry.database, WaiterConfig=_WAIT
    )


def set_number(registry: Registry, number: int) -> None:
    """Run this many servers, 0 or 1, and wait for it."""
    ecs = boto3.client("ecs")
    ecs.update_service(cluster=registry.cluster, service=registry.service, desiredCount=number)
    ecs.get_waiter("services_stable").wait(
        cluster=registry.cluster, services=[registry.service], WaiterConfig=_WAIT
    )


def _upgrade(options: argparse.Namespace) -> int:
    registry = find(options.environment)
    stop(registry)
    snapshot = take_snapshot(registry)
    code = run_upgrade(registry, options.tag)
    if code != 0:
        sys.stderr.write(
            f"the upgrade ended with {code}, the server is stopped; read MlflowLogs, then\n"
            f"python -m infra mlflow restore {snapshot} OLD-TAG --environment "
            f"{registry.environment}\n"
        )
        return 1
    start(registry, options.tag)
    print(f"MLflow runs {options.tag}; snapshot {snapshot} holds the state before it")
    return 0


def _restore(options: argparse.Namespace) -> int:
    registry = find(options.environment)
    stop(registry)
    replaced = restore(registry, options.snapshot)
    start(registry, options.tag)
    print(
        f"MLflow runs {options.tag} on {options.snapshot}; delete {replaced} when it is not needed"
    )
    return 0


def stop(registry: Registry) -> None:
    """Stop the server, so that nobody writes to the database, which runs."""
    start_database(registry)
    set_number(registry, 0)
    print("the server is stopped")


def take_snapshot(registry: Registry) -> str:
    """Take a snapshot of the database; returns its name."""
    rds = boto3.client("rds")
    name = f"{registry.stack}-{_moment()}"
    rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=registry.database)
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=name, WaiterConfig=_WAIT)
    print(f"snapshot {name} is complete")
    return name


def run_upgrade(registry: Registry, tag: str) -> int:
    """Run the new image's upgrade in the server's place; returns its exit code."""
    ecs = boto3.client("ecs")
    service = _service(registry)
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
    task = ecs.run_task(
        cluster=registry.cluster,
        taskDefinition=_with_image(definition["taskDefinition"], tag),
        launchType="FARGATE",
        networkConfiguration=service["networkConfiguration"],
        overrides={"containerOverrides": [{"name": "mlflow", "command": ["upgrade"]}]},
    )["tasks"][0]["taskArn"]
    where = {"cluster": registry.cluster, "tasks": [task]}
    ecs.get_waiter("tasks_stopped").wait(**where, WaiterConfig=_WAIT)
    stopped = ecs.describe_tasks(**where)["tasks"][0]
    print(f"the upgrade stopped: {stopped.get('stoppedReason', 'no reason given')}")
    return int(stopped["containers"][0].get("exitCode", 1))  # none if it never started


def _service(registry: Registry) -> dict[str, Any]:
    found: dict[str, Any] = boto3.client("ecs").describe_services(
        cluster=registry.cluster, services=[registry.service]
    )["services"][0]
    return found


def _with_image(definition: dict[str, Any], tag: str) -> str:
    """Register the server's task with another image tag; returns its ARN."""
    ecs = boto3.client("ecs")
    accepted = ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members
    copy = {key: value for key, value in definition.items() if key in accepted}
    copy["family"] = f"{definition['family']}-upgrade"
    (container,) = copy["containerDefinitions"]
    container["image"] = f"{container['image'].rpartition(':')[0]}:{tag}"
    registered = ecs.register_task_definition(**copy)
    return str(registered["taskDefinition"]["taskDefinitionArn"])


def start(registry: Registry, tag: str) -> None:
    """Give the service the image through its stack, and wait until it runs."""
    boto3.client("ssm").put_parameter(
        Name=f"/digitline/{registry.environment}/mlflow-image-tag",
        Value=tag,
        Type="String",
        Overwrite=True,
    )
    cloudformation = boto3.client("cloudformation")
    try:
        cloudformation.update_stack(
            StackName=registry.stack,
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        cloudformation.get_waiter("stack_update_complete").wait(
            StackName=registry.stack, WaiterConfig=_WAIT
        )
    except cloudformation.exceptions.ClientError as error:
        if "No updates are to be performed" not in str(error):  # the tag has not changed
            raise
    set_number(registry, 1)


def restore(registry: Registry, snapshot: str) -> str:
    """Put a database made from the snapshot in the old one's place; returns the old one's new name.

    The new instance has the old one's network, parameters and protection.
    """
    rds = boto3.client("rds")
    old = rds.describe_db_instances(DBInstanceIdentifier=registry.database)["DBInstances"][0]
    # the stack's name, not the instance's: an identifier has 63 characters at most
    restored, replaced = (f"{registry.stack}-{x}-{_moment()}" for x in ("restored", "replaced"))
    rds.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier=restored,
        DBSnapshotIdentifier=snapshot,
        DBInstanceClass=old["DBInstanceClass"],
        DBSubnetGroupName=old["DBSubnetGroup"]["DBSubnetGroupName"],
        VpcSecurityGroupIds=[group["VpcSecurityGroupId"] for group in old["VpcSecurityGroups"]],
        DBParameterGroupName=old["DBParameterGroups"][0]["DBParameterGroupName"],
        BackupRetentionPeriod=old["BackupRetentionPeriod"],
        DeletionProtection=old["DeletionProtection"],
        EnableCloudwatchLogsExports=old.get("EnabledCloudwatchLogsExports", []),
        PubliclyAccessible=False,
        CopyTagsToSnapshot=True,
    )
    for now, then in (
        (restored, None),
        (registry.database, replaced),
        (restored, registry.database),
    ):
        if then is not None:
            rds.modify_db_instance(
                DBInstanceIdentifier=now, NewDBInstanceIdentifier=then, ApplyImmediately=True
            )
        rds.get_waiter("db_instance_available").wait(
            DBInstanceIdentifier=then or now, WaiterConfig=_WAIT
        )
    print(f"{registry.database} is the restored database; the old one is {replaced}")
    return replaced


def _moment() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())

"""What ends a failure of the game day by a command, done in moto: the same calls as on AWS."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import boto3
from botocore.exceptions import ClientError

from infra import api_keys, lookups, mlflow_upgrade
from infra.world import World

_REGION = "eu-central-1"


@contextlib.contextmanager
def _aws() -> Iterator[None]:
    """An empty account in this process."""
    from moto import mock_aws

    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment["AWS_DEFAULT_REGION"] = _REGION
    silent = contextlib.redirect_stdout(io.StringIO())
    with mock.patch.dict(os.environ, environment, clear=True), mock_aws(), silent:
        yield


def revoke_key(world: World) -> str:  # noqa: ARG001
    """``keys revoke`` with one of two keys."""
    with _aws():
        boto3.client("secretsmanager").create_secret(
            Name=api_keys.secret_name("prod"), SecretString='{"keys": []}'
        )
        leaked = [_keys("add", "--site", site) for site in ("berlin-1", "leeds-2")][1]
        _keys("revoke", leaked.rpartition(" ")[2])
        left = api_keys.change("prod", lambda entries: entries)
    return f"revoked: {', '.join(entry['site'] for entry in left)} is left of 2 keys"


def _keys(*words: str) -> str:
    """Run an action; returns the first line that it prints."""
    parser = argparse.ArgumentParser()
    api_keys.add_actions(parser)
    options = parser.parse_args([*words, "--environment", "prod"])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert options.command(options) == 0
    return printed.getvalue().splitlines()[0]


def allow_writing(world: World) -> str:
    """The template's policy, put back after somebody has taken it away."""
    from moto.core import set_initial_no_auth_action_count

    (service,) = (s for s, _ in lookups.balanced(world))
    task = world.at(service.get("TaskDefinition"))
    assert task is not None
    statements = lookups.statements(world, task.get("TaskRoleArn"))
    text = json.dumps([s for s in statements if "s3:" in str(s["Action"])])  # moto knows no others
    bucket = f"digitline-prod-captures-{'1' * 12}"
    text = re.sub(r"digitline-prod-captures-\$\{AWS::AccountId\}", bucket, text)
    policy = json.dumps({"Version": "2012-10-17", "Statement": json.loads(text)})
    with _aws():
        iam, s3 = boto3.client("iam"), boto3.client("s3")
        where = {"LocationConstraint": _REGION}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        iam.create_user(UserName="task")
        key = iam.create_access_key(UserName="task")["AccessKey"]
        shipper = boto3.client(
            "s3",
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        enforced = set_initial_no_auth_action_count(0)
        write = enforced(_can_write)
        before = write(shipper, bucket)
        iam.put_user_policy(UserName="task", PolicyName="task", PolicyDocument=policy)
        after = write(shipper, bucket)
    return f"writing is {before}, with the template's policy {after}"


def _can_write(shipper: Any, bucket: str) -> str:
    try:
        shipper.put_object(Bucket=bucket, Key="captures/records/file.parquet", Body=b"")
    except ClientError as error:
        return "refused" if error.response["Error"]["Code"] == "AccessDenied" else str(error)
    return "allowed"


def restore_database(world: World) -> str:
    """``mlflow restore`` from a snapshot."""
    (database,) = world.all("RDS::DBInstance")
    with _aws():
        subnets = boto3.client("ec2").describe_subnets()["Subnets"]
        rds = boto3.client("rds")
        rds.create_db_subnet_group(
            DBSubnetGroupName="database",
            DBSubnetGroupDescription="database",
            SubnetIds=[subnet["SubnetId"] for subnet in subnets],
        )
        rds.create_db_parameter_group(
            DBParameterGroupName="database", DBParameterGroupFamily="postgres17", Description="TLS"
        )
        rds.create_db_instance(
            DBInstanceIdentifier="mlflow",
            DBInstanceClass=database.get("DBInstanceClass"),
            Engine=database.get("Engine"),
            AllocatedStorage=int(database.get("AllocatedStorage")),
            MasterUsername="mlflow",
            MasterUserPassword="in-moto-only",
            DBSubnetGroupName="database",
            DBParameterGroupName="database",
            DeletionProtection=database.get("DeletionProtection", False),
        )
        rds.create_db_snapshot(DBSnapshotIdentifier="night", DBInstanceIdentifier="mlflow")
        registry = mlflow_upgrade.Registry(
            environment="prod", stack="digitline-prod-mlops", cluster="", service="",
            database="mlflow",
        )  # fmt: skip
        mlflow_upgrade.restore(registry, "night")
        found = rds.describe_db_instances(DBInstanceIdentifier="mlflow")["DBInstances"][0]
    return f"the restored database is {found['DBInstanceStatus']} under the old name"

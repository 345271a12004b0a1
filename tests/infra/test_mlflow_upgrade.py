"""Upgrade and restore of MLflow's database, in moto and on a real schema that is behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto_api
import pytest
from moto import mock_aws

from infra import mlflow_upgrade, settings
from infra.__main__ import main

ROOT = settings.REPOSITORY_ROOT
PYTHON = ROOT / ".venv" / "bin" / "python"

UPGRADE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("start", {str(ROOT / "infra/mlflow/start.py")!r})
start = importlib.util.module_from_spec(spec)
spec.loader.exec_module(start)
start.upgrade(sys.argv[1])
"""
BEHIND = """
import sys
from alembic import command
from mlflow.store.db import utils
engine = utils.create_sqlalchemy_engine_with_retry(sys.argv[1])
utils._initialize_tables(engine)
with engine.begin() as connection:
    config = utils._get_alembic_config(sys.argv[1])
    config.attributes["connection"] = connection
    command.downgrade(config, "-1")
"""
VERIFY = """
import sys
from mlflow.store.db import utils
utils._verify_schema(utils.create_sqlalchemy_engine_with_retry(sys.argv[1]))
"""


TEMPLATE = {  # what the commands look up, as infra/mlflow_server.py makes it
    "Parameters": {
        "Tag": {
            "Type": "AWS::SSM::Parameter::Value<String>",
            "Default": "/digitline/prod/mlflow-image-tag",
        }
    },
    "Resources": {
        "Vpc": {
            "Type": "AWS::EC2::VPC",
            "Properties": {"CidrBlock": "10.0.0.0/16"},
        },
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.0.1.0/24"},
        },
        "Group": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {"GroupDescription": "tasks", "VpcId": {"Ref": "Vpc"}},
        },
        "Cluster": {"Type": "AWS::ECS::Cluster"},
        "Task": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {
                "Family": "digitline-prod-mlops-mlflow",
                "Cpu": "512",
                "Memory": "2048",
                "NetworkMode": "awsvpc",
                "ContainerDefinitions": [
                    {
                        "Name": "mlflow",
                        "Image": {"Fn::Sub": "registry.example/mlflow:${Tag}"},
                        "Memory": 2048,  # moto needs it
                    }
                ],
            },
        },
        "Service": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "Cluster": {"Ref": "Cluster"},
                "TaskDefinition": {"Ref": "Task"},
                "DesiredCount": 1,
                "LaunchType": "FARGATE",
                "NetworkConfiguration": {
                    "AwsvpcConfiguration": {
                        "Subnets": [{"Ref": "Subnet"}],
                        "SecurityGroups": [{"Fn::GetAtt": ["Group", "GroupId"]}],
                    }
                },
            },
        },
        "Database": {
            "Type": "AWS::RDS::DBInstance",
            "Properties": {
                "DBInstanceClass": "db.t4g.micro",
                "Engine": "postgres",
                "AllocatedStorage": "20",
                "MasterUsername": "mlflow",
                "MasterUserPassword": "of-this-test",
                "DeletionProtection": True,
                "BackupRetentionPeriod": 7,
                "DBSubnetGroupName": {"Ref": "Subnets"},
                "DBParameterGroupName": {"Ref": "Settings"},
            },
        },
        "Settings": {
            "Type": "AWS::RDS::DBParameterGroup",
            "Properties": {"Family": "postgres17", "Description": "TLS only"},
        },
        "Subnets": {
            "Type": "AWS::RDS::DBSubnetGroup",
            "Properties": {
                "DBSubnetGroupDescription": "tasks",
                "SubnetIds": [{"Ref": "Subnet"}],
            },
        },
    },
}


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An operator's shell and the stack of the registry, in moto."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setitem(mlflow_upgrade._WAIT, "Delay", 0)
    monkeypatch.setattr(moto_api.AWS, "endpoint", "")  # another file's server has stopped
    monkeypatch.setattr(moto_api.AWS, "region", "eu-central-1")
    with mock_aws():
        parameter = {"Name": "/digitline/prod/mlflow-image-tag", "Value": "old-tag"}
        boto3.client("ssm").put_parameter(**parameter, Type="String")
        boto3.client("cloudformation").create_stack(
            StackName="digitline-prod-mlops", TemplateBody=json.dumps(TEMPLATE)
        )
        ec2 = boto3.client("ec2")
        for vpc in ec2.describe_vpcs()["Vpcs"]:  # moto's stacks leave it off, its tasks need it
            ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": True})
        yield


def run(*words: str) -> int:
    return main(["mlflow", *words, "--environment", "prod"])


def image(definition: str) -> str:
    found = boto3.client("ecs").describe_task_definition(taskDefinition=definition)
    return str(found["taskDefinition"]["containerDefinitions"][0]["image"])


def snapshots() -> list[str]:
    found = boto3.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    return [one["DBSnapshotIdentifier"] for one in found]


def released() -> str:
    found = boto3.client("ssm").get_parameter(Name="/digitline/prod/mlflow-image-tag")
    return str(found["Parameter"]["Value"])


def test_an_upgrade_runs_the_new_image_once_after_a_snapshot(
    operator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for step in ("stop", "take_snapshot", "run_upgrade", "start"):
        done = getattr(mlflow_upgrade, step)

        def note(*words: Any, done: Any = done, step: str = step) -> Any:
            order.append(step)
            return done(*words)

        monkeypatch.setattr(mlflow_upgrade, step, note)
    assert run("upgrade", "new-tag") == 0
    assert order == ["stop", "take_snapshot", "run_upgrade", "start"]
    assert len(snapshots()) == 1
    family = "digitline-prod-mlops-mlflow-upgrade"
    assert image(family).endswith("/mlflow:new-tag")
    assert released() == "new-tag"


def test_mlflow_is_stopped_and_started(operator: None) -> None:
    registry = mlflow_upgrade.find("prod")
    rds, ecs = boto3.client("rds"), boto3.client("ecs")

    def state() -> tuple[str, int]:
        (found,) = rds.describe_db_instances(DBInstanceIdentifier=registry.database)["DBInstances"]
        (server,) = ecs.describe_services(cluster=registry.cluster, services=[registry.service])[
            "services"
        ]
        return found["DBInstanceStatus"], server["desiredCount"]

    assert run("stop") == 0
    assert state() == ("stopped", 0)
    assert run("start") == 0
    assert state() == ("available", 1)


def test_an_upgrade_starts_the_database_first(operator: None) -> None:
    assert run("stop") == 0
    assert run("upgrade", "new-tag") == 0
    assert len(snapshots()) == 1


def test_a_failed_upgrade_leaves_the_old_image_and_names_the_snapshot(
    operator: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = released()
    monkeypatch.setattr(mlflow_upgrade, "run_upgrade", lambda registry, tag: 1)
    assert run("upgrade", "broken-tag") == 1
    assert released() == before
    assert f"mlflow restore {snapshots()[-1]}" in capsys.readouterr().err


def test_a_restored_database_takes_the_name_and_the_protection_of_the_old_one(
    operator: None,
) -> None:
    rds = boto3.client("rds")
    registry = mlflow_upgrade.find("prod")
    # moto's snapshot holds the protection, AWS's does not: off while it is taken
    rds.modify_db_instance(DBInstanceIdentifier=registry.database, DeletionProtection=False)
    snapshot = mlflow_upgrade.take_snapshot(registry)
    rds.modify_db_instance(
        DBInstanceIdentifier=registry.database,
        DeletionProtection=True,
        VpcSecurityGroupIds=["sg-0123456789abcdef0"],  # moto's stacks set none
        EngineVersion="0.1",  # the restored instance has the snapshot's: so it is another one
    )
    old = rds.describe_db_instances(DBInstanceIdentifier=registry.database)["DBInstances"][0]
    assert run("restore", snapshot, "old-tag") == 0
    new = rds.describe_db_instances(DBInstanceIdentifier=registry.database)["DBInstances"][0]
    assert old["EngineVersion"] == "0.1" != new["EngineVersion"]
    assert new["DeletionProtection"]
    assert new["VpcSecurityGroups"]
    for same in ("VpcSecurityGroups", "Endpoint"):
        assert new[same] == old[same], same
    assert released() == "old-tag"


def test_the_task_brings_a_schema_that_is_behind_up_to_date(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("MLflow needs .venv (make setup), which does not exist")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def python(code: str) -> subprocess.CompletedProcess[str]:
        words = [str(PYTHON), "-c", code, uri]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    made = python(BEHIND)
    assert made.returncode == 0, made.stderr
    assert "out-of-date database schema" in python(VERIFY).stderr
    done = python(UPGRADE)
    assert done.returncode == 0, done.stderr
    assert python(VERIFY).returncode == 0


def test_an_environment_without_mlflow_says_so(
    operator: None, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = {"Resources": {"Jobs": {"Type": "AWS::SNS::Topic"}}}
    boto3.client("cloudformation").create_stack(
        StackName="digitline-lean-mlops", TemplateBody=json.dumps(topic)
    )
    assert main(["mlflow", "start", "--environment", "lean"]) == 2
    assert "digitline-lean-mlops has no MLflow" in capsys.readouterr().err

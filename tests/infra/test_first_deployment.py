"""The first deployment of an environment: it rolls, ends soon if it fails, and can be repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployment import deployed

from infra import settings, world
from infra.app import PROD, build
from infra.world import Template, World


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    folder = tmp_path_factory.mktemp("first")
    build(str(folder), check=False, is_first=True).synth()
    return world.read(Path(folder) / f"assembly-{PROD.name}")


def test_its_circuit_breaker_ends_a_creation_whose_tasks_cannot_start(
    first: dict[str, Template],
) -> None:
    (service,) = World({"service": first["service"]}).all("ECS::Service")
    deployment = service.get("DeploymentConfiguration")
    assert deployment["Strategy"] == "ROLLING"
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert "AdvancedConfiguration" not in service.get("LoadBalancers")[0]


def test_its_rollback_can_delete_the_load_balancer(first: dict[str, Template]) -> None:
    (alb,) = World({"service": first["service"]}).all("ElasticLoadBalancingV2::LoadBalancer")
    attributes = {a["Key"]: a["Value"] for a in alb.get("LoadBalancerAttributes")}
    assert attributes["deletion_protection.enabled"] == "false"


def test_the_alarm_on_failing_starts_exists_before_the_service(
    first: dict[str, Template],
) -> None:
    (service,) = World({"service": first["service"]}).all("ECS::Service")
    alarms = service.get("DeploymentConfiguration.Alarms.AlarmNames")
    assert any("taskstartimpaired" in name for name in alarms)


def test_its_rollback_can_delete_the_database(first: dict[str, Template]) -> None:
    (database,) = World({"mlops": first["mlops"]}).all("RDS::DBInstance")
    assert database.get("DeletionProtection") is False


def test_the_database_writes_to_a_log_group_that_expires(
    synthesised: dict[str, dict[str, Template]],
) -> None:
    mlops = World({"mlops": synthesised[PROD.name]["mlops"]})
    (database,) = mlops.all("RDS::DBInstance")
    name = database.get("DBInstanceIdentifier")
    (group,) = (
        group
        for group in mlops.all("Logs::LogGroup")
        if group.get("LogGroupName") == f"/aws/rds/instance/{name}/postgresql"
    )
    assert group.get("RetentionInDays") == settings.LOG_DAYS
    body = mlops.templates["mlops"]["Resources"]
    made = next(b for b in body.values() if b["Type"] == "AWS::RDS::DBInstance")
    assert group.ref.split(".")[1].strip("}") in made["DependsOn"]


def test_the_second_deployment_updates_the_stacks_of_the_first(
    first: dict[str, Template], synthesised: dict[str, dict[str, Template]]
) -> None:
    """As the CDK does: it keeps the value of each parameter."""
    second = synthesised[PROD.name]
    changed = [name for name in second if second[name] != first[name]]
    assert changed
    with deployed(PROD, first) as live:
        client = live.client("cloudformation")
        for name in changed:
            stack = f"digitline-{PROD.name}-{name}"
            client.update_stack(
                StackName=stack,
                TemplateBody=json.dumps(second[name]),
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Parameters=[
                    {"ParameterKey": key, "UsePreviousValue": True}
                    for key in second[name]["Parameters"]
                ],
            )
            (updated,) = client.describe_stacks(StackName=stack)["Stacks"]
            assert updated["StackStatus"] == "UPDATE_COMPLETE"
            outputs = {one["OutputKey"]: one["OutputValue"] for one in updated["Outputs"]}
            assert outputs == live.outputs[name] | {
                key: outputs[key] for key in outputs.keys() - live.outputs[name].keys()
            }

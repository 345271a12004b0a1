"""botocore's service models as the oracle for every enum and limit that the templates use.

The models are AWS's own descriptions of its APIs; ``oracle.py`` checks against them. The deployment
into moto uses the same models for names and types; these tests cover values, which moto ignores.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import api_calls
import oracle
import pytest
from api_calls import Call
from conftest import NAMES
from moto_api import UnknownPropertyError, as_input
from oracle import Check

from infra import lookups, settings
from infra.world import Resource, World

TYPES = sorted(f"AWS::{kind}" for kind in api_calls.CREATES)
NO_LIMITS = {"AWS::EC2::InternetGateway", "AWS::EC2::SecurityGroupIngress"}  # in their models
broken: list[bool] = []  # one entry a constraint: was its violation reported?


def calls_of(world: World) -> list[Call]:
    made = [r for r in world.resources.values() if r.type not in api_calls.NO_CALL]
    return [call for resource in made for call in api_calls.calls(resource, world)]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_api_accepts_every_value(worlds: dict[str, World], name: str, kind: str) -> None:
    world = worlds[name]
    made = [call for resource in world.all(kind) for call in api_calls.calls(resource, world)]
    if not made:
        assert not world.all("RDS::DBInstance"), "only an environment without comforts lacks a type"
        return
    assert [fault for call in made for fault in oracle.faults(call)] == []
    assert (kind in NO_LIMITS) != any(True for call in made for _ in oracle.checks(call))


def test_every_type_has_its_calls_or_a_reason_for_none(worlds: dict[str, World]) -> None:
    used = {r.type for world in worlds.values() for r in world.resources.values()}
    assert used == {*TYPES, *api_calls.NO_CALL}


def test_every_limit_in_words_applies_to_a_value_of_the_templates(worlds: dict[str, World]) -> None:
    documented = {
        ".".join([str(call), *(str(key) for key in check.place if isinstance(key, str))])
        for call in calls_of(worlds["prod"])
        for check in oracle.checks(call)
        if check.kind == "prose"
    }
    assert documented == set(oracle.PROSE)


def test_a_violation_of_any_constraint_is_reported(worlds: dict[str, World]) -> None:
    """Break each constraint on each value once."""
    unseen = []
    for call in calls_of(worlds["prod"]):
        for check in oracle.checks(call):
            found = oracle.checks(violating(call, check))
            broken.append(any(c.fault for c in found if c.kind == check.kind))
            if not broken[-1]:
                unseen.append(f"{call} {check}")
    assert unseen == []
    assert len(broken) > 2000


def violating(call: Call, check: Check) -> Call:
    """The call with a value that breaks this one constraint."""
    arguments: Any = copy.deepcopy(call.arguments)
    parent = arguments
    for key in check.place[:-1]:
        parent = parent[key]
    value = parent.pop(check.place[-1]) if isinstance(parent, dict) else None
    if check.kind.endswith("of key"):
        parent[check.wrong] = value
    elif check.wrong is not oracle.ABSENT:
        parent[check.place[-1]] = check.wrong
    return replace(call, arguments=arguments)


@pytest.mark.parametrize(
    ("kind", "part", "path", "wrong", "message"),
    [
        ("ECS::Service", "Service", "DeploymentConfiguration.Strategy", "CANARIES", "CANARIES"),
        ("ECS::Service", "Service", "AvailabilityZoneRebalancing", "YES", "'YES'"),
        ("ECS::Service", "Mlflow", "PropagateTags", "TASK", "'TASK'"),
        ("ECS::TaskDefinition", "Task", "RuntimePlatform.CpuArchitecture", "ARM", "'ARM'"),
        ("ECS::Cluster", "Cluster", "ClusterSettings.0.Name", "containerInsight", "Insight'"),
        ("CloudWatch::Alarm", "Alarm", "ComparisonOperator", "Above", "'Above'"),
        ("CloudWatch::Alarm", "Alarm", "EvaluationPeriods", 0, "range 0"),
        ("WAFv2::WebACL", "Firewall", "Scope", "GLOBAL", "'GLOBAL'"),
        ("WAFv2::WebACL", "Firewall", "Rules.0.Statement.RateBasedStatement.Limit", 9, "range 9"),
        ("Scheduler::Schedule", "Drift", "Target.RetryPolicy.MaximumRetryAttempts", 500, "500"),
        ("Scheduler::Schedule", "Drift", "FlexibleTimeWindow.Mode", "NONE", "'NONE'"),
        ("RDS::DBInstance", "Database", "AllocatedStorage", "10", "10, 20 to 65536"),
        ("RDS::DBInstance", "Database", "BackupRetentionPeriod", 36, "36, 0 to 35"),
        ("RDS::DBInstance", "Database", "StorageType", "gp4", "'gp4'"),
        ("RDS::DBInstance", "Database", "Engine", "postgresql", "'postgresql'"),
        ("ElasticLoadBalancingV2::LoadBalancer", "Alb", "Scheme", "public", "'public'"),
        ("ElasticLoadBalancingV2::TargetGroup", "Blue", "HealthyThresholdCount", 1, "range 1"),
        ("ElasticLoadBalancingV2::TargetGroup", "Blue", "TargetType", "task", "'task'"),
        (
            "ElasticLoadBalancingV2::TargetGroup",
            "Blue",
            "TargetGroupAttributes.0.Key",
            "deregistration_delay.seconds",
            "not named",
        ),
        ("ElasticLoadBalancingV2::Listener", "Https", "Port", 70_000, "70000"),
        ("ElasticLoadBalancingV2::ListenerRule", "Production", "Priority", 0, "range 0"),
        ("ElasticLoadBalancingV2::ListenerRule", "Production", "Actions.0.Type", "send", "'send'"),
        ("ApplicationAutoScaling::ScalableTarget", "", "ServiceNamespace", "ECS", "'ECS'"),
        (
            "ApplicationAutoScaling::ScalableTarget",
            "",
            "ScheduledActions.0.ScheduledActionName",
            "",
            "length 0",
        ),
        ("ApplicationAutoScaling::ScalingPolicy", "Cpu", "PolicyType", "Tracking", "'Tracking'"),
        (
            "ApplicationAutoScaling::ScalingPolicy",
            "Burst",
            "StepScalingPolicyConfiguration.AdjustmentType",
            "Percent",
            "'Percent'",
        ),
        ("ECR::Repository", "Service", "ImageTagMutability", "FIXED", "'FIXED'"),
        ("ECR::Repository", "Service", "RepositoryName", "Digitline/x", "'Digitline/x'"),
        ("SQS::Queue", "DeadLetters", "MessageRetentionPeriod", 1_209_601, "1209601, 60"),
        ("SNS::Subscription", "Page", "Protocol", "mail", "'mail'"),
        ("S3::Bucket", "Captures", "VersioningConfiguration.Status", "On", "'On'"),
        (
            "S3::Bucket",
            "Captures",
            "OwnershipControls.Rules.0.ObjectOwnership",
            "Owner",
            "'Owner'",
        ),
        ("SecretsManager::Secret", "Admin", "GenerateSecretString.PasswordLength", 5000, "5000"),
        ("KMS::Key", "Key", "Description", "x" * 8193, "length 8193"),
        ("Budgets::Budget", "Budget", "Budget.TimeUnit", "WEEKLY", "'WEEKLY'"),
        ("Events::Rule", "Pushed", "State", "ON", "'ON'"),
        ("Logs::LogGroup", "ServerLogs", "RetentionInDays", 100, "100 is not named"),
        ("IAM::Role", "Deployer", "MaxSessionDuration", 60, "range 60"),
        ("EC2::VPCEndpoint", "EcrApi", "VpcEndpointType", "Private", "'Private'"),
        ("EC2::FlowLog", "", "TrafficType", "DENY", "'DENY'"),
        ("ServiceDiscovery::Service", "", "DnsConfig.RoutingPolicy", "ALL", "'ALL'"),
        ("StepFunctions::StateMachine", "Drift", "LoggingConfiguration.Level", "INFO", "'INFO'"),
    ],
)
def test_the_oracle_reports_a_wrong_property(
    worlds: dict[str, World], kind: str, part: str, path: str, wrong: object, message: str
) -> None:
    resource = next(r for r in worlds["prod"].all(kind) if part in r.ref)
    properties = copy.deepcopy(resource.properties)
    place: Any = properties
    *way, last = path.split(".")
    for key in way:
        place = place[int(key)] if key.isdigit() else place[key]
    assert last in place
    place[last] = wrong
    seen = api_calls.calls(Resource(resource.ref, resource.type, properties), worlds["prod"])
    assert any(message in fault for call in seen for fault in oracle.faults(call))


@pytest.mark.parametrize(
    ("part", "right", "wrong", "message"),
    [
        ("Drift", '"LaunchType":"FARGATE"', '"LaunchType":"LAMBDA"', "ecs:RunTask"),
        ("Retrain", '"AssignPublicIp":"DISABLED"', '"AssignPublicIp":"NO"', "ecs:RunTask"),
        ("Release", '"CAPABILITY_IAM"', '"CAPABILITY_ALL"', "cloudformation:UpdateStack"),
        ("Release", '"Type":"String"', '"Type":"Text"', "ssm:PutParameter"),
    ],
)
def test_the_oracle_checks_the_calls_of_a_state_machine(
    worlds: dict[str, World], part: str, right: str, wrong: str, message: str
) -> None:
    machines = worlds["prod"].all("StepFunctions::StateMachine")
    machine = next(m for m in machines if part in m.ref)
    definition = machine.get("DefinitionString")
    assert right in definition
    properties = {**machine.properties, "DefinitionString": definition.replace(right, wrong)}
    seen = api_calls.calls(Resource(machine.ref, machine.type, properties), worlds["prod"])
    faults = [fault for call in seen for fault in oracle.faults(call)]
    assert any(fault.startswith(message) for fault in faults)


def test_the_oracle_reports_a_misspelt_property() -> None:
    model = api_calls.shape("ecs", "CreateService")
    with pytest.raises(UnknownPropertyError, match="stratgy"):
        as_input({"DeploymentConfiguration": {"stratgy": "CANARY"}}, model)


def test_the_oracle_reports_a_property_that_no_call_takes(worlds: dict[str, World]) -> None:
    bucket = worlds["prod"].all("S3::Bucket")[0]
    properties = {**bucket.properties, "Sturdy": True}
    with pytest.raises(UnknownPropertyError, match="Sturdy"):
        api_calls.calls(Resource(bucket.ref, bucket.type, properties), worlds["prod"])


def test_the_high_resolution_metric_is_known_to_autoscaling(worlds: dict[str, World]) -> None:
    model = api_calls.shape("application-autoscaling", "PutScalingPolicy")
    config = model.members["TargetTrackingScalingPolicyConfiguration"]
    kinds = config.members["PredefinedMetricSpecification"].members["PredefinedMetricType"].enum
    used = [
        p.get(
            "TargetTrackingScalingPolicyConfiguration.PredefinedMetricSpecification.PredefinedMetricType"
        )
        for p in worlds["prod"].all("ApplicationAutoScaling::ScalingPolicy")
    ]
    assert [kind for kind in used if kind] == ["ECSServiceAverageCPUUtilizationHighResolution"]
    assert set(filter(None, used)) <= set(kinds)


def test_fargates_stop_limit_is_the_documented_one() -> None:
    container = (
        api_calls.shape("ecs", "RegisterTaskDefinition").members["containerDefinitions"].member
    )
    text = re.sub(r"<[^>]+>", "", container.members["stopTimeout"].documentation)
    assert f"max stop timeout value is {settings.MAX_STOP_TIMEOUT_S} seconds" in text


def test_a_circuit_breaker_is_documented_for_rolling_updates_only() -> None:
    """AWS's documentation states the reason for releases_roll_back_automatically."""
    config = api_calls.shape("ecs", "CreateService").members["deploymentConfiguration"]
    text = re.sub(r"<[^>]+>", "", config.members["deploymentCircuitBreaker"].documentation)
    assert "can only be used for services using the rolling update" in text


def test_every_variable_of_the_service_is_one_of_its_settings(worlds: dict[str, World]) -> None:
    source = (settings.REPOSITORY_ROOT / "serving" / "config.py").read_text()
    (server,) = [c for _, c in lookups.all_containers(worlds["prod"]) if c["Name"] == "server"]
    ours = [name for name in lookups.variables(server) if name.startswith("DIGITS_")]
    assert len(ours) > 5
    for name in ours:
        assert f"    {name.removeprefix('DIGITS_').lower()}: " in source

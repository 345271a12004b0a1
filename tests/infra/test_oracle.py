"""botocore's service models as oracle: every enum and every limit that the templates use.

The models are AWS's own descriptions of its APIs. The deployment into moto sends every property
through them too (``moto_types.as_input``); here are the values that moto does not look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from moto_types import UnknownPropertyError, as_input

from infra import emitted, find, settings
from infra.templates import Resource, World


@cache
def shape(service: str, operation: str) -> Any:
    model = botocore.session.get_session().get_service_model(service)
    return model.operation_model(operation).input_shape


def faults(value: Any, model: Any, path: str = "") -> Iterator[str]:
    """Values outside the enum, range or length that the model gives."""
    if model.type_name == "structure":
        for key, item in value.items():
            yield from faults(item, model.members[key], f"{path}.{key}")
    elif model.type_name == "list":
        for item in value:
            yield from faults(item, model.member, path)
    elif model.type_name == "string":
        if model.enum and value not in model.enum:
            yield f"{path}: {value!r} is not one of {model.enum}"
        low, high = model.metadata.get("min", 0), model.metadata.get("max", 10**9)
        if "{" not in value and not low <= len(value) <= high:
            yield f"{path}: {len(value)} characters, {low} to {high} are allowed"
    elif model.type_name in ("integer", "long", "float", "double"):
        low, high = model.metadata.get("min", -(10**12)), model.metadata.get("max", 10**12)
        if not low <= value <= high:
            yield f"{path}: {value}, {low} to {high} are allowed"


CALLS = {  # type -> the operation that CloudFormation calls with its properties
    "ECS::Service": ("ecs", "CreateService"),
    "ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition"),
    "CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm"),
    "Scheduler::Schedule": ("scheduler", "CreateSchedule"),
    "WAFv2::WebACL": ("wafv2", "CreateWebACL"),
    "ElasticLoadBalancingV2::Listener": ("elbv2", "CreateListener"),
    "ElasticLoadBalancingV2::ListenerRule": ("elbv2", "CreateRule"),
    "SecretsManager::Secret": ("secretsmanager", "CreateSecret"),
    "ApplicationAutoScaling::ScalingPolicy": ("application-autoscaling", "PutScalingPolicy"),
}
ONLY_CLOUDFORMATION = {  # properties that are not the create call's
    "SecretsManager::Secret": ("GenerateSecretString",),
    "ApplicationAutoScaling::ScalingPolicy": ("ScalingTargetId",),
    "ElasticLoadBalancingV2::ListenerRule": (),
}


def as_call(resource: Resource, kind: str) -> tuple[dict[str, Any], Any]:
    model = shape(*CALLS[kind])
    dropped = ONLY_CLOUDFORMATION.get(kind, ())
    properties = {k: v for k, v in resource.properties.items() if k not in dropped}
    return as_input(properties, model), model


@pytest.mark.parametrize("kind", CALLS)
def test_every_value_is_one_that_the_api_takes(worlds: dict[str, World], kind: str) -> None:
    for world in worlds.values():
        resources = world.all(kind)
        assert resources
        for resource in resources:
            call, model = as_call(resource, kind)
            assert list(faults(call, model, resource.ref)) == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("ECS::Service", ("DeploymentConfiguration", "Strategy"), "CANARIES"),
        ("ECS::Service", ("AvailabilityZoneRebalancing",), "YES"),
        ("CloudWatch::Alarm", ("ComparisonOperator",), "Above"),
        ("CloudWatch::Alarm", ("EvaluationPeriods",), 0),
        ("WAFv2::WebACL", ("Scope",), "GLOBAL"),
        ("Scheduler::Schedule", ("Target", "RetryPolicy", "MaximumRetryAttempts"), 500),
    ],
)
def test_the_oracle_sees_a_wrong_value(
    worlds: dict[str, World], kind: str, path: tuple[str, ...], wrong: object
) -> None:
    resource = worlds["prod"].all(kind)[0]
    call, model = as_call(resource, kind)
    place: Any = call
    for key in path[:-1]:
        place = place[_spelt(place, key)]
    place[_spelt(place, path[-1])] = wrong
    assert list(faults(call, model, resource.ref))


def _spelt(place: dict[str, Any], key: str) -> str:
    return next(k for k in place if k.lower() == key.lower())


def test_the_oracle_sees_a_misspelt_property() -> None:
    with pytest.raises(UnknownPropertyError, match="stratgy"):
        as_input({"DeploymentConfiguration": {"stratgy": "CANARY"}}, shape("ecs", "CreateService"))


def test_the_high_resolution_metric_is_known_to_autoscaling(worlds: dict[str, World]) -> None:
    model = shape("application-autoscaling", "PutScalingPolicy")
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
    container = shape("ecs", "RegisterTaskDefinition").members["containerDefinitions"].member
    text = re.sub(r"<[^>]+>", "", container.members["stopTimeout"].documentation)
    assert f"max stop timeout value is {settings.MAX_STOP_TIMEOUT_S} seconds" in text


def test_a_circuit_breaker_is_documented_for_rolling_updates_only() -> None:
    """The reason for releases_roll_back_by_themselves, in AWS's own words."""
    config = shape("ecs", "CreateService").members["deploymentConfiguration"]
    text = re.sub(r"<[^>]+>", "", config.members["deploymentCircuitBreaker"].documentation)
    assert "can only be used for services using the rolling update" in text


def test_the_metrics_of_the_code_are_found_in_its_source() -> None:
    """infra/emitted.py reads what serving and monitoring write; by hand, here it is."""
    written = emitted.metrics()
    served = ["Requests", "Errors", "Shed", "Accepted", "Rejected", "InFlight"]
    monitored = "DriftSeverity DriftReportCompleted DriftRecords RejectShare CaptureBacklogBytes"
    assert set(written) == {*served, *monitored.split()}
    assert {(w.namespace, w.service) for w in written.values()} == {
        (settings.METRICS_NAMESPACE, settings.METRICS_SERVICE)
    }


def test_every_variable_of_the_service_is_one_of_its_settings(worlds: dict[str, World]) -> None:
    source = (settings.REPOSITORY_ROOT / "serving" / "config.py").read_text()
    (server,) = [c for _, c in find.all_containers(worlds["prod"]) if c["Name"] == "server"]
    names = [*find.variables(server), *(secret["Name"] for secret in server["Secrets"])]
    ours = [name for name in names if name.startswith("DIGITS_")]
    assert len(ours) > 5
    for name in ours:
        assert f"    {name.removeprefix('DIGITS_').lower()}: " in source

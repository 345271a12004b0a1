"""Each environment is created in moto through CloudFormation and read back through AWS's APIs.

moto does not store the canary, zone rebalancing and metric resolution of an ECS service; the rules
in ``infra/invariants`` check those in the templates.
"""

from __future__ import annotations

import json
from typing import Any

import moto_types
import pytest
from deployment import Deployment

from contract import timeouts
from infra import capacity, settings
from infra.functions import raise_firewall
from infra.world import Template

_TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"


def plan_of(live: Deployment) -> capacity.Plan:
    return capacity.plan(live.environment, capacity.read_measured())


def service_of(live: Deployment) -> dict[str, Any]:
    outputs = live.outputs["service"]
    return live.client("ecs").describe_services(
        cluster=outputs["ClusterName"], services=[outputs["ServiceName"]]
    )["services"][0]


def task_of(live: Deployment, arn: str) -> dict[str, Any]:
    return live.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]


def only_load_balancer(live: Deployment) -> str:
    return live.client("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]


# --- read back ----------------------------------------------------------------------------------
def test_every_resource_was_created(
    live: Deployment, synthesised: dict[str, dict[str, Template]]
) -> None:
    stacks = synthesised[live.environment.name].values()
    planned = sum(len(template["Resources"]) for template in stacks)
    assert live.num_resources == planned


def test_every_type_that_moto_lacks_was_created_through_its_api(live: Deployment) -> None:
    of_mlflow = {kind for kind in moto_types.MISSING if "Discovery" in kind or "Target" in kind}
    left_out = set() if live.environment.has_comforts else of_mlflow - {_TARGET}
    assert moto_types.created_types == set(moto_types.MISSING) - left_out


def test_the_service_runs_the_image_whose_tag_is_in_ssm(live: Deployment) -> None:
    task = task_of(live, service_of(live)["taskDefinition"])
    server = next(c for c in task["containerDefinitions"] if c["name"] == "server")
    assert server["image"].endswith(f"digitline-{live.environment.name}/service:champion-1-0000000")
    assert task["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    size = live.environment.task
    assert (task["cpu"], task["memory"]) == (str(size.cpu_units), str(size.memory_mib))
    assert server["stopTimeout"] == timeouts.STOP_TIMEOUT_S
    assert server["readonlyRootFilesystem"] is True
    assert server["user"] == settings.CONTAINER_USER


def test_the_service_is_behind_two_target_groups(live: Deployment) -> None:
    balancer = service_of(live)["loadBalancers"][0]
    alternate = balancer["advancedConfiguration"]["alternateTargetGroupArn"]
    groups = {
        g["TargetGroupArn"] for g in live.client("elbv2").describe_target_groups()["TargetGroups"]
    }
    assert {balancer["targetGroupArn"], alternate} == groups
    assert len(groups) == 2


def test_the_load_balancer_keeps_its_attributes(live: Deployment) -> None:
    elb = live.client("elbv2")
    attributes = {
        a["Key"]: a["Value"]
        for a in elb.describe_load_balancer_attributes(LoadBalancerArn=only_load_balancer(live))[
            "Attributes"
        ]
    }
    assert attributes["idle_timeout.timeout_seconds"] == str(timeouts.ALB_IDLE_S)
    protected = "true" if live.environment.keeps_data else "false"
    assert attributes["deletion_protection.enabled"] == protected
    for group in elb.describe_target_groups()["TargetGroups"]:
        assert group["HealthCheckPath"] == settings.HEALTH_PATH
        kept = {
            a["Key"]: a["Value"]
            for a in elb.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])[
                "Attributes"
            ]
        }
        assert kept["load_balancing.algorithm.type"] == "least_outstanding_requests"
        assert kept["deregistration_delay.timeout_seconds"] == str(timeouts.DEREGISTRATION_S)


def test_the_listener_uses_tls_and_sends_all_traffic_to_the_first_group(
    live: Deployment,
) -> None:
    elb = live.client("elbv2")
    (listener,) = elb.describe_listeners(LoadBalancerArn=only_load_balancer(live))["Listeners"]
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    rules = {
        rule["Priority"]: rule
        for rule in elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    }
    hidden = rules[str(settings.METRICS_PRIORITY)]["Actions"][0]
    assert hidden["FixedResponseConfig"]["StatusCode"] == "404"
    rule = rules[str(settings.PRODUCTION_PRIORITY)]
    weights = [g["Weight"] for g in rule["Actions"][0]["ForwardConfig"]["TargetGroups"]]
    assert weights == [100, 0]


def test_autoscaling_is_registered_with_the_formulas_numbers(live: Deployment) -> None:
    scaling = live.client("application-autoscaling")
    plan = plan_of(live)
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (plan.min_tasks, plan.max_tasks)
    cluster = live.outputs["service"]["ClusterName"]
    assert target["ResourceId"] == f"service/{cluster}/{live.outputs['service']['ServiceName']}"
    actions = scaling.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"]
    assert {a["Timezone"] for a in actions} == {settings.TRUCK_HOURS.timezone}
    assert {a["ScalableTargetAction"]["MinCapacity"] for a in actions} == {
        plan.min_tasks,
        plan.truck_min_tasks,
    }


def test_two_policies_scale_with_load(live: Deployment) -> None:
    policies = live.client("application-autoscaling").describe_scaling_policies(
        ServiceNamespace="ecs"
    )["ScalingPolicies"]
    kinds = sorted(p["PolicyType"] for p in policies)
    assert kinds == ["StepScaling", "TargetTrackingScaling"]
    values = {
        p["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for p in policies
        if p["PolicyType"] == "TargetTrackingScaling"
    }
    assert values == {settings.CPU_TARGET_PERCENT}


def test_every_alarm_reaches_the_topic_or_a_policy(live: Deployment) -> None:
    alarms = [
        alarm
        for page in live.client("cloudwatch").get_paginator("describe_alarms").paginate()
        for alarm in page["MetricAlarms"]
        if not alarm["AlarmName"].startswith("TargetTracking")
    ]
    assert len(alarms) == (22 if live.environment.has_comforts else 17)
    topics = {live.outputs["foundation"][f"{name}Topic"] for name in ("Page", "Ticket")}
    for alarm in alarms:
        (action,) = alarm["AlarmActions"]
        if not alarm["AlarmName"].endswith("-burst"):
            assert action in topics
            assert "https://github.com/example/digitline/" in alarm["AlarmDescription"]


def test_the_dashboard_has_the_promised_graphs(live: Deployment) -> None:
    if not live.environment.has_comforts:
        assert live.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
        return
    name = f"digitline-{live.environment.name}"
    body = live.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    titles = [w["properties"]["title"] for w in json.loads(body)["widgets"]]
    for promised in (
        "Traffic",
        "Answer time",
        "shed",
        "Saturation",
        "Tasks",
        "Rejects",
        "Drift",
        "Cost",
    ):
        assert any(promised in title for title in titles)


def test_every_bucket_is_private_encrypted_and_expires_objects(live: Deployment) -> None:
    s3 = live.client("s3")
    buckets = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert len(buckets) == 5
    for bucket in buckets:
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] in (
            "aws:kms",
            "AES256",
        )
        assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]


def test_a_flood_puts_the_firewall_on_the_load_balancer(
    live: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, balancer = live.client("wafv2"), only_load_balancer(live)
    (summary,) = client.list_web_acls(Scope="REGIONAL")["WebACLs"]
    monkeypatch.setenv("FIREWALL", summary["ARN"])
    monkeypatch.setenv("BALANCER", balancer)
    monkeypatch.setenv("AWS_ENDPOINT_URL", live.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", live.environment.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for _ in range(2):  # the alarm may ring again
        raise_firewall.raise_it({}, None)
    acl = client.get_web_acl_for_resource(ResourceArn=balancer)["WebACL"]
    rate = acl["Rules"][0]["Statement"]["RateBasedStatement"]
    assert rate["Limit"] == plan_of(live).waf_limit


def test_github_may_assume_the_deployers_role(live: Deployment) -> None:
    name = live.outputs["identity"]["DeployerRole"].split("/")[-1]
    trust = live.client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    exact = trust["Statement"][0]["Condition"]["StringEquals"]
    subject = exact["token.actions.githubusercontent.com:sub"]
    assert subject == f"repo:example/digitline:environment:{live.environment.name}"

"""Looks up related resources in a World: a service's containers, a role's permissions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from infra.world import Resource, World, dig


def albs(world: World) -> list[Resource]:
    """Every application load balancer."""
    return world.all("ElasticLoadBalancingV2::LoadBalancer")


def balanced(world: World) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Each service behind a load balancer, with each of its load balancer entries."""
    for service in world.all("ECS::Service"):
        for balancer in service.get("LoadBalancers", []):
            yield service, balancer


def target_groups(world: World, balancer: dict[str, Any]) -> list[Resource]:
    """The target groups of a load balancer entry: two if deployments shift traffic, else one."""
    names = (
        balancer["TargetGroupArn"],
        dig(balancer, "AdvancedConfiguration.AlternateTargetGroupArn"),
    )
    return [group for group in map(world.at, names) if group is not None]


def targets_of(world: World, service: Resource) -> list[Resource]:
    """The scalable targets of a service."""
    name = f"{service.ref[:-1]}.Name}}"
    targets = world.all("ApplicationAutoScaling::ScalableTarget")
    return [t for t in targets if str(t.get("ResourceId")).endswith(f"/{name}")]


def all_containers(world: World) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Each container of each task definition."""
    for task in world.all("ECS::TaskDefinition"):
        for container in task.get("ContainerDefinitions", []):
            yield task, container


def containers(world: World, service: Resource) -> dict[str, dict[str, Any]]:
    """A service's containers by name."""
    task = world.at(service.get("TaskDefinition"))
    return {c["Name"]: c for c in task.get("ContainerDefinitions", [])} if task else {}


def variables(container: dict[str, Any]) -> dict[str, str]:
    """A container's environment variables without its secrets."""
    return {v["Name"]: str(v["Value"]) for v in container.get("Environment", [])}


def volume_of(container: dict[str, Any], folder: str) -> str | None:
    """The writable volume that holds ``folder``, or None."""
    for mount in container.get("MountPoints", []):
        if f"{folder}/".startswith(f"{mount['ContainerPath']}/") and not mount.get("ReadOnly"):
            return str(mount["SourceVolume"])
    return None


def task_networks(world: World) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """The network configuration of each service and of each task of a state machine."""
    for service in world.all("ECS::Service"):
        yield service, service.get("NetworkConfiguration.AwsvpcConfiguration", {})
    for machine in world.all("StepFunctions::StateMachine"):
        for state in json.loads(machine.get("DefinitionString"))["States"].values():
            if "ecs:runTask" in state.get("Resource", ""):
                yield machine, dig(state, "Parameters.NetworkConfiguration.AwsvpcConfiguration", {})


def attribute(resource: Resource, key: str, default: str) -> str:
    """An attribute of a target group or load balancer, or its default."""
    for kind in ("TargetGroupAttributes", "LoadBalancerAttributes"):
        for attribute in resource.get(kind, []):
            if attribute["Key"] == key:
                return str(attribute["Value"])
    return default


def weights(rule: Resource | None) -> dict[str, int]:
    """Target group -> weight of a listener rule."""
    if rule is None:
        return {}
    groups = dig(rule.get("Actions", [{}])[0], "ForwardConfig.TargetGroups", [])
    return {g["TargetGroupArn"]: g.get("Weight", 0) for g in groups}


def hides(rule: Resource, path: str) -> bool:
    """Whether a listener rule answers 404 at a path pattern, whatever else the request has."""
    conditions, actions = rule.get("Conditions", []), rule.get("Actions", [])
    return (
        len(conditions) == 1
        and path in dig(conditions[0], "PathPatternConfig.Values", [])
        and [dig(action, "FixedResponseConfig.StatusCode") for action in actions] == ["404"]
    )


def forwards(resource: Resource) -> bool:
    """Whether a listener rule, or a listener by default, sends requests to targets."""
    actions = resource.get("Actions", resource.get("DefaultActions", []))
    return any(action.get("Type") == "forward" for action in actions)


def allows(world: World, way: str, owner: str, other: str, port: int) -> bool:
    """Whether a rule lets ``other`` reach ``owner`` (Ingress), or ``owner`` reach it (Egress)."""
    peer = "SourceSecurityGroupId" if way == "Ingress" else "DestinationSecurityGroupId"
    return any(
        rule.get("GroupId") == owner
        and rule.get(peer) == other
        and rule.get("FromPort") <= port <= rule.get("ToPort")
        for rule in world.all(f"EC2::SecurityGroup{way}")
    )


def stat_of(query: dict[str, Any]) -> dict[str, Any] | None:
    """The metric of a metric query, or None for an expression."""
    metric = dig(query, "MetricStat.Metric")
    return metric if isinstance(metric, dict) else None


def periods(alarm: Resource) -> list[int]:
    """An alarm's periods in seconds."""
    queries = [dig(q, "MetricStat.Period", q.get("Period")) for q in alarm.get("Metrics", [])]
    return [p for p in [alarm.get("Period"), *queries] if p] or [60]


def max_alarm_window_s(alarm: Resource) -> int:
    """CloudWatch's longest window: a week if every period is an hour or more, else a day."""
    return 7 * 86_400 if min(periods(alarm)) >= 3600 else 86_400


def all_metrics(world: World) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Each metric that an alarm, a scaling policy or the dashboard reads."""
    for alarm in world.all("CloudWatch::Alarm"):
        if alarm.get("MetricName"):
            yield alarm, alarm.properties
        yield from ((alarm, m) for m in map(stat_of, alarm.get("Metrics", [])) if m)
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        queries = policy.get(
            "TargetTrackingScalingPolicyConfiguration.CustomizedMetricSpecification.Metrics", []
        )
        yield from ((policy, m) for m in map(stat_of, queries) if m)
    for dashboard in world.all("CloudWatch::Dashboard"):
        for widget in json.loads(dashboard.get("DashboardBody"))["widgets"]:
            for row in widget["properties"].get("metrics", []):
                if isinstance(row[0], str):
                    names = [x for x in row if isinstance(x, str)]
                    dimensions = [
                        {"Name": n, "Value": v}
                        for n, v in zip(names[2::2], names[3::2], strict=True)
                    ]
                    yield (
                        dashboard,
                        {
                            "Namespace": names[0],
                            "MetricName": names[1],
                            "Dimensions": dimensions,
                        },
                    )


def statements(world: World, role_arn: object) -> list[dict[str, Any]]:
    """The statements of one role, by its ARN: inline, and of the policies attached to it."""
    role = world.at(role_arn)
    if role is None:
        return []
    documents = [inline["PolicyDocument"] for inline in role.get("Policies", [])]
    documents += [
        policy.get("PolicyDocument")
        for policy in world.all("IAM::Policy")
        if role.ref in policy.get("Roles", [])
    ]
    return [statement for document in documents for statement in document["Statement"]]


def permits(statements: Sequence[dict[str, Any]], action: str, resource: str) -> bool:
    """Whether a statement allows the action on the resource by name, or on everything."""
    return any(
        s["Effect"] == "Allow"
        and action in listed(s.get("Action"))
        and (resource in listed(s.get("Resource")) or "*" in listed(s.get("Resource")))
        for s in statements
    )


def listed(value: object) -> list[str]:
    """A string or a list of strings, as a list."""
    return [value] if isinstance(value, str) else [str(v) for v in value or []]  # type: ignore[attr-defined]

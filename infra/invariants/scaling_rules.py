"""Number of tasks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from infra import lookups
from infra.invariants.rule import must_hold
from infra.world import World


@must_hold(
    "https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html"
)
def autoscaling_limits_are_in_order(world: World) -> Iterator[str]:
    """Of the target itself and of every scheduled action."""
    for target in world.all("ApplicationAutoScaling::ScalableTarget"):
        actions = [a["ScalableTargetAction"] for a in target.get("ScheduledActions", [])]
        for limits in (target.properties, *actions):
            low, high = limits.get("MinCapacity", 0), limits.get("MaxCapacity", 0)
            if not 0 < low <= high:
                yield f"{target}: minimum {low}, maximum {high}"
        if not actions:
            yield f"{target}: no scheduled minimum before the trucks"
        if any("Timezone" not in a for a in target.get("ScheduledActions", [])):
            yield f"{target}: no time zone: the schedule shifts with daylight saving"


@must_hold("https://github.com/aws/containers-roadmap/issues/493")
def autoscaling_alone_sets_the_number_of_tasks(world: World) -> Iterator[str]:
    """A desired count in the template would reset scaling at each deployment."""
    scaled = {t.get("ResourceId") for t in world.all("ApplicationAutoScaling::ScalableTarget")}
    for service in world.all("ECS::Service"):
        resource_id = f"service/{service.get('Cluster')}/{service.ref[:-1]}.Name}}"
        if resource_id in scaled and "DesiredCount" in service.properties:
            yield f"{service}: sets its desired count"
    for service, _ in lookups.balanced(world):
        if not lookups.targets_of(world, service):
            yield f"{service}: no scalable target"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html"
)
def no_policy_counts_requests(world: World) -> Iterator[str]:
    """A bundle of 64 crops is one request; and a count of one target group ends with a release."""
    alarms = {a.ref: a for a in world.all("CloudWatch::Alarm")}
    policies = {p.ref for p in world.all("ApplicationAutoScaling::ScalingPolicy")}
    starting = [a for a in alarms.values() if policies & set(a.get("AlarmActions", []))]
    for one in (*world.all("ApplicationAutoScaling::ScalingPolicy"), *starting):
        if "RequestCount" in json.dumps(one.properties):
            yield f"{one}: scales on the number of requests"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/target-tracking-faster-auto-scaling.html"
)
def high_resolution_scaling_has_high_resolution_metrics(world: World) -> Iterator[str]:
    """The 20-second policy type needs the service to publish every 20 seconds."""
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        kind = policy.get(
            "TargetTrackingScalingPolicyConfiguration.PredefinedMetricSpecification"
            ".PredefinedMetricType",
            "",
        )
        if not kind.endswith("HighResolution"):
            continue
        for service, _ in lookups.balanced(world):
            configs = service.get("Monitoring.MetricConfigurations", [])
            if not any(c.get("ResolutionSeconds") == 20 for c in configs):
                yield f"{policy}: {service} publishes no 20-second metrics"
    steps = {p.ref for p in world.all("ApplicationAutoScaling::ScalingPolicy")}
    for alarm in world.all("CloudWatch::Alarm"):
        if steps & set(alarm.get("AlarmActions", [])) and max(lookups.periods(alarm)) > 20:
            yield f"{alarm}: starts a step policy, and sees a burst by the minute"


@must_hold(
    "https://docs.aws.amazon.com/autoscaling/application/APIReference/API_StepAdjustment.html"
)
def every_policy_has_a_target_and_a_trigger(world: World) -> Iterator[str]:
    """Tracking policies have a value above 0; step policies an alarm and steps without gaps."""
    triggered = {
        a for alarm in world.all("CloudWatch::Alarm") for a in alarm.get("AlarmActions", [])
    }
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        if world.at(policy.get("ScalingTargetId")) is None:
            yield f"{policy}: scales nothing"
        value = policy.get("TargetTrackingScalingPolicyConfiguration.TargetValue", 1)
        if value <= 0:
            yield f"{policy}: target {value}"
        steps = policy.get("StepScalingPolicyConfiguration.StepAdjustments")
        if steps is None:
            continue
        if policy.ref not in triggered:
            yield f"{policy}: no alarm triggers it"
        bounds = [
            (s.get("MetricIntervalLowerBound"), s.get("MetricIntervalUpperBound")) for s in steps
        ]
        if bounds[0][0] != 0 or bounds[-1][1] is not None:
            yield f"{policy}: steps start at {bounds[0][0]} and end at {bounds[-1][1]}"
        if any(upper != lower for (_, upper), (lower, _) in itertools.pairwise(bounds)):
            yield f"{policy}: gap or overlap between steps {bounds}"


@must_hold(
    "https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html"
)
def scale_in_is_slower_than_scale_out(world: World) -> Iterator[str]:
    """A second truck soon after the first still finds its tasks running."""
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        config = policy.get("TargetTrackingScalingPolicyConfiguration")
        if config and not config.get("ScaleOutCooldown", 300) < config.get("ScaleInCooldown", 300):
            yield f"{policy}: scale-in cooldown is not above scale-out's"

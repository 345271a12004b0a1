"""Read the scaling plan from the deployment's synthesised CloudFormation templates.

The simulated policies therefore cannot differ from the deployed ones.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from loadtest.simulator.policies import (
    Metric,
    Plan,
    Predictive,
    Scheduled,
    Step,
    StepScaling,
    TargetTracking,
)

DAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DEFAULT_COOLDOWN_S: Final = 300.0
_CRON: Final = re.compile(r"cron\((\d+) (\d+) \? \* (\S+) \*\)")
_CPU: Final = {
    "ECSServiceAverageCPUUtilization": 60,
    "ECSServiceAverageCPUUtilizationHighResolution": 20,
}
Resource = Mapping[str, Any]


class TemplateError(ValueError):
    """The templates hold no scaling service, or a policy that the simulator does not know."""


def read_plan(folder: Path) -> Plan:
    """The scaling plan of the templates (`*.json`, in any depth) of one environment.

    Raises:
        TemplateError: there is not exactly one scalable target, or a policy cannot be simulated;
            no policy is left out silently.
    """
    resources: dict[str, Resource] = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            resources |= content.get("Resources", {})
    return plan_of(resources)


def plan_of(resources: Mapping[str, Resource]) -> Plan:
    """The scaling plan of these resources; raises as `read_plan`."""
    targets = list(_of(resources, "AWS::ApplicationAutoScaling::ScalableTarget"))
    if len(targets) != 1:
        raise TemplateError(
            f"{len(targets)} scalable targets in the templates; exactly one is expected"
        )
    target = targets[0][1]
    policies: list[TargetTracking | StepScaling] = []
    predictive = None
    for name, policy in _of(resources, "AWS::ApplicationAutoScaling::ScalingPolicy"):
        kind = policy["PolicyType"]
        if kind == "TargetTrackingScaling":
            policies.append(_tracking(name, policy))
        elif kind == "StepScaling":
            policies.append(_step_scaling(name, policy, _alarm_of(resources, name)))
        elif kind == "PredictiveScaling":
            predictive = _predictive(policy)
        else:
            raise TemplateError(f"policy {name} is {kind}, which is not simulated")
    return Plan(
        min_tasks=int(target["MinCapacity"]),
        max_tasks=int(target["MaxCapacity"]),
        policies=tuple(policies),
        schedule=tuple(_schedule(target.get("ScheduledActions", []))),
        predictive=predictive,
        **_task_facts(resources),
    )


def _of(resources: Mapping[str, Resource], kind: str) -> Iterator[tuple[str, Resource]]:
    for name, resource in resources.items():
        if resource.get("Type") == kind:
            yield name, resource["Properties"]


def _tracking(name: str, policy: Resource) -> TargetTracking:
    details = policy["TargetTrackingScalingPolicyConfiguration"]
    metric, period_s = _metric_of(name, details)
    return TargetTracking(
        name=name,
        metric=metric,
        target=float(details["TargetValue"]),
        period_s=period_s,
        out_cooldown_s=float(details.get("ScaleOutCooldown", DEFAULT_COOLDOWN_S)),
        in_cooldown_s=float(details.get("ScaleInCooldown", DEFAULT_COOLDOWN_S)),
        may_scale_in=not details.get("DisableScaleIn", False),
    )


def _metric_of(name: str, details: Resource) -> tuple[Metric, int]:
    kind = details.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    if kind in _CPU:
        return "cpu_percent", _CPU[kind]
    if kind == "ALBRequestCountPerTarget" or _counts_requests(
        details.get("CustomizedMetricSpecification", {}).get("Metrics", [])
    ):
        return "requests_per_task", 60
    raise TemplateError(f"policy {name} tracks {kind or 'a metric'}, which is not simulated")


def _counts_requests(metrics: list[Any]) -> bool:
    """Whether the metric math is the load balancer's requests divided by the running tasks."""
    names = {
        query["MetricStat"]["Metric"]["MetricName"] for query in metrics if "MetricStat" in query
    }
    divides = any("/" in query.get("Expression", "") for query in metrics)
    return names == {"RequestCount", "RunningTaskCount"} and divides


def _alarm_of(resources: Mapping[str, Resource], policy: str) -> Resource:
    for _, alarm in _of(resources, "AWS::CloudWatch::Alarm"):
        if {"Ref": policy} in alarm.get("AlarmActions", []):
            return alarm
    raise TemplateError(f"no alarm starts the step policy {policy}")


def _watched(name: str, alarm: Resource) -> tuple[Metric, int]:
    if _counts_requests(alarm.get("Metrics", [])):
        return "requests_per_task", 60
    if alarm.get("MetricName") == "CPUUtilization" and alarm["Period"] in _CPU.values():
        return "cpu_percent", int(alarm["Period"])
    raise TemplateError(f"the alarm of {name} watches a metric that is not simulated")


def _step_scaling(name: str, policy: Resource, alarm: Resource) -> StepScaling:
    metric, period_s = _watched(name, alarm)
    details = policy["StepScalingPolicyConfiguration"]
    kind = details["AdjustmentType"]
    if kind not in ("PercentChangeInCapacity", "ChangeInCapacity"):
        raise TemplateError(f"policy {name} adjusts by {kind}, which is not simulated")
    steps = tuple(
        Step(
            lower=float(one.get("MetricIntervalLowerBound", -math.inf)),
            upper=float(one.get("MetricIntervalUpperBound", math.inf)),
            change=float(one["ScalingAdjustment"]),
        )
        for one in details["StepAdjustments"]
    )
    return StepScaling(
        name=name,
        metric=metric,
        threshold=float(alarm["Threshold"]),
        steps=steps,
        is_percent=kind == "PercentChangeInCapacity",
        min_magnitude=int(details.get("MinAdjustmentMagnitude", 1)),
        period_s=period_s,
        evaluation_periods=int(alarm["EvaluationPeriods"]),
        cooldown_s=float(details.get("Cooldown", DEFAULT_COOLDOWN_S)),
    )


def _predictive(policy: Resource) -> Predictive:
    details = policy["PredictiveScalingPolicyConfiguration"]
    specification = details["MetricSpecifications"][0]
    return Predictive(
        requests_per_task_per_hour=60 * float(specification["TargetValue"]),
        buffer_s=float(details.get("SchedulingBufferTime", 300)),
        forecast_only=details.get("Mode", "ForecastOnly") == "ForecastOnly",
    )


def _schedule(actions: list[Any]) -> Iterator[Scheduled]:
    for action in actions:
        limits = action["ScalableTargetAction"]
        for minute in minutes_of_week(action["Schedule"]):
            yield Scheduled(minute, limits.get("MinCapacity"), limits.get("MaxCapacity"))


def minutes_of_week(schedule: str) -> list[int]:
    """`cron(45 3 ? * MON-SAT *)` -> the minutes of the week, local time, Monday 00:00 is 0.

    Raises:
        TemplateError: not a weekly cron expression.
    """
    found = _CRON.fullmatch(schedule)
    if not found:
        raise TemplateError(f"the schedule {schedule!r} is not weekly, which is not simulated")
    minute, hour, days = int(found[1]), int(found[2]), found[3]
    return [day * 1440 + hour * 60 + minute for day in _days(days)]


def _days(text: str) -> list[int]:
    if text == "*":
        return list(range(7))
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days += range(begin, end + 1)
    return days


def _task_facts(resources: Mapping[str, Resource]) -> dict[str, float]:
    """Task size, health-check time and drain time, as far as the templates hold them."""
    facts: dict[str, float] = {}
    services = [s for _, s in _of(resources, "AWS::ECS::Service") if s.get("LoadBalancers")]
    definitions = dict(_of(resources, "AWS::ECS::TaskDefinition"))
    for service in services:
        reference = service["TaskDefinition"].get("Ref")
        if "DeploymentConfiguration" in service and reference in definitions:
            facts["vcpus"] = int(definitions[reference]["Cpu"]) / 1024
            facts["memory_gb"] = int(definitions[reference]["Memory"]) / 1024
    for _, group in _of(resources, "AWS::ElasticLoadBalancingV2::TargetGroup"):
        attributes = {a["Key"]: a["Value"] for a in group.get("TargetGroupAttributes", [])}
        checks = int(group.get("HealthyThresholdCount", 5))
        facts["health_s"] = checks * float(group.get("HealthCheckIntervalSeconds", 30))
        facts["drain_s"] = float(attributes.get("deregistration_delay.timeout_seconds", 300))
    return facts

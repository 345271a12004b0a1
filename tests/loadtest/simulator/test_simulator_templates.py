import copy
from pathlib import Path

import pytest

from loadtest.simulator.deployed_policies import TemplateError, minutes_of_week, plan_of, read_plan
from loadtest.simulator.policies import StepScaling, TargetTracking

SNAPSHOTS = Path(__file__).parents[3] / "infra" / "snapshots"
SCALING = "AWS::ApplicationAutoScaling::"
REQUESTS_PER_TASK = [
    {"MetricStat": {"Metric": {"MetricName": "RequestCount"}}},
    {"MetricStat": {"Metric": {"MetricName": "RunningTaskCount"}}},
    {"Expression": "blue / tasks"},
]
RESOURCES = {
    "Target": {
        "Type": f"{SCALING}ScalableTarget",
        "Properties": {
            "MinCapacity": 2,
            "MaxCapacity": 9,
            "ScheduledActions": [
                {
                    "Schedule": "cron(45 3 ? * MON-TUE *)",
                    "ScalableTargetAction": {"MinCapacity": 5, "MaxCapacity": 9},
                }
            ],
        },
    },
    "Cpu": {
        "Type": f"{SCALING}ScalingPolicy",
        "Properties": {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "ECSServiceAverageCPUUtilizationHighResolution"
                },
                "TargetValue": 50,
                "ScaleOutCooldown": 30,
            },
        },
    },
    "Burst": {
        "Type": f"{SCALING}ScalingPolicy",
        "Properties": {
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "PercentChangeInCapacity",
                "MinAdjustmentMagnitude": 2,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}],
            },
        },
    },
    "Alarm": {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmActions": [{"Ref": "Burst"}],
            "Threshold": 700,
            "EvaluationPeriods": 1,
            "Metrics": REQUESTS_PER_TASK,
        },
    },
}


@pytest.fixture
def resources():
    return copy.deepcopy(RESOURCES)


def test_limits_policies_and_schedule_are_read(resources):
    plan = plan_of(resources)
    assert (plan.min_tasks, plan.max_tasks) == (2, 9)
    cpu, burst = plan.policies
    assert isinstance(cpu, TargetTracking)
    assert (cpu.metric, cpu.period_s, cpu.target) == ("cpu_percent", 20, 50)
    assert (cpu.out_cooldown_s, cpu.in_cooldown_s) == (30, 300)  # 300 s is AWS's default
    assert isinstance(burst, StepScaling)
    assert (burst.threshold, burst.min_magnitude, burst.is_percent) == (700, 2, True)
    assert [one.minute_of_week for one in plan.schedule] == [225, 1665]


def test_the_deployments_own_templates_can_be_simulated():
    plan = read_plan(SNAPSHOTS / "prod")
    assert 1 <= plan.min_tasks <= plan.max_tasks
    assert {one.metric for one in plan.policies} == {"cpu_percent"}
    assert plan.schedule
    assert (plan.health_s, plan.drain_s) != (0, 0)


def test_no_scalable_target_is_an_error(resources):
    del resources["Target"]
    with pytest.raises(TemplateError, match="0 scalable targets"):
        plan_of(resources)


def test_a_step_policy_without_its_alarm_is_an_error(resources):
    del resources["Alarm"]
    with pytest.raises(TemplateError, match="no alarm starts the step policy Burst"):
        plan_of(resources)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("PolicyType",), "NewKind"),
        (
            (
                "TargetTrackingScalingPolicyConfiguration",
                "PredefinedMetricSpecification",
                "PredefinedMetricType",
            ),
            "ECSServiceAverageMemoryUtilization",
        ),
    ],
)
def test_an_unknown_policy_or_metric_is_an_error(resources, path, value):
    place = resources["Cpu"]["Properties"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(TemplateError, match="not simulated"):
        plan_of(resources)


def test_a_schedule_that_is_not_weekly_is_an_error():
    assert minutes_of_week("cron(0 0 ? * * *)") == [day * 1440 for day in range(7)]
    with pytest.raises(TemplateError, match="not weekly"):
        minutes_of_week("rate(5 minutes)")

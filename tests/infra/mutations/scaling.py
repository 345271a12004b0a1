"""Number of tasks."""

from __future__ import annotations

from mutations.seed import (
    ALARM,
    POLICY,
    SERVICE,
    TARGET,
    Templates,
    seeds,
)


@seeds("autoscaling_limits_are_in_order")
def scheduled_minimum_above_maximum(t: Templates) -> None:
    t.one(TARGET)["ScheduledActions"][0]["ScalableTargetAction"]["MinCapacity"] = 99


@seeds("autoscaling_limits_are_in_order")
def schedule_without_a_time_zone(t: Templates) -> None:
    del t.one(TARGET)["ScheduledActions"][0]["Timezone"]


@seeds("autoscaling_alone_sets_the_number_of_tasks")
def desired_count_in_the_template(t: Templates) -> None:
    t.one(SERVICE, "Service")["DesiredCount"] = 3


@seeds("autoscaling_alone_sets_the_number_of_tasks")
def scalable_target_of_another_service(t: Templates) -> None:
    t.one(TARGET)["ResourceId"] = "service/another/one"


@seeds("no_policy_counts_requests")
def burst_alarm_on_the_number_of_requests(t: Templates) -> None:
    t.one(ALARM, "BurstAlarm").update(Namespace="AWS/ApplicationELB", MetricName="RequestCount")


@seeds("high_resolution_scaling_has_high_resolution_metrics")
def one_minute_metrics_for_a_20_second_policy(t: Templates) -> None:
    t.one(SERVICE, "Service")["Monitoring"]["MetricConfigurations"][0]["ResolutionSeconds"] = 60


@seeds("high_resolution_scaling_has_high_resolution_metrics")
def burst_alarm_that_waits_a_minute(t: Templates) -> None:
    t.one(ALARM, "BurstAlarm")["Period"] = 60


@seeds("every_policy_has_a_target_and_a_trigger")
def step_policy_without_an_alarm(t: Templates) -> None:
    t.one(ALARM, "BurstAlarm")["AlarmActions"] = []


@seeds("every_policy_has_a_target_and_a_trigger")
def gap_between_steps(t: Templates) -> None:
    steps = t.one(POLICY, "Burst")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    steps[1]["MetricIntervalLowerBound"] += 1


@seeds("every_policy_has_a_target_and_a_trigger")
def tracking_target_of_zero(t: Templates) -> None:
    t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] = 0


@seeds("scale_in_is_slower_than_scale_out")
def scale_in_faster_than_scale_out(t: Templates) -> None:
    t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]["ScaleInCooldown"] = 10

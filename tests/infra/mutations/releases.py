"""Deployments: canary, rollback, zones."""

from __future__ import annotations

from mutations.seed import (
    ALARM,
    SERVICE,
    TARGET,
    Templates,
    seeds,
)


@seeds("releases_roll_back_automatically")
def alarms_do_not_roll_back(t: Templates) -> None:
    t.one(SERVICE, "Service")["DeploymentConfiguration"]["Alarms"]["Rollback"] = False


@seeds("releases_roll_back_automatically")
def rolling_without_a_circuit_breaker(t: Templates) -> None:
    del t.one(SERVICE, "Mlflow")["DeploymentConfiguration"]["DeploymentCircuitBreaker"]


@seeds("a_canary_is_compared_with_the_version_before_it")
def alarm_compares_another_version(t: Templates) -> None:
    t.replace(ALARM, "Alarmversiondifference", "serviceimagetag", "jobsimagetag")


@seeds("a_canary_is_compared_with_the_version_before_it")
def no_golden_crop_before_traffic(t: Templates) -> None:
    del t.one(SERVICE, "Service")["DeploymentConfiguration"]["LifecycleHooks"]


@seeds("a_canary_is_compared_with_the_version_before_it")
def golden_crops_are_read_by_the_old_version(t: Templates) -> None:
    advanced = t.one(SERVICE, "Service")["LoadBalancers"][0]["AdvancedConfiguration"]
    del advanced["TestListenerRule"]


@seeds("a_canary_is_compared_with_the_version_before_it")
def canary_is_not_compared(t: Templates) -> None:
    alarms = t.one(SERVICE, "Service")["DeploymentConfiguration"]["Alarms"]["AlarmNames"]
    alarms[:] = [name for name in alarms if "versiondifference" not in str(name)]


@seeds("traffic_shifts_between_two_target_groups")
def no_second_target_group(t: Templates) -> None:
    balancer = t.one(SERVICE, "Service")["LoadBalancers"][0]
    balancer["AdvancedConfiguration"]["AlternateTargetGroupArn"] = balancer["TargetGroupArn"]


@seeds("traffic_shifts_between_two_target_groups")
def rolling_service(t: Templates) -> None:
    t.one(SERVICE, "Service")["DeploymentConfiguration"]["Strategy"] = "ROLLING"


@seeds("traffic_shifts_between_two_target_groups")
def no_bake_time(t: Templates) -> None:
    del t.one(SERVICE, "Service")["DeploymentConfiguration"]["BakeTimeInMinutes"]


@seeds("traffic_shifts_between_two_target_groups")
def traffic_starts_on_the_empty_group(t: Templates) -> None:
    action = t.one("ElasticLoadBalancingV2::ListenerRule", "Production")["Actions"][0]
    for group, weight in zip(action["ForwardConfig"]["TargetGroups"], (0, 100), strict=True):
        group["Weight"] = weight


@seeds("traffic_shifts_between_two_target_groups")
def traffic_role_missing(t: Templates) -> None:
    t.delete("IAM::Role", "TrafficRole")


@seeds("rollback_alarms_can_fire_within_the_canary")
def alarm_slower_than_the_canary(t: Templates) -> None:
    t.one(ALARM, "Alarmp99").update(EvaluationPeriods=10, DatapointsToAlarm=10)


@seeds("one_zone_can_fail")
def one_zone_only(t: Templates) -> None:
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    del network["Subnets"][1:]


@seeds("one_zone_can_fail")
def no_zone_rebalancing(t: Templates) -> None:
    t.one(SERVICE, "Service")["AvailabilityZoneRebalancing"] = "DISABLED"


@seeds("one_zone_can_fail")
def one_task_at_night(t: Templates) -> None:
    t.one(TARGET)["MinCapacity"] = 1


@seeds("one_zone_can_fail")
def two_tasks_for_three_zones_while_trucks_unload(t: Templates) -> None:
    for action in t.one(TARGET)["ScheduledActions"]:
        action["ScalableTargetAction"]["MinCapacity"] = 2

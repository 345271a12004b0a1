"""Twelve faults that cfn-lint, checkov and cdk-nag did not report when tried."""

from __future__ import annotations

from mutations.seed import (
    ALB,
    GROUP,
    POLICY,
    SERVICE,
    TARGET,
    Templates,
    attribute,
    seeds,
)


@seeds("releases_roll_back_automatically")
def circuit_breaker_with_a_canary(t: Templates) -> None:
    breaker = {"Enable": True, "Rollback": True}
    t.one(SERVICE, "Service")["DeploymentConfiguration"]["DeploymentCircuitBreaker"] = breaker


@seeds("no_policy_counts_requests")
def alb_request_count_per_target_with_two_groups(t: Templates) -> None:
    config = t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]
    config["PredefinedMetricSpecification"] = {
        "PredefinedMetricType": "ALBRequestCountPerTarget",
        "ResourceLabel": "app/x/1/targetgroup/y/2",
    }


@seeds("no_policy_counts_requests")
def alb_request_count_per_target_without_a_label(t: Templates) -> None:
    config = t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]
    config["PredefinedMetricSpecification"] = {"PredefinedMetricType": "ALBRequestCountPerTarget"}


@seeds("ports_agree_from_listener_to_container")
def container_listens_on_another_port(t: Templates) -> None:
    t.container("server")["PortMappings"][0]["ContainerPort"] = 8080


@seeds("security_groups_let_the_load_balancer_reach_the_tasks")
def tasks_admit_another_port(t: Templates) -> None:
    t.one("EC2::SecurityGroupIngress", "TasksGroup").update(FromPort=8080, ToPort=8080)


@seeds("timeouts_are_in_order")
def keep_alive_below_the_idle_timeout(t: Templates) -> None:
    attribute(t.one(ALB)["LoadBalancerAttributes"], "idle_timeout.timeout_seconds")["Value"] = "90"


@seeds("execution_roles_can_start_their_tasks")
def execution_role_without_its_policy(t: Templates) -> None:
    t.delete("IAM::Policy", "TaskExecutionRole")


@seeds("releases_roll_back_automatically")
def rollback_alarm_misspelt(t: Templates) -> None:
    alarms = t.one(SERVICE, "Service")["DeploymentConfiguration"]["Alarms"]
    alarms["AlarmNames"][0] = "digitline-prod-p98"


@seeds("slow_start_is_off_where_it_does_not_work")
def slow_start_with_least_outstanding_requests(t: Templates) -> None:
    slow = {"Key": "slow_start.duration_seconds", "Value": "30"}
    t.one(GROUP, "Blue")["TargetGroupAttributes"].append(slow)


@seeds("stop_timeouts_are_within_fargates_limit")
def stop_timeout_above_fargates_limit(t: Templates) -> None:
    t.container("server")["StopTimeout"] = 500


@seeds("health_check_timeouts_are_below_their_interval")
def health_timeout_not_below_its_interval(t: Templates) -> None:
    t.one(GROUP, "Blue")["HealthCheckTimeoutSeconds"] = 10


@seeds("autoscaling_limits_are_in_order")
def minimum_above_maximum(t: Templates) -> None:
    t.one(TARGET)["MinCapacity"] = t.one(TARGET)["MaxCapacity"] + 1

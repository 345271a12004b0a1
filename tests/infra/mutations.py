"""Faults seeded into the synthesised templates: each must be reported by the rule it names.

The first thirteen are those that no linter reported when they were tried (cfn-lint, checkov,
cdk-nag; docs/deploy.md). A mutation edits a copy of production's templates in place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.templates import Template

Change = Callable[["Templates"], None]
MUTATIONS: list[Mutation] = []


@dataclass(frozen=True)
class Mutation:
    """A fault, and the name of the rule that must see it."""

    rule: str
    change: Change

    @property
    def name(self) -> str:
        return self.change.__name__

    def __str__(self) -> str:
        return self.name


def seeds(rule: str) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        MUTATIONS.append(Mutation(rule, change))
        return change

    return register


class Templates:
    """Finds what a mutation wants to break."""

    def __init__(self, templates: dict[str, Template]) -> None:
        self.stacks = templates

    def all(self, kind: str, name: str = "") -> list[dict[str, Any]]:
        """Bodies of the resources of a type whose logical id starts with ``name``."""
        return [
            body
            for template in self.stacks.values()
            for logical_id, body in template["Resources"].items()
            if body["Type"] == f"AWS::{kind}" and logical_id.startswith(name)
        ]

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        """Properties of the first of them."""
        return self.all(kind, name)[0]["Properties"]

    def container(self, name: str) -> dict[str, Any]:
        tasks = self.all("ECS::TaskDefinition")
        containers = [c for t in tasks for c in t["Properties"]["ContainerDefinitions"]]
        return next(c for c in containers if c["Name"] == name)

    def delete(self, kind: str, name: str = "") -> None:
        for template in self.stacks.values():
            for logical_id, body in list(template["Resources"].items()):
                if body["Type"] == f"AWS::{kind}" and logical_id.startswith(name):
                    del template["Resources"][logical_id]

    def replace(self, kind: str, name: str, old: str, new: str) -> None:
        """Replace text anywhere in the resource's JSON; it must be there."""
        body = self.all(kind, name)[0]
        text = json.dumps(body)
        assert old in text, f"{old} is not in {kind} {name}"
        body.update(json.loads(text.replace(old, new)))

    def policy_of(self, name: str) -> list[dict[str, Any]]:
        """The statements of the policy of a role."""
        return self.one("IAM::Policy", name)["PolicyDocument"]["Statement"]


def attribute(attributes: list[dict[str, str]], key: str) -> dict[str, str]:
    return next(a for a in attributes if a["Key"] == key)


def set_variable(container: dict[str, Any], name: str, value: str) -> None:
    next(v for v in container["Environment"] if v["Name"] == name)["Value"] = value


SERVICE, TARGET, POLICY = (
    "ECS::Service",
    "ApplicationAutoScaling::ScalableTarget",
    ("ApplicationAutoScaling::ScalingPolicy"),
)
GROUP, ALB = "ElasticLoadBalancingV2::TargetGroup", "ElasticLoadBalancingV2::LoadBalancer"
ALARM, MACHINE = "CloudWatch::Alarm", "StepFunctions::StateMachine"


# --- the thirteen that no linter caught ---------------------------------------------------------
@seeds("releases_roll_back_by_themselves")
def circuit_breaker_with_a_canary(t: Templates) -> None:
    breaker = {"Enable": True, "Rollback": True}
    t.one(SERVICE, "Service")["DeploymentConfiguration"]["DeploymentCircuitBreaker"] = breaker


@seeds("scaling_metrics_see_both_target_groups")
def alb_request_count_per_target_with_two_groups(t: Templates) -> None:
    config = t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]
    config["PredefinedMetricSpecification"] = {
        "PredefinedMetricType": "ALBRequestCountPerTarget",
        "ResourceLabel": "app/x/1/targetgroup/y/2",
    }


@seeds("scaling_metrics_see_both_target_groups")
def alb_request_count_per_target_without_a_label(t: Templates) -> None:
    config = t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]
    config["PredefinedMetricSpecification"] = {"PredefinedMetricType": "ALBRequestCountPerTarget"}


@seeds("ports_agree_from_listener_to_container")
def container_listens_on_another_port(t: Templates) -> None:
    t.container("server")["PortMappings"][0]["ContainerPort"] = 8080


@seeds("security_groups_let_the_load_balancer_reach_the_tasks")
def tasks_admit_another_port(t: Templates) -> None:
    t.one("EC2::SecurityGroupIngress", "TasksGroup").update(FromPort=8080, ToPort=8080)


@seeds("timeouts_nest")
def keep_alive_below_the_idle_timeout(t: Templates) -> None:
    attribute(t.one(ALB)["LoadBalancerAttributes"], "idle_timeout.timeout_seconds")["Value"] = "90"


@seeds("execution_roles_can_start_their_tasks")
def execution_role_without_its_policy(t: Templates) -> None:
    t.delete("IAM::Policy", "TaskExecutionRole")


@seeds("releases_roll_back_by_themselves")
def rollback_alarm_misspelt(t: Templates) -> None:
    alarms = t.one(SERVICE, "Service")["DeploymentConfiguration"]["Alarms"]
    alarms["AlarmNames"][0] = "digitline-prod-p98"


@seeds("load_balancer_attributes_exist")
def slow_start_with_least_outstanding_requests(t: Templates) -> None:
    slow = {"Key": "slow_start.duration_seconds", "Value": "30"}
    t.one(GROUP, "Blue")["TargetGroupAttributes"].append(slow)


@seeds("load_balancer_attributes_exist")
def target_group_attribute_misspelt(t: Templates) -> None:
    t.one(GROUP, "Green")["TargetGroupAttributes"][0]["Key"] = "deregistration_delay.timeout"


@seeds("stop_timeouts_are_within_fargates_limit")
def stop_timeout_above_fargates_limit(t: Templates) -> None:
    t.container("server")["StopTimeout"] = 500


@seeds("health_checks_time_out_before_the_next_begins")
def health_timeout_not_below_its_interval(t: Templates) -> None:
    t.one(GROUP, "Blue")["HealthCheckTimeoutSeconds"] = 10


@seeds("autoscaling_limits_are_in_order")
def minimum_above_maximum(t: Templates) -> None:
    t.one(TARGET)["MinCapacity"] = t.one(TARGET)["MaxCapacity"] + 1


# --- one request's way in -----------------------------------------------------------------------
@seeds("ports_agree_from_listener_to_container")
def target_group_on_another_port(t: Templates) -> None:
    t.one(GROUP, "Green")["Port"] = 3001


@seeds("ports_agree_from_listener_to_container")
def server_started_on_another_port(t: Templates) -> None:
    set_variable(t.container("server"), "DIGITS_PORT", "3001")


@seeds("security_groups_let_the_load_balancer_reach_the_tasks")
def load_balancer_may_not_leave(t: Templates) -> None:
    t.delete("EC2::SecurityGroupEgress", "AlbGroup")


@seeds("listeners_speak_tls_1_2_or_newer_only")
def plain_http_listener(t: Templates) -> None:
    t.one("ElasticLoadBalancingV2::Listener").update(Protocol="HTTP", Port=80)


@seeds("listeners_speak_tls_1_2_or_newer_only")
def tls_1_0_policy(t: Templates) -> None:
    t.one("ElasticLoadBalancingV2::Listener")["SslPolicy"] = "ELBSecurityPolicy-TLS13-1-0-2021-06"


@seeds("the_firewall_stands_before_the_load_balancer")
def firewall_not_associated(t: Templates) -> None:
    t.delete("WAFv2::WebACLAssociation")


@seeds("the_firewall_stands_before_the_load_balancer")
def rate_rule_only_counts(t: Templates) -> None:
    t.one("WAFv2::WebACL")["Rules"][0]["Action"] = {"Count": {}}


@seeds("the_firewall_stands_before_the_load_balancer")
def firewall_blocks_large_crops(t: Templates) -> None:
    group = t.one("WAFv2::WebACL")["Rules"][3]["Statement"]["ManagedRuleGroupStatement"]
    del group["RuleActionOverrides"][0]


@seeds("the_rate_rule_lets_the_planned_peak_through")
def rate_rule_below_the_planned_peak(t: Templates) -> None:
    t.one("WAFv2::WebACL")["Rules"][0]["Statement"]["RateBasedStatement"]["Limit"] = 2000


# --- time ---------------------------------------------------------------------------------------
@seeds("timeouts_nest")
def killed_before_it_has_drained(t: Templates) -> None:
    t.container("server")["StopTimeout"] = 26


@seeds("timeouts_nest")
def deregistered_before_it_has_drained(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attribute(attributes, "deregistration_delay.timeout_seconds")["Value"] = "10"


@seeds("timeouts_nest")
def default_deregistration_of_five_minutes(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attributes.remove(attribute(attributes, "deregistration_delay.timeout_seconds"))


@seeds("health_checks_time_out_before_the_next_begins")
def container_health_timeout_not_below_its_interval(t: Templates) -> None:
    t.container("server")["HealthCheck"]["Timeout"] = 10


@seeds("readiness_is_the_deep_check")
def shallow_health_check(t: Templates) -> None:
    t.one(GROUP, "Green")["HealthCheckPath"] = "/livez"


@seeds("load_balancer_attributes_exist")
def load_balancer_attribute_misspelt(t: Templates) -> None:
    attribute(t.one(ALB)["LoadBalancerAttributes"], "idle_timeout.timeout_seconds")["Key"] = (
        "idle_timeout.seconds"
    )


@seeds("bursts_go_to_the_least_busy_task")
def round_robin(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attribute(attributes, "load_balancing.algorithm.type")["Value"] = "round_robin"


# --- releases -----------------------------------------------------------------------------------
@seeds("releases_roll_back_by_themselves")
def alarms_do_not_roll_back(t: Templates) -> None:
    t.one(SERVICE, "Service")["DeploymentConfiguration"]["Alarms"]["Rollback"] = False


@seeds("releases_roll_back_by_themselves")
def rolling_without_a_circuit_breaker(t: Templates) -> None:
    del t.one(SERVICE, "Mlflow")["DeploymentConfiguration"]["DeploymentCircuitBreaker"]


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
    action = t.one("ElasticLoadBalancingV2::ListenerRule")["Actions"][0]
    for group, weight in zip(action["ForwardConfig"]["TargetGroups"], (0, 100), strict=True):
        group["Weight"] = weight


@seeds("traffic_shifts_between_two_target_groups")
def nobody_may_shift_traffic(t: Templates) -> None:
    t.delete("IAM::Role", "TrafficRole")


@seeds("rollback_alarms_can_ring_within_the_canary")
def alarm_slower_than_the_canary(t: Templates) -> None:
    t.one(ALARM, "Alarmp99").update(EvaluationPeriods=10, DatapointsToAlarm=10)


@seeds("a_lost_zone_is_survived")
def one_zone_only(t: Templates) -> None:
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    del network["Subnets"][1:]


@seeds("a_lost_zone_is_survived")
def no_zone_rebalancing(t: Templates) -> None:
    t.one(SERVICE, "Service")["AvailabilityZoneRebalancing"] = "DISABLED"


@seeds("a_lost_zone_is_survived")
def two_tasks_for_three_zones(t: Templates) -> None:
    t.one(TARGET)["MinCapacity"] = 2


# --- autoscaling --------------------------------------------------------------------------------
@seeds("autoscaling_limits_are_in_order")
def scheduled_minimum_above_maximum(t: Templates) -> None:
    t.one(TARGET)["ScheduledActions"][0]["ScalableTargetAction"]["MinCapacity"] = 99


@seeds("autoscaling_limits_are_in_order")
def schedule_without_a_time_zone(t: Templates) -> None:
    del t.one(TARGET)["ScheduledActions"][0]["Timezone"]


@seeds("autoscaling_owns_the_number_of_tasks")
def desired_count_in_the_template(t: Templates) -> None:
    t.one(SERVICE, "Service")["DesiredCount"] = 3


@seeds("autoscaling_owns_the_number_of_tasks")
def nothing_scales_the_service(t: Templates) -> None:
    t.one(TARGET)["ResourceId"] = "service/another/one"


@seeds("scaling_metrics_see_both_target_groups")
def scaling_counts_one_target_group_twice(t: Templates) -> None:
    config = t.one(POLICY, "Requests")["TargetTrackingScalingPolicyConfiguration"]
    metrics = config["CustomizedMetricSpecification"]["Metrics"]
    metrics[1]["MetricStat"] = metrics[0]["MetricStat"]


@seeds("high_resolution_scaling_has_high_resolution_metrics")
def one_minute_metrics_for_a_20_second_policy(t: Templates) -> None:
    t.one(SERVICE, "Service")["Monitoring"]["MetricConfigurations"][0]["ResolutionSeconds"] = 60


@seeds("every_policy_has_a_target_and_a_pulse")
def nobody_triggers_the_step_policy(t: Templates) -> None:
    t.one(ALARM, "BurstAlarm")["AlarmActions"] = []


@seeds("every_policy_has_a_target_and_a_pulse")
def gap_between_steps(t: Templates) -> None:
    steps = t.one(POLICY, "Burst")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    steps[1]["MetricIntervalLowerBound"] += 1000


@seeds("every_policy_has_a_target_and_a_pulse")
def target_of_nothing(t: Templates) -> None:
    t.one(POLICY, "Requests")["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] = 0


@seeds("a_second_truck_finds_the_tasks_of_the_first")
def tasks_given_back_at_once(t: Templates) -> None:
    t.one(POLICY, "Cpu")["TargetTrackingScalingPolicyConfiguration"]["ScaleInCooldown"] = 10


# --- metrics and alarms -------------------------------------------------------------------------
@seeds("metrics_exist")
def metric_name_misspelt(t: Templates) -> None:
    t.replace(ALARM, "Alarmp99", "TargetResponseTime", "TargetResponseTimes")


@seeds("metrics_exist")
def metric_with_wrong_dimensions(t: Templates) -> None:
    t.replace(ALARM, "Alarmshed", '"Name": "Service"', '"Name": "Site"')


@seeds("metrics_exist")
def dashboard_metric_misspelt(t: Templates) -> None:
    t.replace("CloudWatch::Dashboard", "", "DriftSeverity", "DriftSevereness")


@seeds("metrics_exist")
def scaling_metric_of_another_namespace(t: Templates) -> None:
    t.replace(POLICY, "Requests", "ECS/ContainerInsights", "AWS/ECS")


@seeds("our_metrics_are_the_ones_that_our_code_writes")
def alarm_on_another_service(t: Templates) -> None:
    t.replace(ALARM, "Alarmdrift", '"Value": "digits"', '"Value": "digitline"')


@seeds("our_metrics_are_the_ones_that_our_code_writes")
def rollback_alarm_in_another_namespace(t: Templates) -> None:
    t.replace(ALARM, "Alarmrejects", '"Namespace": "Digitline"', '"Namespace": "Digits"')


@seeds("our_metrics_are_the_ones_that_our_code_writes")
def dashboard_of_another_service(t: Templates) -> None:
    t.replace("CloudWatch::Dashboard", "", '\\"Service\\",\\"digits\\"', '\\"Service\\",\\"dig\\"')


@seeds("container_insights_are_on_where_they_are_read")
def container_insights_off(t: Templates) -> None:
    t.replace("ECS::Cluster", "", "enabled", "disabled")


@seeds("alarms_reach_a_person_with_a_runbook")
def alarm_that_rings_for_nobody(t: Templates) -> None:
    t.one(ALARM, "Alarmerrors")["AlarmActions"] = []


@seeds("alarms_reach_a_person_with_a_runbook")
def runbook_link_to_nowhere(t: Templates) -> None:
    t.replace(ALARM, "Alarmretrain", "#alarm-retrain", "#alarm-retrian")


@seeds("alarm_arithmetic_is_possible")
def more_datapoints_than_periods(t: Templates) -> None:
    t.one(ALARM, "Alarmp99")["DatapointsToAlarm"] = 4


@seeds("alarm_arithmetic_is_possible")
def expression_of_an_undefined_metric(t: Templates) -> None:
    t.one(ALARM, "Alarmerrors")["Metrics"][0]["Expression"] = "FILL(targets, 0) / n"


@seeds("alarm_arithmetic_is_possible")
def alarm_that_looks_back_too_far(t: Templates) -> None:
    t.one(ALARM, "Alarmdriftsilent")["EvaluationPeriods"] = 30


@seeds("silence_of_a_job_is_an_alarm")
def silence_is_fine(t: Templates) -> None:
    t.one(ALARM, "Alarmdriftsilent")["TreatMissingData"] = "notBreaching"


@seeds("the_promised_alarms_are_there")
def stuck_deployments_go_unnoticed(t: Templates) -> None:
    t.delete(ALARM, "Alarmstuckdeployment")


@seeds("the_promised_alarms_are_there")
def no_budget(t: Templates) -> None:
    t.delete("Budgets::Budget")


@seeds("the_dashboard_shows_what_was_promised")
def dashboard_without_cost(t: Templates) -> None:
    t.replace("CloudWatch::Dashboard", "", "EstimatedCharges", "DesiredTaskCount")


@seeds("topics_can_be_written_by_those_who_must")
def key_refuses_cloudwatch(t: Templates) -> None:
    t.replace("KMS::Key", "", "cloudwatch.amazonaws.com", "cloudtrail.amazonaws.com")


@seeds("topics_can_be_written_by_those_who_must")
def nobody_subscribed(t: Templates) -> None:
    t.delete("SNS::Subscription", "Alerts")


# --- tasks --------------------------------------------------------------------------------------
@seeds("containers_can_do_as_little_as_possible")
def runs_as_root(t: Templates) -> None:
    del t.container("server")["User"]


@seeds("containers_can_do_as_little_as_possible")
def writable_image(t: Templates) -> None:
    t.container("drift")["ReadonlyRootFilesystem"] = False


@seeds("containers_can_do_as_little_as_possible")
def password_in_the_open(t: Templates) -> None:
    variable = {"Name": "DATABASE_PASSWORD", "Value": "hunter2"}
    t.container("mlflow")["Environment"].append(variable)


@seeds("people_can_get_into_what_says_so")
def exec_agent_with_nowhere_to_write(t: Templates) -> None:
    del t.container("mlflow")["MountPoints"][-1]


@seeds("people_can_get_into_what_says_so")
def exec_agent_without_permission(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskTaskRole")
    statements[:] = [s for s in statements if "ssmmessages" not in json.dumps(s["Action"])]


@seeds("people_can_get_into_what_says_so")
def exec_agent_without_a_way_out(t: Templates) -> None:
    t.delete("EC2::VPCEndpoint", "VpcExec")


@seeds("tasks_have_a_size_that_fargate_sells")
def one_vcpu_with_one_gigabyte(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["Memory"] = "1024"


@seeds("tasks_have_a_size_that_fargate_sells")
def shipper_larger_than_its_task(t: Templates) -> None:
    t.container("shipper")["Memory"] = 4096


@seeds("tasks_have_a_size_that_fargate_sells")
def x86_task(t: Templates) -> None:
    t.one("ECS::TaskDefinition", "Task")["RuntimePlatform"]["CpuArchitecture"] = "X86_64"


@seeds("execution_roles_can_start_their_tasks")
def secret_nobody_may_read(t: Templates) -> None:
    statements = t.policy_of("MlflowTaskExecutionRole")
    statements[:] = [s for s in statements if "secretsmanager" not in json.dumps(s["Action"])]


@seeds("tasks_may_reach_the_objects_they_are_told_about")
def capture_prefix_renamed_on_one_side(t: Templates) -> None:
    t.replace("ECS::TaskDefinition", "DriftTask", "/captures", "/captured")


@seeds("tasks_may_reach_the_objects_they_are_told_about")
def retraining_reads_labels_it_may_not(t: Templates) -> None:
    t.replace("ECS::TaskDefinition", "RetrainTask", "/captures", "/labels")


@seeds("tasks_may_reach_the_objects_they_are_told_about")
def shipper_may_not_write(t: Templates) -> None:
    t.delete("IAM::Policy", "TaskTaskRole")


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def shipper_reads_another_folder(t: Templates) -> None:
    set_variable(t.container("shipper"), "DIGITS_CAPTURE_DIR", "/var/lib/digitline/other")


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def spool_on_two_volumes(t: Templates) -> None:
    t.container("shipper")["MountPoints"][0]["SourceVolume"] = "another"


@seeds("the_shipper_empties_the_spool_that_the_server_fills")
def shipper_stopped_first(t: Templates) -> None:
    del t.container("server")["DependsOn"]


# --- network ------------------------------------------------------------------------------------
@seeds("tasks_have_no_way_to_the_internet")
def tasks_with_public_addresses(t: Templates) -> None:
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    network["AssignPublicIp"] = "ENABLED"


@seeds("tasks_have_no_way_to_the_internet")
def tasks_in_public_subnets(t: Templates) -> None:
    public = t.one(ALB)["Subnets"]
    network = t.one(SERVICE, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    network["Subnets"] = public


@seeds("isolated_tasks_have_the_endpoints_they_call")
def no_endpoint_for_secrets(t: Templates) -> None:
    t.delete("EC2::VPCEndpoint", "VpcSecrets")


@seeds("isolated_tasks_have_the_endpoints_they_call")
def no_endpoint_for_s3(t: Templates) -> None:
    t.delete("EC2::VPCEndpoint", "VpcS3")


@seeds("only_the_load_balancer_is_open_to_the_world")
def tasks_open_to_the_world(t: Templates) -> None:
    rule = {"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3000}
    t.one("EC2::SecurityGroup", "TasksGroup")["SecurityGroupIngress"] = [rule]


# --- data ---------------------------------------------------------------------------------------
@seeds("buckets_are_private_encrypted_and_forget")
def public_bucket(t: Templates) -> None:
    block = t.one("S3::Bucket", "Captures")["PublicAccessBlockConfiguration"]
    block["BlockPublicPolicy"] = False


@seeds("buckets_are_private_encrypted_and_forget")
def bucket_without_kms(t: Templates) -> None:
    t.replace("S3::Bucket", "Reports", "aws:kms", "AES256")


@seeds("buckets_are_private_encrypted_and_forget")
def bucket_that_accepts_plain_http(t: Templates) -> None:
    t.delete("S3::BucketPolicy", "Training")


@seeds("buckets_are_private_encrypted_and_forget")
def bucket_that_never_forgets(t: Templates) -> None:
    del t.one("S3::Bucket", "Artifacts")["LifecycleConfiguration"]


@seeds("buckets_are_private_encrypted_and_forget")
def unlogged_bucket(t: Templates) -> None:
    del t.one("S3::Bucket", "Captures")["LoggingConfiguration"]


@seeds("captures_are_forgotten_in_time")
def handwriting_kept_for_years(t: Templates) -> None:
    rule = t.one("S3::Bucket", "Captures")["LifecycleConfiguration"]["Rules"][0]
    rule["ExpirationInDays"] = 900


@seeds("captures_are_forgotten_in_time")
def marks_of_erasure_expire(t: Templates) -> None:
    del t.one("S3::Bucket", "Captures")["LifecycleConfiguration"]["Rules"][0]["Prefix"]


@seeds("the_database_is_private_encrypted_and_backed_up")
def public_database(t: Templates) -> None:
    t.one("RDS::DBInstance")["PubliclyAccessible"] = True


@seeds("the_database_is_private_encrypted_and_backed_up")
def database_without_tls(t: Templates) -> None:
    t.one("RDS::DBParameterGroup")["Parameters"]["rds.force_ssl"] = "0"


@seeds("the_database_is_private_encrypted_and_backed_up")
def database_without_backups(t: Templates) -> None:
    t.one("RDS::DBInstance")["BackupRetentionPeriod"] = 0


@seeds("images_cannot_be_replaced")
def movable_tags(t: Templates) -> None:
    t.one("ECR::Repository", "Service")["ImageTagMutability"] = "MUTABLE"


@seeds("images_cannot_be_replaced")
def image_named_latest(t: Templates) -> None:
    t.container("server")["Image"] = "digits:latest"


@seeds("logs_are_encrypted_and_forgotten")
def log_kept_for_ever(t: Templates) -> None:
    del t.one("Logs::LogGroup", "ServerLogs")["RetentionInDays"]


# --- permissions --------------------------------------------------------------------------------
@seeds("permissions_name_actions_and_resources")
def wildcard_action(t: Templates) -> None:
    t.policy_of("TaskTaskRole")[0]["Action"] = "s3:*"


@seeds("permissions_name_actions_and_resources")
def every_object_of_the_account(t: Templates) -> None:
    t.policy_of("TaskTaskRole")[0]["Resource"] = "*"


@seeds("roles_are_assumed_by_one_kind_of_principal")
def role_for_everyone(t: Templates) -> None:
    role = t.one("IAM::Role", "TaskTaskRole")
    role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] = {"AWS": "*"}


@seeds("ci_deploys_without_a_key")
def any_branch_may_deploy(t: Templates) -> None:
    trust = t.one("IAM::Role", "Deployer")["AssumeRolePolicyDocument"]["Statement"][0]
    trust["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"] = "repo:o/r:*"


@seeds("ci_deploys_without_a_key")
def access_key(t: Templates) -> None:
    t.stacks["identity"]["Resources"]["Key"] = {"Type": "AWS::IAM::AccessKey", "Properties": {}}


# --- jobs ---------------------------------------------------------------------------------------
@seeds("scheduled_jobs_run_and_are_missed_if_they_do_not")
def schedule_switched_off(t: Templates) -> None:
    t.one("Scheduler::Schedule", "Drift")["State"] = "DISABLED"


@seeds("scheduled_jobs_run_and_are_missed_if_they_do_not")
def schedule_without_dead_letters(t: Templates) -> None:
    del t.one("Scheduler::Schedule", "Retrain")["Target"]["DeadLetterConfig"]


@seeds("scheduled_jobs_run_and_are_missed_if_they_do_not")
def nobody_watches_the_dead_letters(t: Templates) -> None:
    t.delete(ALARM, "Alarmdeadletters")


@seeds("scheduled_jobs_run_and_are_missed_if_they_do_not")
def no_monthly_retraining(t: Templates) -> None:
    t.delete("Scheduler::Schedule", "Retrain")


@seeds("jobs_tell_how_they_ended")
def failure_that_nobody_hears(t: Templates) -> None:
    t.replace(MACHINE, "DriftMachine", '\\"Next\\":\\"NoticeFailed\\"', '\\"Next\\":\\"Failure\\"')


@seeds("jobs_tell_how_they_ended")
def task_that_is_not_awaited(t: Templates) -> None:
    t.replace(MACHINE, "DriftMachine", "runTask.sync", "runTask")


@seeds("jobs_tell_how_they_ended")
def machine_that_may_not_pass_the_role(t: Templates) -> None:
    statements = t.policy_of("RetrainMachineRole")
    statements[:] = [s for s in statements if s["Action"] != "iam:PassRole"]


@seeds("mlflow_is_private_and_asks_who_is_there")
def mlflow_answers_any_host(t: Templates) -> None:
    set_variable(t.container("mlflow"), "MLFLOW_ALLOWED_HOSTS", "*")


@seeds("mlflow_is_private_and_asks_who_is_there")
def mlflow_without_an_administrator(t: Templates) -> None:
    del t.container("mlflow")["Secrets"][2:]


@seeds("mlflow_is_private_and_asks_who_is_there")
def jobs_call_mlflow_by_another_name(t: Templates) -> None:
    set_variable(t.container("retrain"), "MLFLOW_TRACKING_URI", "http://mlflow.internal:5000")


@seeds("promotion_goes_through_the_canary")
def promotion_sets_another_fact(t: Templates) -> None:
    t.replace(MACHINE, "Release", "/service-image-tag", "/image-tag")


@seeds("promotion_goes_through_the_canary")
def pushed_champion_is_ignored(t: Templates) -> None:
    t.delete("Events::Rule", "ReleasePushed")


@seeds("promotion_goes_through_the_canary")
def jobs_keep_the_old_champion(t: Templates) -> None:
    t.replace(MACHINE, "Release", "/jobs-image-tag", "/old-image-tag")


@seeds("promotion_goes_through_the_canary")
def jobs_are_not_updated(t: Templates) -> None:
    t.replace(MACHINE, "Release", "digitline-prod-mlops", "digitline-prod-watch")

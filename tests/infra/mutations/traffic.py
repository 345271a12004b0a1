"""The path of a request: ports, TLS, firewall, timeouts, health checks."""

from __future__ import annotations

from mutations.seed import (
    GROUP,
    Templates,
    attribute,
    seeds,
    set_variable,
)

RULE = "ElasticLoadBalancingV2::ListenerRule"


@seeds("ports_agree_from_listener_to_container")
def target_group_on_another_port(t: Templates) -> None:
    t.one(GROUP, "Green")["Port"] = 3001


@seeds("ports_agree_from_listener_to_container")
def server_started_on_another_port(t: Templates) -> None:
    set_variable(t.container("server"), "DIGITS_PORT", "3001")


@seeds("security_groups_let_the_load_balancer_reach_the_tasks")
def load_balancer_without_egress(t: Templates) -> None:
    t.delete("EC2::SecurityGroupEgress", "AlbGroup")


@seeds("CKV_AWS_2")
def plain_http_listener(t: Templates) -> None:
    t.one("ElasticLoadBalancingV2::Listener").update(Protocol="HTTP", Port=80)


@seeds("CKV_AWS_103")
def tls_1_0_policy(t: Templates) -> None:
    t.one("ElasticLoadBalancingV2::Listener")["SslPolicy"] = "ELBSecurityPolicy-TLS13-1-0-2021-06"


@seeds("the_metrics_are_not_public")
def metrics_rule_deleted(t: Templates) -> None:
    t.delete(RULE, "Metrics")


@seeds("the_metrics_are_not_public")
def metrics_rule_behind_the_forwarding_one(t: Templates) -> None:
    t.one(RULE, "Metrics")["Priority"] = 100


@seeds("the_metrics_are_not_public")
def metrics_rule_only_for_the_path_itself(t: Templates) -> None:
    t.one(RULE, "Metrics")["Conditions"][0]["PathPatternConfig"]["Values"].pop()


@seeds("the_metrics_are_not_public")
def listener_forwards_by_default(t: Templates) -> None:
    actions = t.one(RULE, "Production")["Actions"]
    t.one("ElasticLoadBalancingV2::Listener")["DefaultActions"] = actions


@seeds("the_firewall_protects_the_load_balancer")
def flood_alarm_that_starts_nothing(t: Templates) -> None:
    t.delete("Events::Rule", "Flood")


@seeds("the_firewall_protects_the_load_balancer")
def function_that_may_not_raise_the_firewall(t: Templates) -> None:
    t.delete("IAM::Policy", "RaiseFirewallRole")


@seeds("the_firewall_protects_the_load_balancer")
def rate_rule_only_counts(t: Templates) -> None:
    t.one("WAFv2::WebACL")["Rules"][0]["Action"] = {"Count": {}}


@seeds("the_firewall_protects_the_load_balancer")
def firewall_with_the_common_rules(t: Templates) -> None:
    group = t.one("WAFv2::WebACL")["Rules"][1]["Statement"]["ManagedRuleGroupStatement"]
    group["Name"] = "AWSManagedRulesCommonRuleSet"


@seeds("the_rate_rule_allows_the_planned_peak")
def rate_rule_below_the_planned_peak(t: Templates) -> None:
    t.one("WAFv2::WebACL")["Rules"][0]["Statement"]["RateBasedStatement"]["Limit"] = 2000


@seeds("timeouts_are_in_order")
def killed_before_it_has_drained(t: Templates) -> None:
    t.container("server")["StopTimeout"] = 26


@seeds("timeouts_are_in_order")
def deregistered_before_it_has_drained(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attribute(attributes, "deregistration_delay.timeout_seconds")["Value"] = "10"


@seeds("timeouts_are_in_order")
def default_deregistration_of_five_minutes(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attributes.remove(attribute(attributes, "deregistration_delay.timeout_seconds"))


@seeds("health_check_timeouts_are_below_their_interval")
def container_health_timeout_not_below_its_interval(t: Templates) -> None:
    t.container("server")["HealthCheck"]["Timeout"] = 10


@seeds("target_groups_check_readiness")
def shallow_health_check(t: Templates) -> None:
    t.one(GROUP, "Green")["HealthCheckPath"] = "/livez"


@seeds("requests_go_to_the_least_busy_task")
def round_robin(t: Templates) -> None:
    attributes = t.one(GROUP, "Blue")["TargetGroupAttributes"]
    attribute(attributes, "load_balancing.algorithm.type")["Value"] = "round_robin"

"""The path of a request: ports, TLS, firewall, timeouts, health checks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from contract.timeouts import KEEP_ALIVE_S
from infra import aws, lookups, settings
from infra.invariants.rule import must_hold
from infra.world import Resource, World, dig


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LoadBalancer.html")
def ports_agree_from_listener_to_container(world: World) -> Iterator[str]:
    """Target group, service, container and server use one port."""
    for service, balancer in lookups.balanced(world):
        port = balancer["ContainerPort"]
        container = lookups.containers(world, service).get(balancer["ContainerName"])
        ports = [m["ContainerPort"] for m in (container or {}).get("PortMappings", [])]
        if port not in ports:
            yield f"{service}: sends to port {port}, its container listens on {ports}"
        for group in lookups.target_groups(world, balancer):
            if group.get("Port") != port:
                yield f"{group}: port {group.get('Port')}, the container's is {port}"
        if lookups.variables(container or {}).get("DIGITS_PORT") != str(port):
            yield f"{service}: DIGITS_PORT is not {port}"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html"
)
def security_groups_let_the_load_balancer_reach_the_tasks(world: World) -> Iterator[str]:
    """Egress of the balancer's group and ingress of the tasks' group allow the port."""
    for service, balancer in lookups.balanced(world):
        tasks = service.get("NetworkConfiguration.AwsvpcConfiguration.SecurityGroups", [])
        fronts = [g for alb in lookups.albs(world) for g in alb.get("SecurityGroups", [])]
        for front, task in itertools.product(fronts, tasks):
            port = balancer["ContainerPort"]
            if not lookups.allows(world, "Ingress", task, front, port):
                yield f"{service}: no ingress from the load balancer on port {port}"
            if not lookups.allows(world, "Egress", front, task, port):
                yield f"{service}: the load balancer has no egress to port {port}"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html"
)
def the_metrics_are_not_public(world: World) -> Iterator[str]:
    """Before any rule that forwards, one answers 404 at /metrics and below it.

    Source:
        AWS, "Listener rules for your Application Load Balancer": the lowest priority comes first.
    """
    rules = world.all("ElasticLoadBalancingV2::ListenerRule")
    for listener in world.all("ElasticLoadBalancingV2::Listener"):
        own = [rule for rule in rules if rule.get("ListenerArn") == listener.ref]
        hidden = {
            path: min((int(r.get("Priority")) for r in own if lookups.hides(r, path)), default=None)
            for path in ("/metrics", "/metrics/*")
        }
        forwarding = [int(r.get("Priority")) for r in own if lookups.forwards(r)]
        first = min(forwarding, default=settings.MAX_RULE_PRIORITY)
        for path, priority in hidden.items():
            if priority is None or priority >= first:
                yield f"{listener}: {path} is hidden at {priority}, but forwarded at {first}"
        if lookups.forwards(listener):
            yield f"{listener}: forwards what no rule takes"


@must_hold(
    "https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html"
)
def the_firewall_protects_the_load_balancer(world: World) -> Iterator[str]:
    """The flood alarm puts it there; it blocks by rate, and not by the content of bodies."""
    for alb in lookups.albs(world):
        if not any(_raises(world, function, alb) for function in world.all("Lambda::Function")):
            yield f"{alb}: no alarm puts a firewall in front of it"
    for acl in world.all("WAFv2::WebACL"):
        rates = [r for r in acl.get("Rules", []) if dig(r, "Statement.RateBasedStatement")]
        if not any("Block" in rule.get("Action", {}) for rule in rates):
            yield f"{acl}: no rate rule that blocks"
        for rule in acl.get("Rules", []):
            group = dig(rule, "Statement.ManagedRuleGroupStatement", {})
            counted = {o["Name"] for o in group.get("RuleActionOverrides", [])}
            harmless = {"SizeRestrictions_BODY", "CrossSiteScripting_BODY", "NoUserAgent_HEADER"}
            if group.get("Name") == "AWSManagedRulesCommonRuleSet" and harmless - counted:
                yield f"{acl}: may block scanners with {sorted(harmless - counted)}"


def _raises(world: World, function: Resource, alb: Resource) -> bool:
    """Whether an alarm on the balancer's requests starts the function, which may associate them."""
    variables = function.get("Environment.Variables", {})
    acl = world.at(variables.get("FIREWALL"))
    if variables.get("BALANCER") != alb.ref or acl is None or acl.type != "AWS::WAFv2::WebACL":
        return False
    allowed = lookups.statements(world, function.get("Role"))
    needs = [
        ("wafv2:AssociateWebACL", variables["FIREWALL"]),
        ("wafv2:AssociateWebACL", alb.ref),
        ("elasticloadbalancing:SetWebAcl", alb.ref),
    ]
    started = [
        world.at(name)
        for rule in world.all("Events::Rule")
        if f"{function.ref[:-1]}.Arn}}" in [t["Arn"] for t in rule.get("Targets", [])]
        and rule.get("State") == "ENABLED"
        for name in rule.get("EventPattern", {}).get("resources", [])
    ]
    return all(lookups.permits(allowed, *need) for need in needs) and any(
        alarm and alarm.get("MetricName") == "RequestCount" for alarm in started
    )


@must_hold(
    "https://docs.aws.amazon.com/waf/latest/developerguide/waf-rule-statement-type-rate-based.html"
)
def the_rate_rule_allows_the_planned_peak(world: World) -> Iterator[str]:
    """All scanners may share one address: the limit is above peak * window."""
    outputs = world.templates["service"].get("Outputs", {})
    peak = float(outputs.get("PeakRps", {}).get("Value", "inf"))
    for acl in world.all("WAFv2::WebACL"):
        for rule in acl.get("Rules", []):
            rate = dig(rule, "Statement.RateBasedStatement")
            if rate and rate["Limit"] <= peak * rate["EvaluationWindowSec"]:
                yield f"{acl}: {rate['Limit']} per {rate['EvaluationWindowSec']} s < {peak} req/s"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html"
)
def timeouts_are_in_order(world: World) -> Iterator[str]:
    """Keep-alive > idle; stop > deadline + drain; deregistration >= drain."""
    idle_s = max(
        int(lookups.attribute(a, "idle_timeout.timeout_seconds", "60")) for a in lookups.albs(world)
    )
    for service, balancer in lookups.balanced(world):
        container = lookups.containers(world, service).get(balancer["ContainerName"], {})
        if idle_s >= KEEP_ALIVE_S:
            yield f"{service}: keep-alive {KEEP_ALIVE_S} s <= the ALB's idle {idle_s} s"
        variables = lookups.variables(container)
        drain_s = float(variables.get("DIGITS_DRAIN_S", "inf"))
        deadline_s = float(variables.get("DIGITS_REQUEST_DEADLINE_MS", "inf")) / 1000
        stop_s = container.get("StopTimeout", 30)
        if stop_s <= deadline_s + drain_s:
            yield f"{service}: stop {stop_s} s <= deadline {deadline_s} + drain {drain_s} s"
        for group in lookups.target_groups(world, balancer):
            delay_s = int(lookups.attribute(group, "deregistration_delay.timeout_seconds", "300"))
            if not drain_s <= delay_s <= stop_s:
                yield f"{group}: deregistration {delay_s} s is not in {drain_s}..{stop_s} s"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html")
def stop_timeouts_are_within_fargates_limit(world: World) -> Iterator[str]:
    """CloudFormation accepts a longer one; ECS rejects it at deployment."""
    for task, container in lookups.all_containers(world):
        stop_s, limit_s = container.get("StopTimeout", 30), settings.MAX_STOP_TIMEOUT_S
        if stop_s > limit_s:
            yield f"{task}: stop timeout {stop_s} s, Fargate allows {limit_s}"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html"
)
def health_check_timeouts_are_below_their_interval(world: World) -> Iterator[str]:
    """For target groups and containers."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        timeout, interval = (group.get(f"HealthCheck{x}Seconds") for x in ("Timeout", "Interval"))
        if timeout >= interval:
            yield f"{group}: timeout {timeout} s, interval {interval} s"
    for task, container in lookups.all_containers(world):
        health = container.get("HealthCheck")
        if health and health.get("Timeout", 5) >= health.get("Interval", 30):
            yield f"{task}: container timeout {health['Timeout']} s >= interval"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html"
)
def target_groups_check_readiness(world: World) -> Iterator[str]:
    """/readyz reads the golden crop; a task that fails it gets no traffic."""
    for service, balancer in lookups.balanced(world):
        for group in lookups.target_groups(world, balancer):
            if group.get("HealthCheckPath") != settings.HEALTH_PATH:
                yield f"{group}: checks {group.get('HealthCheckPath')} for {service}"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html"
)
def slow_start_is_off_where_it_does_not_work(world: World) -> Iterator[str]:
    """The two cannot be combined; no linter reports it, and the deployment fails."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        slow = lookups.attribute(group, "slow_start.duration_seconds", "0")
        if slow != "0" and "least_outstanding" in lookups.attribute(group, aws.ALGORITHM, ""):
            yield f"{group}: slow start does not work with least_outstanding_requests"


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html"
)
def requests_go_to_the_least_busy_task(world: World) -> Iterator[str]:
    """Round robin queues requests behind a busy task."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        if lookups.attribute(group, aws.ALGORITHM, "round_robin") != "least_outstanding_requests":
            yield f"{group}: not least_outstanding_requests"

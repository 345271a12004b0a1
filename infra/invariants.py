"""What must hold across the templates and no linter knows.

Each rule is a function over one environment's :class:`World` that yields one sentence for each
violation; ``check`` runs them all. Each rule is proved by at least one mutation in
``tests/infra/mutations.py``: a fault seeded into the real templates that the rule must report.

Source of the AWS facts: the ECS, ELB, CloudWatch and Application Auto Scaling user guides.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra import aws, emitted, find, settings
from infra.templates import Resource, World, dig

Rule = Callable[[World], Iterator[str]]
RULES: list[Rule] = []


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold, and where."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(world: World) -> list[Violation]:
    """Run every rule."""
    return [Violation(rule.__name__, what) for rule in RULES for what in rule(world)]


def _rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


# --- one request's way in -----------------------------------------------------------------------
@_rule
def ports_agree_from_listener_to_container(world: World) -> Iterator[str]:
    """Load balancer -> group rules -> target group -> service -> container: one port."""
    for service, balancer in find.balanced(world):
        port = balancer["ContainerPort"]
        container = find.containers(world, service).get(balancer["ContainerName"])
        ports = [m["ContainerPort"] for m in (container or {}).get("PortMappings", [])]
        if port not in ports:
            yield f"{service}: sends to port {port}, its container listens on {ports}"
        for group in find.target_groups(world, balancer):
            if group.get("Port") != port:
                yield f"{group}: port {group.get('Port')}, the container's is {port}"
        if find.variables(container or {}).get("DIGITS_PORT") != str(port):
            yield f"{service}: the server is told another port than {port}"


@_rule
def security_groups_let_the_load_balancer_reach_the_tasks(world: World) -> Iterator[str]:
    """Both ends must allow it: egress of the balancer's group, ingress of the tasks'."""
    for service, balancer in find.balanced(world):
        tasks = service.get("NetworkConfiguration.AwsvpcConfiguration.SecurityGroups", [])
        fronts = [g for alb in find.albs(world) for g in alb.get("SecurityGroups", [])]
        for front, task in itertools.product(fronts, tasks):
            port = balancer["ContainerPort"]
            if not find.allows(world, "Ingress", task, front, port):
                yield f"{service}: no ingress from the load balancer on port {port}"
            if not find.allows(world, "Egress", front, task, port):
                yield f"{service}: the load balancer has no egress to port {port}"


@_rule
def listeners_speak_tls_1_2_or_newer_only(world: World) -> Iterator[str]:
    """No plain HTTP, no old policy."""
    for listener in world.all("ElasticLoadBalancingV2::Listener"):
        if listener.get("Protocol") != "HTTPS" or not listener.get("Certificates"):
            yield f"{listener}: protocol {listener.get('Protocol')}"
        elif not re.search(r"TLS13-1-[23]", listener.get("SslPolicy", "")):
            yield f"{listener}: policy {listener.get('SslPolicy')} allows TLS below 1.2"


@_rule
def the_firewall_stands_before_the_load_balancer(world: World) -> Iterator[str]:
    """Associated, blocking by rate, above the planned peak, and never reading image bodies."""
    protected = {a.get("ResourceArn") for a in world.all("WAFv2::WebACLAssociation")}
    for alb in find.albs(world):
        if alb.ref not in protected:
            yield f"{alb}: no firewall"
    for acl in world.all("WAFv2::WebACL"):
        rates = [r for r in acl.get("Rules", []) if dig(r, "Statement.RateBasedStatement")]
        if not any("Block" in rule.get("Action", {}) for rule in rates):
            yield f"{acl}: no rate rule that blocks"
        for rule in acl.get("Rules", []):
            group = dig(rule, "Statement.ManagedRuleGroupStatement", {})
            counted = {o["Name"] for o in group.get("RuleActionOverrides", [])}
            body_rules = {"SizeRestrictions_BODY", "CrossSiteScripting_BODY"}
            if group.get("Name") == "AWSManagedRulesCommonRuleSet" and body_rules - counted:
                yield f"{acl}: blocks crops by {sorted(body_rules - counted)}"


@_rule
def the_rate_rule_lets_the_planned_peak_through(world: World) -> Iterator[str]:
    """All scanners may sit behind one address: the limit is above peak * window."""
    outputs = world.templates["service"].get("Outputs", {})
    peak = float(outputs.get("PeakRps", {}).get("Value", "inf"))
    for acl in world.all("WAFv2::WebACL"):
        for rule in acl.get("Rules", []):
            rate = dig(rule, "Statement.RateBasedStatement")
            if rate and rate["Limit"] <= peak * rate["EvaluationWindowSec"]:
                yield f"{acl}: {rate['Limit']} per {rate['EvaluationWindowSec']} s < {peak} req/s"


# --- time ---------------------------------------------------------------------------------------
@_rule
def timeouts_nest(world: World) -> Iterator[str]:
    """Keep-alive > idle; stop > deadline + drain; deregistration >= drain."""
    idle_s = max(
        int(find.attribute(a, "idle_timeout.timeout_seconds", "60")) for a in find.albs(world)
    )
    for service, balancer in find.balanced(world):
        container = find.containers(world, service).get(balancer["ContainerName"], {})
        if idle_s >= settings.KEEP_ALIVE_S:
            yield f"{service}: keep-alive {settings.KEEP_ALIVE_S} s <= the ALB's idle {idle_s} s"
        variables = find.variables(container)
        drain_s = float(variables.get("DIGITS_DRAIN_S", "inf"))
        deadline_s = float(variables.get("DIGITS_REQUEST_DEADLINE_MS", "inf")) / 1000
        stop_s = container.get("StopTimeout", 30)
        if stop_s <= deadline_s + drain_s:
            yield f"{service}: stop {stop_s} s <= deadline {deadline_s} + drain {drain_s} s"
        for group in find.target_groups(world, balancer):
            delay_s = int(find.attribute(group, "deregistration_delay.timeout_seconds", "300"))
            if not drain_s <= delay_s <= stop_s:
                yield f"{group}: deregistration {delay_s} s is not in {drain_s}..{stop_s} s"


@_rule
def stop_timeouts_are_within_fargates_limit(world: World) -> Iterator[str]:
    """CloudFormation accepts more and ECS refuses it at deployment."""
    for task, container in find.all_containers(world):
        if container.get("StopTimeout", 30) > aws.MAX_STOP_TIMEOUT_S:
            yield f"{task}: stop timeout {container['StopTimeout']} s, Fargate allows 120"


@_rule
def health_checks_time_out_before_the_next_begins(world: World) -> Iterator[str]:
    """Of target groups and of containers."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        timeout, interval = (group.get(f"HealthCheck{x}Seconds") for x in ("Timeout", "Interval"))
        if timeout >= interval:
            yield f"{group}: timeout {timeout} s, interval {interval} s"
    for task, container in find.all_containers(world):
        health = container.get("HealthCheck")
        if health and health.get("Timeout", 5) >= health.get("Interval", 30):
            yield f"{task}: container timeout {health['Timeout']} s >= interval"


@_rule
def readiness_is_the_deep_check(world: World) -> Iterator[str]:
    """A task that cannot read the golden crop gets no traffic."""
    for service, balancer in find.balanced(world):
        for group in find.target_groups(world, balancer):
            if group.get("HealthCheckPath") != settings.HEALTH_PATH:
                yield f"{group}: checks {group.get('HealthCheckPath')} for {service}"


@_rule
def load_balancer_attributes_exist(world: World) -> Iterator[str]:
    """A misspelt key is accepted by every linter and refused at deployment."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        for attribute in group.get("TargetGroupAttributes", []):
            if attribute["Key"] not in aws.TARGET_GROUP_ATTRIBUTES:
                yield f"{group}: unknown attribute {attribute['Key']}"
        slow = find.attribute(group, "slow_start.duration_seconds", "0")
        if slow != "0" and "least_outstanding" in find.attribute(group, aws.ALGORITHM, ""):
            yield f"{group}: slow start does not work with least_outstanding_requests"
    for alb in find.albs(world):
        for attribute in alb.get("LoadBalancerAttributes", []):
            if attribute["Key"] not in aws.LOAD_BALANCER_ATTRIBUTES:
                yield f"{alb}: unknown attribute {attribute['Key']}"


@_rule
def bursts_go_to_the_least_busy_task(world: World) -> Iterator[str]:
    """Round robin queues crops behind a busy task."""
    for group in world.all("ElasticLoadBalancingV2::TargetGroup"):
        if find.attribute(group, aws.ALGORITHM, "round_robin") != "least_outstanding_requests":
            yield f"{group}: not least_outstanding_requests"


# --- releases -----------------------------------------------------------------------------------
@_rule
def releases_roll_back_by_themselves(world: World) -> Iterator[str]:
    """Shifting traffic: alarms and no circuit breaker. Rolling: the circuit breaker."""
    alarm_names = {a.ref for a in world.all("CloudWatch::Alarm")}
    alarm_names |= {a.get("AlarmName") for a in world.all("CloudWatch::Alarm")}
    for service in world.all("ECS::Service"):
        strategy = service.get("DeploymentConfiguration.Strategy", "ROLLING")
        breaker = service.get("DeploymentConfiguration.DeploymentCircuitBreaker", {})
        if strategy == "ROLLING":
            if not (breaker.get("Enable") and breaker.get("Rollback")):
                yield f"{service}: rolling without a circuit breaker that rolls back"
            continue
        alarms = service.get("DeploymentConfiguration.Alarms", {})
        if breaker.get("Enable"):
            yield f"{service}: a circuit breaker works with ROLLING only, not {strategy}"
        if not (alarms.get("Enable") and alarms.get("Rollback") and alarms.get("AlarmNames")):
            yield f"{service}: {strategy} without alarms that roll back"
        for name in alarms.get("AlarmNames", []):
            if name not in alarm_names:
                yield f"{service}: rollback alarm {name} does not exist"


@_rule
def traffic_shifts_between_two_target_groups(world: World) -> Iterator[str]:
    """And the listener rule starts with all of it on the first."""
    for service, balancer in find.balanced(world):
        if service.get("DeploymentConfiguration.Strategy", "ROLLING") not in aws.SHIFTING:
            yield f"{service}: replaces its tasks without a canary"
            continue
        if not service.get("DeploymentConfiguration.BakeTimeInMinutes"):
            yield f"{service}: no bake time"
        advanced = balancer.get("AdvancedConfiguration", {})
        first, second = balancer["TargetGroupArn"], advanced.get("AlternateTargetGroupArn")
        if second is None or first == second:
            yield f"{service}: needs a second target group"
        if world.at(advanced.get("RoleArn")) is None:
            yield f"{service}: no role that may shift traffic"
        rule = world.at(advanced.get("ProductionListenerRule"))
        weights = find.weights(rule)
        if weights.get(first) != 100 or weights.get(second) != 0:
            yield f"{service}: the listener rule's weights are {weights}"


@_rule
def rollback_alarms_can_ring_within_the_canary(world: World) -> Iterator[str]:
    """An alarm that needs longer than the canary step lets a bad release through to everyone."""
    for service in world.all("ECS::Service"):
        canary = service.get("DeploymentConfiguration.CanaryConfiguration")
        for name in service.get("DeploymentConfiguration.Alarms.AlarmNames", []) if canary else []:
            alarm = world.at(name)
            if alarm is None:
                continue
            needed = alarm.get("DatapointsToAlarm", alarm.get("EvaluationPeriods"))
            minutes = needed * max(find.periods(alarm)) / 60
            if minutes >= canary["CanaryBakeTimeInMinutes"]:
                yield f"{alarm}: needs {minutes} min, the canary lasts {canary}"


@_rule
def a_lost_zone_is_survived(world: World) -> Iterator[str]:
    """Three zones, rebalanced, never less than one task each."""
    for service, _ in find.balanced(world):
        subnets = service.get("NetworkConfiguration.AwsvpcConfiguration.Subnets", [])
        zones = {str(world.at(s).get("AvailabilityZone")) for s in subnets if world.at(s)}  # type: ignore[union-attr]
        if len(zones) < settings.NUM_AZS:
            yield f"{service}: in {len(zones)} zones"
        if service.get("AvailabilityZoneRebalancing") != "ENABLED":
            yield f"{service}: does not rebalance zones"
        if service.get("DeploymentConfiguration.MaximumPercent", 200) <= 100:
            yield f"{service}: rebalancing needs a maximum above 100 %"
        if service.get("DeploymentConfiguration.MinimumHealthyPercent", 100) < 100:
            yield f"{service}: a release may take tasks away before it adds new ones"
        for target in find.targets_of(world, service):
            if target.get("MinCapacity") < len(zones):
                yield f"{target}: minimum {target.get('MinCapacity')} leaves a zone empty"


# --- autoscaling --------------------------------------------------------------------------------
@_rule
def autoscaling_limits_are_in_order(world: World) -> Iterator[str]:
    """At rest and in every scheduled action; the trucks' minimum is not below the other."""
    for target in world.all("ApplicationAutoScaling::ScalableTarget"):
        actions = [a["ScalableTargetAction"] for a in target.get("ScheduledActions", [])]
        for limits in (target.properties, *actions):
            low, high = limits.get("MinCapacity", 0), limits.get("MaxCapacity", 0)
            if not 0 < low <= high:
                yield f"{target}: minimum {low}, maximum {high}"
        if not actions:
            yield f"{target}: no scheduled minimum before the trucks"
        if any("Timezone" not in a for a in target.get("ScheduledActions", [])):
            yield f"{target}: a schedule without a time zone moves by an hour twice a year"


@_rule
def autoscaling_owns_the_number_of_tasks(world: World) -> Iterator[str]:
    """A desired count in the template would undo scaling at each deployment."""
    scaled = {t.get("ResourceId") for t in world.all("ApplicationAutoScaling::ScalableTarget")}
    for service in world.all("ECS::Service"):
        resource_id = f"service/{service.get('Cluster')}/{service.ref[:-1]}.Name}}"
        if resource_id in scaled and "DesiredCount" in service.properties:
            yield f"{service}: sets its desired count"
    for service, _ in find.balanced(world):
        if not find.targets_of(world, service):
            yield f"{service}: nothing scales it"


@_rule
def scaling_metrics_see_both_target_groups(world: World) -> Iterator[str]:
    """ALBRequestCountPerTarget names one group, and traffic moves to the other."""
    both = {g.ref for _, b in find.balanced(world) for g in find.target_groups(world, b)}
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        config = policy.get("TargetTrackingScalingPolicyConfiguration", {})
        if "ALBRequest" in str(dig(config, "PredefinedMetricSpecification.PredefinedMetricType")):
            yield f"{policy}: ALBRequestCountPerTarget goes blind at a release"
        queries = dig(config, "CustomizedMetricSpecification.Metrics", [])
        metrics = [m for m in map(find.stat_of, queries) if m]
        seen = {g for g in both if g[:-1] in json.dumps(metrics)}
        if any(m["MetricName"].startswith("RequestCount") for m in metrics) and seen != both:
            yield f"{policy}: sees {sorted(seen)} of {sorted(both)}"


@_rule
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
        for service, _ in find.balanced(world):
            configs = service.get("Monitoring.MetricConfigurations", [])
            if not any(c.get("ResolutionSeconds") == 20 for c in configs):
                yield f"{policy}: {service} publishes no 20-second metrics"


@_rule
def every_policy_has_a_target_and_a_pulse(world: World) -> Iterator[str]:
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


@_rule
def a_second_truck_finds_the_tasks_of_the_first(world: World) -> Iterator[str]:
    """Scale out at once, give back slowly."""
    for policy in world.all("ApplicationAutoScaling::ScalingPolicy"):
        config = policy.get("TargetTrackingScalingPolicyConfiguration")
        if config and not config.get("ScaleOutCooldown", 300) < config.get("ScaleInCooldown", 300):
            yield f"{policy}: scale-in cooldown is not above scale-out's"


# --- metrics and alarms -------------------------------------------------------------------------
@_rule
def metrics_exist(world: World) -> Iterator[str]:
    """Name, namespace and dimensions, for alarms, scaling and the dashboard."""
    for owner, metric in find.all_metrics(world):
        known = aws.METRICS.get(metric["Namespace"], {})
        dimensions = frozenset(d["Name"] for d in metric.get("Dimensions", []))
        if metric["MetricName"] not in known:
            yield f"{owner}: no metric {metric['Namespace']} {metric['MetricName']}"
        elif dimensions not in known[metric["MetricName"]]:
            yield f"{owner}: {metric['MetricName']} has no dimensions {sorted(dimensions)}"


@_rule
def our_metrics_are_the_ones_that_our_code_writes(world: World) -> Iterator[str]:
    """Same namespace, same ``Service``: else the alarm never has data, and never rings."""
    written = emitted.metrics()
    for owner, metric in find.all_metrics(world):
        dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
        writer = written.get(metric["MetricName"])
        if writer is None or "Service" not in dimensions:
            continue
        read = (metric["Namespace"], dimensions["Service"])
        if read != (writer.namespace, writer.service):
            yield f"{owner}: reads {metric['MetricName']} of {read}, written as {writer}"


@_rule
def container_insights_are_on_where_they_are_read(world: World) -> Iterator[str]:
    """Else RunningTaskCount has no data and the policy does nothing, silently."""
    for owner, metric in find.all_metrics(world):
        if metric["Namespace"] != "ECS/ContainerInsights":
            continue
        for dimension in metric["Dimensions"]:
            cluster = world.at(dimension["Value"]) if dimension["Name"] == "ClusterName" else None
            if cluster and {"Name": "containerInsights", "Value": "enabled"} not in cluster.get(
                "ClusterSettings", []
            ):
                yield f"{owner}: {cluster} has no Container Insights"


@_rule
def alarms_reach_a_person_with_a_runbook(world: World) -> Iterator[str]:
    """Each alarm acts on an existing topic or policy, and what wakes people says what to do."""
    runbook = (settings.REPOSITORY_ROOT / "docs" / "deploy.md").read_text()
    for alarm in world.all("CloudWatch::Alarm"):
        actions = [world.at(a) for a in alarm.get("AlarmActions", [])]
        if not actions or None in actions or alarm.get("ActionsEnabled") is False:
            yield f"{alarm}: rings for nobody"
        if any(a and a.type == "AWS::SNS::Topic" for a in actions):
            anchor = alarm.get("AlarmDescription", "").partition("docs/deploy.md#")[2]
            if not anchor or f'<a id="{anchor}">' not in runbook:
                yield f"{alarm}: no runbook at #{anchor or '(none)'}"


@_rule
def alarm_arithmetic_is_possible(world: World) -> Iterator[str]:
    """One returned value, all identifiers defined, within CloudWatch's limits."""
    for alarm in world.all("CloudWatch::Alarm"):
        periods, needed = alarm.get("EvaluationPeriods"), alarm.get("DatapointsToAlarm", 1)
        if needed > periods:
            yield f"{alarm}: {needed} datapoints of {periods}"
        if periods * max(find.periods(alarm)) > find.max_alarm_window_s(alarm):
            yield f"{alarm}: looks back longer than CloudWatch allows"
        queries = alarm.get("Metrics", [])
        returned = [q for q in queries if q.get("ReturnData", True)]
        if queries and len(returned) != 1:
            yield f"{alarm}: returns {len(returned)} values"
        ids = {q["Id"] for q in queries}
        for query in queries:
            used = set(re.findall(r"\b[a-z]\w*\b", query.get("Expression", "")))
            if used - ids:
                yield f"{alarm}: expression uses undefined {sorted(used - ids)}"


@_rule
def silence_of_a_job_is_an_alarm(world: World) -> Iterator[str]:
    """A drift job that never ran writes no metric: missing data must breach."""
    watching = [
        a for a in world.all("CloudWatch::Alarm") if a.get("MetricName") == "DriftReportCompleted"
    ]
    if not watching:
        yield "nothing watches whether the drift report was made"
    for alarm in watching:
        if alarm.get("TreatMissingData") != "breaching":
            yield f"{alarm}: missing data does not breach"


@_rule
def the_promised_alarms_are_there(world: World) -> Iterator[str]:
    """Each by its name's ending; and the budget, which tells the same topic."""
    names = " ".join(str(a.get("AlarmName")) for a in world.all("CloudWatch::Alarm"))
    for ending in aws.PROMISED_ALARMS:
        if f"-{ending} " not in f"{names} ":
            yield f"no alarm ends in -{ending}"
    for budget in world.all("Budgets::Budget"):
        for notice in budget.get("NotificationsWithSubscribers", []):
            for subscriber in notice["Subscribers"]:
                if world.at(subscriber["Address"]) is None:
                    yield f"{budget}: tells nobody"
    if not world.all("Budgets::Budget"):
        yield "no budget"


@_rule
def the_dashboard_shows_what_was_promised(world: World) -> Iterator[str]:
    """Traffic, latency, shed load, saturation, tasks, rejects, drift and cost."""
    shown = {m["MetricName"] for o, m in find.all_metrics(world) if "Dashboard" in o.type}
    for missing in sorted(aws.PROMISED_GRAPHS - shown):
        yield f"no dashboard shows {missing}"


@_rule
def topics_can_be_written_by_those_who_must(world: World) -> Iterator[str]:
    """Encrypted, with a key that CloudWatch, Budgets and EventBridge may use, and heard."""
    listeners = {s.get("TopicArn") for s in world.all("SNS::Subscription")}
    for topic in world.all("SNS::Topic"):
        key = world.at(topic.get("KmsMasterKeyId"))
        if key is None:
            yield f"{topic}: not encrypted with our key"
            continue
        if topic.ref not in listeners:
            yield f"{topic}: nobody listens"
        for service in ("cloudwatch", "budgets", "events"):
            if f"{service}.amazonaws.com" not in json.dumps(key.get("KeyPolicy")):
                yield f"{topic}: its key refuses {service}"
            policies = [p for p in world.all("SNS::TopicPolicy") if topic.ref in p.get("Topics")]
            if not any(f"{service}.amazonaws.com" in json.dumps(p.properties) for p in policies):
                yield f"{topic}: its policy refuses {service}"


# --- tasks --------------------------------------------------------------------------------------
@_rule
def containers_can_do_as_little_as_possible(world: World) -> Iterator[str]:
    """Not root, read-only root, no capability, logs kept, no secret in the open."""
    for task, container in find.all_containers(world):
        name = f"{task} {container['Name']}"
        if container.get("User", "0").split(":")[0] in ("0", "root"):
            yield f"{name}: runs as root"
        if container.get("ReadonlyRootFilesystem") is not True:
            yield f"{name}: can write to its own image"
        if "ALL" not in dig(container, "LinuxParameters.Capabilities.Drop", []):
            yield f"{name}: keeps Linux capabilities"
        if world.at(dig(container, "LogConfiguration.Options.awslogs-group")) is None:
            yield f"{name}: its log goes nowhere"
        for variable in find.variables(container):
            if re.search(r"PASSWORD|SECRET|TOKEN|API_KEYS", variable):
                yield f"{name}: {variable} stands in the open"


@_rule
def people_can_get_into_what_says_so(world: World) -> Iterator[str]:
    """ECS Exec: its agent has folders to write to, leave to open its channels, and a way out."""
    endpoints = [str(e.get("ServiceName")) for e in world.all("EC2::VPCEndpoint")]
    for service in world.all("ECS::Service"):
        if not service.get("EnableExecuteCommand"):
            continue
        for name, container in find.containers(world, service).items():
            for folder in settings.EXEC_AGENT_FOLDERS:
                if container.get("ReadonlyRootFilesystem") and not find.volume_of(
                    container, folder
                ):
                    yield f"{service}: {name} is read-only and has no volume at {folder}"
        task = world.at(service.get("TaskDefinition"))
        allowed = find.statements(world, task.get("TaskRoleArn") if task else None)
        for channel in ("CreateControlChannel", "OpenDataChannel"):
            if not find.permits(allowed, f"ssmmessages:{channel}", "*"):
                yield f"{service}: the task may not call ssmmessages:{channel}"
        if not any(endpoint.endswith(".ssmmessages") for endpoint in endpoints):
            yield f"{service}: no endpoint for ssmmessages"


@_rule
def tasks_have_a_size_that_fargate_sells(world: World) -> Iterator[str]:
    """CPU and memory go together, and the containers fit."""
    for task in world.all("ECS::TaskDefinition"):
        cpu, memory = int(task.get("Cpu", 0)), int(task.get("Memory", 0))
        if memory not in aws.FARGATE_MEMORY_MIB.get(cpu, range(0)):
            yield f"{task}: {cpu} CPU units with {memory} MiB"
        if sum(c.get("Memory", 0) for c in task.get("ContainerDefinitions")) > memory:
            yield f"{task}: its containers need more than {memory} MiB"
        if task.get("RuntimePlatform.CpuArchitecture") != "ARM64":
            yield f"{task}: not on Graviton"
        if task.get("NetworkMode") != "awsvpc" or "FARGATE" not in task.get(
            "RequiresCompatibilities", []
        ):
            yield f"{task}: not a Fargate task"


@_rule
def execution_roles_can_start_their_tasks(world: World) -> Iterator[str]:
    """Pull each image, read each secret, write each log: else the task stays PENDING."""
    for task, container in find.all_containers(world):
        statements = find.statements(world, task.get("ExecutionRoleArn"))
        group = dig(container, "LogConfiguration.Options.awslogs-group")
        repository = re.search(r"/(\{[^}]+\}):", container["Image"])
        needs = [
            ("ecr:GetAuthorizationToken", "*"),
            ("ecr:BatchGetImage", f"{repository[1][:-1]}.Arn}}" if repository else "?"),
            ("logs:PutLogEvents", f"{str(group)[:-1]}.Arn}}"),
        ]
        needs += [
            ("secretsmanager:GetSecretValue", re.sub(r":\w+::$", "", secret["ValueFrom"]))
            for secret in container.get("Secrets", [])
        ]
        for action, resource in needs:
            if not find.permits(statements, action, resource):
                yield f"{task} {container['Name']}: may not {action} on {resource}"


@_rule
def tasks_may_reach_the_objects_they_are_told_about(world: World) -> Iterator[str]:
    """Every s3:// in a task's variables lies below a prefix its role is allowed."""
    for task, container in find.all_containers(world):
        statements = find.statements(world, task.get("TaskRoleArn"))
        for name, value in find.variables(container).items():
            if not value.startswith("s3://"):
                continue
            arn = f"arn:aws:s3:::{value.removeprefix('s3://')}/*"
            if not any(find.permits(statements, f"s3:{a}Object", arn) for a in ("Get", "Put")):
                yield f"{task}: {name} is {value}, which its role may not touch"


@_rule
def the_shipper_empties_the_spool_that_the_server_fills(world: World) -> Iterator[str]:
    """Same folder, one shared volume; and it outlives the server when the task stops."""
    for service, balancer in find.balanced(world):
        containers = find.containers(world, service)
        server, shipper = containers[balancer["ContainerName"]], containers.get("shipper", {})
        folders = [find.variables(c).get("DIGITS_CAPTURE_DIR") for c in (server, shipper)]
        if folders[0] is None or folders[0] != folders[1]:
            yield f"{service}: server writes to {folders[0]}, shipper reads {folders[1]}"
            continue
        volumes = [find.volume_of(c, folders[0]) for c in (server, shipper)]
        if volumes[0] is None or volumes[0] != volumes[1]:
            yield f"{service}: {folders[0]} is on volumes {volumes}"
        if {"ContainerName": "shipper", "Condition": "START"} not in server.get("DependsOn", []):
            yield f"{service}: the shipper may be stopped before the server has drained"
        if not dig(shipper, "RestartPolicy.Enabled") and not shipper.get("Essential", True):
            yield f"{service}: a dead shipper stays dead"


# --- network ------------------------------------------------------------------------------------
@_rule
def tasks_have_no_way_to_the_internet(world: World) -> Iterator[str]:
    """Isolated subnets, no public address, no route out."""
    open_tables = {
        r.get("RouteTableId") for r in world.all("EC2::Route") if r.get("DestinationCidrBlock")
    }
    exposed = {
        a.get("SubnetId")
        for a in world.all("EC2::SubnetRouteTableAssociation")
        if a.get("RouteTableId") in open_tables
    }
    for owner, network in find.task_networks(world):
        if network.get("AssignPublicIp") != "DISABLED":
            yield f"{owner}: public address"
        for subnet in set(network.get("Subnets", [])) & exposed:
            yield f"{owner}: subnet {subnet} has a route to the internet"
    if world.all("EC2::NatGateway"):
        yield "a NAT gateway gives tasks a way out"


@_rule
def isolated_tasks_have_the_endpoints_they_call(world: World) -> Iterator[str]:
    """Without one of these a task hangs in PENDING or a call times out."""
    present = {e.get("ServiceName").split(".", 3)[-1] for e in world.all("EC2::VPCEndpoint")}
    needed = {"ecr.api", "ecr.dkr", "s3", "logs"}
    for _, container in find.all_containers(world):
        if container.get("Secrets"):
            needed.add("secretsmanager")
        if "sns:" in find.variables(container).get("DIGITS_ALERTS", ""):
            needed.add("sns")
    if any(s.get("EnableExecuteCommand") for s in world.all("ECS::Service")):
        needed.add("ssmmessages")
    for missing in sorted(needed - present):
        yield f"no endpoint for {missing}"


@_rule
def only_the_load_balancer_is_open_to_the_world(world: World) -> Iterator[str]:
    """And only on 443."""
    fronts = {g for alb in find.albs(world) for g in alb.get("SecurityGroups", [])}
    for group in world.all("EC2::SecurityGroup"):
        for rule in group.get("SecurityGroupIngress", []):
            if rule.get("CidrIp") != "0.0.0.0/0" and rule.get("CidrIpv6") != "::/0":
                continue
            if f"{group.ref[:-1]}.GroupId}}" not in fronts or rule.get("FromPort") != 443:
                yield f"{group}: open to the world on {rule.get('FromPort')}"


# --- data ---------------------------------------------------------------------------------------
@_rule
def buckets_are_private_encrypted_and_forget(world: World) -> Iterator[str]:
    """Public access blocked, KMS (S3-managed for access logs only), TLS only, lifecycle, logged."""
    log_targets = {
        b.get("LoggingConfiguration.DestinationBucketName") for b in world.all("S3::Bucket")
    }
    for bucket in world.all("S3::Bucket"):
        block = bucket.get("PublicAccessBlockConfiguration", {})
        if [block.get(k) for k in aws.BLOCKS] != [True] * 4:
            yield f"{bucket}: public access is not blocked"
        is_log = bucket.ref in log_targets
        rules = bucket.get("BucketEncryption.ServerSideEncryptionConfiguration", [])
        wanted = "AES256" if is_log else "aws:kms"
        if [dig(r, "ServerSideEncryptionByDefault.SSEAlgorithm") for r in rules] != [wanted]:
            yield f"{bucket}: not encrypted with {wanted}"
        policies = [p for p in world.all("S3::BucketPolicy") if p.get("Bucket") == bucket.ref]
        if not any('"aws:SecureTransport": "false"' in json.dumps(p.properties) for p in policies):
            yield f"{bucket}: accepts plain HTTP"
        if not bucket.get("LifecycleConfiguration.Rules"):
            yield f"{bucket}: keeps everything for ever"
        if not is_log and not bucket.get("LoggingConfiguration"):
            yield f"{bucket}: accesses are not logged"


@_rule
def captures_are_forgotten_in_time(world: World) -> Iterator[str]:
    """docs/privacy.md promises 90 days for records; labels and marks of erasure stay."""
    for bucket in world.all("S3::Bucket"):
        if "-captures-" not in str(bucket.get("BucketName")):
            continue
        days = [
            r.get("ExpirationInDays", 10**6) for r in bucket.get("LifecycleConfiguration.Rules")
        ]
        if min(days) > settings.CAPTURE_DAYS:
            yield f"{bucket}: keeps captures {min(days)} days"
        for rule in bucket.get("LifecycleConfiguration.Rules"):
            if "ExpirationInDays" in rule and rule.get("Prefix") != "captures/records/":
                yield f"{bucket}: forgets more than records, erased requests could come back"


@_rule
def the_database_is_private_encrypted_and_backed_up(world: World) -> Iterator[str]:
    """PostgreSQL, TLS only, reachable by MLflow alone."""
    for database in world.all("RDS::DBInstance"):
        if database.get("Engine") != "postgres" or "." not in database.get("EngineVersion", ""):
            yield f"{database}: engine {database.get('Engine')} {database.get('EngineVersion')}"
        if database.get("PubliclyAccessible") is not False or not database.get("StorageEncrypted"):
            yield f"{database}: public or unencrypted"
        if not database.get("BackupRetentionPeriod"):
            yield f"{database}: no backups"
        parameters = world.at(database.get("DBParameterGroupName"))
        if parameters is None or parameters.get("Parameters", {}).get("rds.force_ssl") != "1":
            yield f"{database}: accepts connections without TLS"
        if "MasterUserPassword" in database.properties and "resolve:secretsmanager" not in str(
            database.get("MasterUserPassword")
        ):
            yield f"{database}: its password is in the template"


@_rule
def images_cannot_be_replaced(world: World) -> Iterator[str]:
    """A tag means one image for ever, and each is scanned."""
    for repository in world.all("ECR::Repository"):
        if repository.get("ImageTagMutability") != "IMMUTABLE":
            yield f"{repository}: tags can be moved"
        if repository.get("ImageScanningConfiguration.ScanOnPush") is not True:
            yield f"{repository}: images are not scanned"
    for task, container in find.all_containers(world):
        if not re.search(r":\{ssm:/digitline/[\w/-]+-image-tag\}$", container["Image"]):
            yield f"{task}: image {container['Image'][-60:]} is not named by a fact"


@_rule
def logs_are_encrypted_and_forgotten(world: World) -> Iterator[str]:
    """A log group without retention grows for ever."""
    for group in world.all("Logs::LogGroup"):
        if not group.get("RetentionInDays"):
            yield f"{group}: kept for ever"
        if world.at(group.get("KmsKeyId")) is None:
            yield f"{group}: not encrypted with our key"


# --- permissions --------------------------------------------------------------------------------
@_rule
def permissions_name_actions_and_resources(world: World) -> Iterator[str]:
    """No wildcard action; a wildcard resource only for actions that know none, or a condition."""
    for owner, statement in find.identity_statements(world):
        actions = find.listed(statement.get("Action"))
        if any("*" in action for action in actions):
            yield f"{owner}: wildcard action in {actions}"
        if "*" in find.listed(statement.get("Resource")) and not statement.get("Condition"):
            loose = [a for a in actions if not aws.KNOW_NO_RESOURCE.fullmatch(a)]
            if loose:
                yield f"{owner}: {loose} on every resource"


@_rule
def roles_are_assumed_by_one_kind_of_principal(world: World) -> Iterator[str]:
    """AWS services and the one identity provider; no account, nobody anonymous."""
    for role in world.all("IAM::Role"):
        for statement in role.get("AssumeRolePolicyDocument.Statement", []):
            principal = statement.get("Principal", {})
            if not isinstance(principal, dict) or not set(principal) <= {"Service", "Federated"}:
                yield f"{role}: can be assumed by {principal}"


@_rule
def ci_deploys_without_a_key(world: World) -> Iterator[str]:
    """GitHub's token for this repository and this environment, exactly; no user anywhere."""
    for kind in ("IAM::User", "IAM::AccessKey"):
        for found in world.all(kind):
            yield f"{found}: a long-lived identity"
    for role in world.all("IAM::Role"):
        for statement in role.get("AssumeRolePolicyDocument.Statement", []):
            if "Federated" not in statement.get("Principal", {}):
                continue
            exact = dig(statement, "Condition", {}).get("StringEquals", {})
            subject = [v for k, v in exact.items() if k.endswith(":sub")]
            audience = [v for k, v in exact.items() if k.endswith(":aud")]
            if audience != ["sts.amazonaws.com"] or not subject or "*" in subject[0]:
                yield f"{role}: trusts {statement.get('Condition')}"


# --- jobs ---------------------------------------------------------------------------------------
@_rule
def scheduled_jobs_run_and_are_missed_if_they_do_not(world: World) -> Iterator[str]:
    """Enabled, in the operator's time zone, retried, with dead letters that an alarm watches."""
    watched = [json.dumps(a.properties) for a in world.all("CloudWatch::Alarm")]
    for schedule in world.all("Scheduler::Schedule"):
        target = schedule.get("Target", {})
        if schedule.get("State", "ENABLED") != "ENABLED":
            yield f"{schedule}: switched off"
        if not schedule.get("ScheduleExpressionTimezone"):
            yield f"{schedule}: no time zone"
        machine = world.at(target.get("Arn"))
        if machine is None or machine.type != "AWS::StepFunctions::StateMachine":
            yield f"{schedule}: starts nothing"
        if not dig(target, "RetryPolicy.MaximumRetryAttempts"):
            yield f"{schedule}: not retried"
        queue = world.at(dig(target, "DeadLetterConfig.Arn"))
        if queue is None or not any(queue.ref[:-1] in alarm for alarm in watched):
            yield f"{schedule}: a lost start leaves no trace"
        if not find.permits(
            find.statements(world, target.get("RoleArn")),
            "states:StartExecution",
            str(target.get("Arn")),
        ):
            yield f"{schedule}: its role may not start it"
    for command in aws.PROMISED_JOBS:
        if not any(command in s.get("Description", "") for s in world.all("Scheduler::Schedule")):
            yield f"nothing runs {command!r}"


@_rule
def jobs_tell_how_they_ended(world: World) -> Iterator[str]:
    """Each task in a state machine is retried or caught, and each ending is published."""
    for machine in world.all("StepFunctions::StateMachine"):
        states = json.loads(machine.get("DefinitionString"))["States"]
        published = [s for s in states.values() if s.get("Resource", "").endswith("sns:publish")]
        if not any(world.at(s["Parameters"]["TopicArn"]) for s in published):
            yield f"{machine}: publishes nothing"
        for name, state in states.items():
            if state["Type"] != "Task" or state in published:
                continue
            caught = [c for c in state.get("Catch", []) if "States.ALL" in c["ErrorEquals"]]
            if not caught or states[caught[0]["Next"]] not in published:
                yield f"{machine}: a failure of {name} is not told"
            if "ecs:runTask" in state["Resource"]:
                yield from _run_task_problems(world, machine, state)


def _run_task_problems(world: World, machine: Resource, state: dict[str, Any]) -> Iterator[str]:
    if not state["Resource"].endswith(".sync"):
        yield f"{machine}: does not wait for its task"
    if not state.get("Retry") or not state.get("TimeoutSeconds"):
        yield f"{machine}: no retry or no timeout"
    task = world.at(state["Parameters"]["TaskDefinition"])
    if task is None or task.type != "AWS::ECS::TaskDefinition":
        yield f"{machine}: runs no task definition"
        return
    statements = find.statements(world, machine.get("RoleArn"))
    needs = [("ecs:RunTask", task.ref)]
    needs += [("iam:PassRole", task.get(r)) for r in ("TaskRoleArn", "ExecutionRoleArn")]
    for action, resource in needs:
        if not find.permits(statements, action, resource):
            yield f"{machine}: may not {action} on {resource}"


@_rule
def mlflow_is_private_and_asks_who_is_there(world: World) -> Iterator[str]:
    """Credentials, allowed hosts, one group of clients, and the address the jobs use."""
    for service in world.all("ECS::Service"):
        container = find.containers(world, service).get("mlflow")
        if container is None:
            continue
        secrets = {s["Name"] for s in container.get("Secrets", [])}
        if not {"MLFLOW_ADMIN_USER", "MLFLOW_ADMIN_PASSWORD"} <= secrets:
            yield f"{service}: no administrator, so no authentication"
        hosts = find.variables(container).get("MLFLOW_ALLOWED_HOSTS", "*")
        if "*" in hosts:
            yield f"{service}: allowed hosts {hosts!r}"
        if service.get("LoadBalancers"):
            yield f"{service}: stands behind a load balancer"
        for task, job in find.all_containers(world):
            uri = find.variables(job).get("MLFLOW_TRACKING_URI")
            if uri and uri.removeprefix("http://") not in hosts.split(","):
                yield f"{task}: {uri} is no allowed host of MLflow ({hosts})"


@_rule
def promotion_goes_through_the_canary(world: World) -> Iterator[str]:
    """A pushed champion changes the facts that name the images of service and jobs, and no more."""
    rules = [
        r
        for r in world.all("Events::Rule")
        if {"prefix": "champion-"} in dig(r.get("EventPattern", {}), "detail.image-tag", [])
    ]
    if not rules:
        yield "nothing happens when a champion is pushed"
    for rule in rules:
        machine = world.at(rule.get("Targets")[0]["Arn"])
        text = machine.get("DefinitionString", "") if machine else ""
        for _, container in find.all_containers(world):
            if container["Name"] == "mlflow":
                continue
            fact = re.search(r"\{ssm:([^}]+)\}$", container["Image"])
            if fact is None or f'"Name":"{fact[1]}"' not in text:
                yield f"{rule}: does not set the tag of {container['Name']}"
        if text.count('"UsePreviousTemplate":true') != text.count(":updateStack"):
            yield f"{rule}: changes more than the tags"
        for stack, template in world.templates.items():
            tags = [p.get("Default", "") for p in template.get("Parameters", {}).values()]
            named = any(re.search("(service|jobs)-image-tag", tag) for tag in tags)
            if named and not re.search(rf'"StackName":"[^"]*-{stack}"', text):
                yield f"{rule}: does not update the stack {stack}"

"""Metrics, alarms, dashboard, topics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from contract import metrics
from contract.metrics import NAMESPACE, SERVICE
from infra import aws, lookups, settings
from infra.invariants.rule import must_hold
from infra.world import Resource, World

OUTAGE_S = 300  # a total outage is reported within


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html"
)
def metrics_exist(world: World) -> Iterator[str]:
    """Name, namespace and dimensions, in alarms, scaling policies and the dashboard."""
    for owner, metric in lookups.all_metrics(world):
        known = aws.METRICS.get(metric["Namespace"], {})
        dimensions = frozenset(d["Name"] for d in metric.get("Dimensions", []))
        if metric["MetricName"] not in known:
            yield f"{owner}: no metric {metric['Namespace']} {metric['MetricName']}"
        elif dimensions not in known[metric["MetricName"]]:
            yield f"{owner}: {metric['MetricName']} has no dimensions {sorted(dimensions)}"


@must_hold(
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html"
)
def our_metrics_are_the_ones_that_our_code_writes(world: World) -> Iterator[str]:
    """Same namespace, same ``Service``: else the alarm never has data and never fires."""
    for owner, metric in lookups.all_metrics(world):
        dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
        if metric["MetricName"] not in metrics.UNITS or "Service" not in dimensions:
            continue
        read, written = (metric["Namespace"], dimensions["Service"]), (NAMESPACE, SERVICE)
        if read != written:
            yield f"{owner}: reads {metric['MetricName']} of {read}, written to {written}"


@must_hold(
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"
)
def alarms_notify_a_topic_and_link_a_runbook(world: World) -> Iterator[str]:
    """Each alarm acts on an existing topic or policy; one that mails links its runbook."""
    runbook = (settings.REPOSITORY_ROOT / "docs" / "operations.md").read_text()
    for alarm in world.all("CloudWatch::Alarm"):
        actions = [world.at(a) for a in alarm.get("AlarmActions", [])]
        if not actions or None in actions or alarm.get("ActionsEnabled") is False:
            yield f"{alarm}: no action"
        if any(a and a.type == "AWS::SNS::Topic" for a in actions):
            anchor = alarm.get("AlarmDescription", "").partition("docs/operations.md#")[2]
            if not anchor or f'<a id="{anchor}">' not in runbook:
                yield f"{alarm}: no runbook section at #{anchor or '(none)'}"


@must_hold(
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"
)
def alarm_arithmetic_is_possible(world: World) -> Iterator[str]:
    """One returned value, all identifiers defined, CloudWatch's limits kept."""
    for alarm in world.all("CloudWatch::Alarm"):
        periods, needed = alarm.get("EvaluationPeriods"), alarm.get("DatapointsToAlarm", 1)
        if needed > periods:
            yield f"{alarm}: {needed} datapoints of {periods}"
        if periods * max(lookups.periods(alarm)) > lookups.max_alarm_window_s(alarm):
            yield f"{alarm}: its window is longer than CloudWatch allows"
        queries = alarm.get("Metrics", [])
        returned = [q for q in queries if q.get("ReturnData", True)]
        if queries and len(returned) != 1:
            yield f"{alarm}: returns {len(returned)} values"
        ids = {q["Id"] for q in queries}
        for query in queries:
            used = set(re.findall(r"\b[a-z]\w*\b", query.get("Expression", "")))
            if used - ids:
                yield f"{alarm}: expression uses undefined {sorted(used - ids)}"


@must_hold(
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html"
)
def a_missing_drift_report_raises_an_alarm(world: World) -> Iterator[str]:
    """A job that did not run writes no metric: no report counts as 0 wherever reads were served."""
    watching = [
        (alarm, expression)
        for alarm in world.all("CloudWatch::Alarm")
        for expression in _expressions_of(alarm, "DriftReportCompleted")
    ]
    if not watching:
        yield "no alarm on DriftReportCompleted"
    for alarm, expression in watching:
        if "FILL(reports, 0)" not in expression:
            yield f"{alarm}: a missing report is not counted as 0"
        if not list(_expressions_of(alarm, "Requests")) or alarm.get("TreatMissingData") != (
            "notBreaching"
        ):
            yield f"{alarm}: rings before the first report is due"


def _expressions_of(alarm: Resource, metric: str) -> Iterator[str]:
    """The expression of an alarm that reads the metric."""
    queries = alarm.get("Metrics", [])
    if any(stat["MetricName"] == metric for stat in map(lookups.stat_of, queries) if stat):
        yield from (query["Expression"] for query in queries if "Expression" in query)


@must_hold(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html"
)
def a_total_outage_raises_an_alarm(world: World) -> Iterator[str]:
    """Without tasks the load balancer's metrics have no data: missing data must breach."""
    alarms = world.all("CloudWatch::Alarm")
    for ending in ("running-tasks", "healthy-hosts", "synthetic-read"):
        for alarm in alarms:
            if str(alarm.get("AlarmName")).endswith(ending):
                if alarm.get("TreatMissingData") != "breaching":
                    yield f"{alarm}: missing data does not breach"
                if not str(alarm.get("ComparisonOperator")).startswith("LessThan"):
                    yield f"{alarm}: does not compare with a minimum"
                if alarm.get("EvaluationPeriods") * max(lookups.periods(alarm)) > OUTAGE_S:
                    yield f"{alarm}: needs more than {OUTAGE_S} s"
    for alarm in alarms:
        for expression in _expressions_of(alarm, "HTTPCode_ELB_5XX_Count"):
            if "FILL(elb, 0))" not in expression.rpartition("/")[2]:
                yield f"{alarm}: refused requests are not in the denominator"


@must_hold("https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html")
def the_promised_alarms_exist(world: World) -> Iterator[str]:
    """Each by the end of its name; and the budget, which notifies an existing topic."""
    names = " ".join(str(a.get("AlarmName")) for a in world.all("CloudWatch::Alarm"))
    has_comforts = bool(world.all("RDS::DBInstance"))
    for ending in aws.PROMISED_ALARMS:
        if ending in aws.COMFORT_ALARMS and not has_comforts:
            continue
        if f"-{ending} " not in f"{names} ":
            yield f"no alarm ends in -{ending}"
    for budget in world.all("Budgets::Budget"):
        for notice in budget.get("NotificationsWithSubscribers", []):
            for subscriber in notice["Subscribers"]:
                if world.at(subscriber["Address"]) is None:
                    yield f"{budget}: a subscriber does not exist"
    if not world.all("Budgets::Budget"):
        yield "no budget"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html")
def the_dashboard_shows_what_was_promised(world: World) -> Iterator[str]:
    """Traffic, latency, shed load, saturation, tasks, rejects, drift and cost."""
    if not world.all("RDS::DBInstance"):  # an environment without comforts
        return
    shown = {m["MetricName"] for o, m in lookups.all_metrics(world) if "Dashboard" in o.type}
    for missing in sorted(aws.PROMISED_GRAPHS - shown):
        yield f"no dashboard shows {missing}"


@must_hold("https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html")
def aws_services_may_publish_to_the_topics(world: World) -> Iterator[str]:
    """Encrypted with a key that CloudWatch, Budgets and EventBridge may use, and subscribed."""
    listeners = {s.get("TopicArn") for s in world.all("SNS::Subscription")}
    for topic in world.all("SNS::Topic"):
        key = world.at(topic.get("KmsMasterKeyId"))
        if key is None:
            yield f"{topic}: not encrypted with our key"
            continue
        if topic.ref not in listeners:
            yield f"{topic}: no subscription"
        for service in ("cloudwatch", "budgets", "events"):
            if f"{service}.amazonaws.com" not in json.dumps(key.get("KeyPolicy")):
                yield f"{topic}: its key does not allow {service}"
            policies = [p for p in world.all("SNS::TopicPolicy") if topic.ref in p.get("Topics")]
            if not any(f"{service}.amazonaws.com" in json.dumps(p.properties) for p in policies):
                yield f"{topic}: its policy does not allow {service}"

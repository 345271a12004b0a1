"""What is measured, and who is told: metrics, alarms, dashboard, topics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from contract import metrics
from contract.metrics import NAMESPACE, SERVICE
from infra import aws, find, settings
from infra.invariants.rule import must_hold
from infra.world import World


@must_hold
def metrics_exist(world: World) -> Iterator[str]:
    """Name, namespace and dimensions, for alarms, scaling and the dashboard."""
    for owner, metric in find.all_metrics(world):
        known = aws.METRICS.get(metric["Namespace"], {})
        dimensions = frozenset(d["Name"] for d in metric.get("Dimensions", []))
        if metric["MetricName"] not in known:
            yield f"{owner}: no metric {metric['Namespace']} {metric['MetricName']}"
        elif dimensions not in known[metric["MetricName"]]:
            yield f"{owner}: {metric['MetricName']} has no dimensions {sorted(dimensions)}"


@must_hold
def our_metrics_are_the_ones_that_our_code_writes(world: World) -> Iterator[str]:
    """Same namespace, same ``Service``: else the alarm never has data, and never rings."""
    for owner, metric in find.all_metrics(world):
        dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
        if metric["MetricName"] not in metrics.UNITS or "Service" not in dimensions:
            continue
        read, written = (metric["Namespace"], dimensions["Service"]), (NAMESPACE, SERVICE)
        if read != written:
            yield f"{owner}: reads {metric['MetricName']} of {read}, written to {written}"


@must_hold
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


@must_hold
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


@must_hold
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


@must_hold
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


@must_hold
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


@must_hold
def the_dashboard_shows_what_was_promised(world: World) -> Iterator[str]:
    """Traffic, latency, shed load, saturation, tasks, rejects, drift and cost."""
    shown = {m["MetricName"] for o, m in find.all_metrics(world) if "Dashboard" in o.type}
    for missing in sorted(aws.PROMISED_GRAPHS - shown):
        yield f"no dashboard shows {missing}"


@must_hold
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

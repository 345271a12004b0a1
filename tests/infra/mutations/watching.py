"""Metrics, alarms, dashboard, topics."""

from __future__ import annotations

from mutations.seed import (
    ALARM,
    DASHBOARD,
    Templates,
    deletes,
    replaces,
    seeds,
)

replaces(
    "metrics_exist",
    {
        "metric_name_misspelt": (ALARM, "Alarmp99", "TargetResponseTime", "TargetResponseTimes"),
        "metric_with_wrong_dimensions": (ALARM, "Alarmshed", '"Name": "Service"', '"Name": "Site"'),
        "dashboard_metric_misspelt": (DASHBOARD, "", "DriftSeverity", "DriftSevereness"),
        "scaling_metric_of_another_namespace": (
            ALARM,
            "BurstAlarm",
            "AWS/ECS",
            "ECS/ContainerInsights",
        ),
    },
)


replaces(
    "our_metrics_are_the_ones_that_our_code_writes",
    {
        "alarm_on_another_service": (
            ALARM,
            "Alarmdrift",
            '"Value": "digits"',
            '"Value": "digitline"',
        ),
        "rollback_alarm_in_another_namespace": (
            ALARM,
            "Alarmrejects",
            '"Namespace": "Digitline"',
            '"Namespace": "Digits"',
        ),
        "dashboard_of_another_service": (
            DASHBOARD,
            "",
            '\\"Service\\",\\"digits\\"',
            '\\"Service\\",\\"dig\\"',
        ),
    },
)


@seeds("CKV_AWS_65")
def container_insights_off(t: Templates) -> None:
    t.replace("ECS::Cluster", "", "enabled", "disabled")


@seeds("alarms_notify_a_topic_and_link_a_runbook")
def alarm_without_an_action(t: Templates) -> None:
    t.one(ALARM, "Alarmerrors")["AlarmActions"] = []


@seeds("alarms_notify_a_topic_and_link_a_runbook")
def runbook_link_without_a_target(t: Templates) -> None:
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


@seeds("a_missing_drift_report_raises_an_alarm")
def missing_report_is_not_counted(t: Templates) -> None:
    t.replace(ALARM, "Alarmdriftsilent", "FILL(reports, 0)", "reports")


@seeds("a_missing_drift_report_raises_an_alarm")
def drift_alarm_rings_on_the_first_day(t: Templates) -> None:
    t.one(ALARM, "Alarmdriftsilent")["TreatMissingData"] = "breaching"


@seeds("a_total_outage_raises_an_alarm")
def no_data_of_running_tasks_is_fine(t: Templates) -> None:
    t.one(ALARM, "Alarmrunningtasks")["TreatMissingData"] = "notBreaching"


@seeds("a_total_outage_raises_an_alarm")
def no_data_of_healthy_hosts_is_fine(t: Templates) -> None:
    del t.one(ALARM, "Alarmhealthyhosts")["TreatMissingData"]


@seeds("a_total_outage_raises_an_alarm")
def no_synthetic_read_is_fine(t: Templates) -> None:
    t.one(ALARM, "Alarmsyntheticread")["TreatMissingData"] = "ignore"


@seeds("a_total_outage_raises_an_alarm")
def refused_requests_are_not_counted(t: Templates) -> None:
    t.replace(ALARM, "Alarmerrors", "/ (FILL(n, 0) + FILL(elb, 0))", "/ n")


deletes(
    "the_promised_alarms_exist",
    {
        "no_alarm_on_stuck_deployments": (ALARM, "Alarmstuckdeployment"),
        "no_alarm_on_running_tasks": (ALARM, "Alarmrunningtasks"),
        "no_alarm_on_healthy_hosts": (ALARM, "Alarmhealthyhosts"),
        "no_alarm_on_impaired_starts": (ALARM, "Alarmtaskstartimpaired"),
        "no_budget": ("Budgets::Budget",),
    },
)


@seeds("the_dashboard_shows_what_was_promised")
def dashboard_without_cost(t: Templates) -> None:
    t.replace(DASHBOARD, "", "EstimatedCharges", "DesiredTaskCount")


@seeds("aws_services_may_publish_to_the_topics")
def key_refuses_cloudwatch(t: Templates) -> None:
    t.replace("KMS::Key", "", "cloudwatch.amazonaws.com", "cloudtrail.amazonaws.com")


@seeds("aws_services_may_publish_to_the_topics")
def topic_without_a_subscriber(t: Templates) -> None:
    t.delete("SNS::Subscription", "Page")

"""The CloudWatch dashboard of one environment."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra import capacity, settings
from infra.cloudwatch_metrics import ours
from infra.service_stack import Service
from infra.settings import Environment

_MINUTE = cdk.Duration.minutes(1)


def dashboard(
    scope: Construct, environment: Environment, service: Service, plan: capacity.Plan
) -> None:
    """Three rows: traffic, tasks, and model and cost."""
    board = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=f"digitline-{environment.name}")
    board.add_widgets(*_traffic_row(service))
    board.add_widgets(*_task_row(service, plan))
    board.add_widgets(*_model_and_cost_row(service, environment))


def _traffic_row(service: Service) -> list[cloudwatch.IWidget]:
    traffic = service.traffic
    return [
        _graph("Traffic (requests a minute)", [traffic.requests(_MINUTE)]),
        _graph(
            "Answer time (s)",
            [traffic.latency_s(statistic, _MINUTE) for statistic in ("p50", "p95", "p99")],
            line=cloudwatch.HorizontalAnnotation(
                value=settings.P99_MS / 1000, label="p99 objective"
            ),
        ),
        _graph(
            "Errors and shed load (share)",
            [traffic.error_frac(_MINUTE), traffic.shed_frac(_MINUTE)],
        ),
    ]


def _task_row(service: Service, plan: capacity.Plan) -> list[cloudwatch.IWidget]:
    return [
        _graph(
            "Tasks",
            [
                service.insight("RunningTaskCount", _MINUTE),
                service.insight("DesiredTaskCount", _MINUTE),
            ],
            line=cloudwatch.HorizontalAnnotation(value=plan.max_tasks, label="maximum"),
        ),
        _graph(
            "Saturation (% CPU, % memory)",
            [
                service.service.metric_cpu_utilization(period=_MINUTE),
                service.service.metric_memory_utilization(period=_MINUTE),
            ],
            line=cloudwatch.HorizontalAnnotation(
                value=settings.CPU_TARGET_PERCENT, label="scaling target"
            ),
        ),
        _graph("Unhealthy tasks", [service.traffic.unhealthy_hosts(_MINUTE)]),
    ]


def _model_and_cost_row(service: Service, environment: Environment) -> list[cloudwatch.IWidget]:
    return [
        _graph(
            "Rejects (share of crops)",
            [service.traffic.reject_frac(cdk.Duration.minutes(5))],
            line=cloudwatch.HorizontalAnnotation(value=settings.ALARM_REJECT_FRAC, label="alarm"),
        ),
        _graph(
            "Drift severity (0 calm, 1 watch, 2 act)",
            [ours("DriftSeverity", "Maximum", cdk.Duration.days(1))],
        ),
        _graph(
            "Cost this month (USD; billing metrics are in us-east-1)",
            [
                cloudwatch.Metric(
                    namespace="AWS/Billing",
                    metric_name="EstimatedCharges",
                    dimensions_map={"Currency": "USD"},
                    statistic="Maximum",
                    period=cdk.Duration.hours(6),
                    region="us-east-1",
                )
            ],
            line=cloudwatch.HorizontalAnnotation(
                value=environment.monthly_budget_usd, label="budget"
            ),
        ),
    ]


def _graph(
    title: str,
    metrics: list[cloudwatch.IMetric],
    line: cloudwatch.HorizontalAnnotation | None = None,
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=metrics,
        left_annotations=[line] if line else [],
        left_y_axis=cloudwatch.YAxisProps(min=0),
        width=8,
        height=6,
    )

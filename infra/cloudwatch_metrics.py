"""The CloudWatch metrics that alarms, scaling and the dashboard share.

Metrics of ``ours`` reach CloudWatch as log lines in embedded metric format (EMF) from the service
and the jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2

from contract.metrics import NAMESPACE, SERVICE
from infra import settings


def ours(
    name: str, statistic: str, period: cdk.Duration, version: str | None = None
) -> cloudwatch.Metric:
    """A metric that Digitline's own code writes; of one version of the service, or of all."""
    of_version = {} if version is None else {"Version": version}
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={"Service": SERVICE, **of_version},
        statistic=statistic,
        period=period,
    )


@dataclass(frozen=True, slots=True)
class TrafficMetrics:
    """The load balancer's metrics; metrics per target group are summed over both groups."""

    alb: elbv2.ApplicationLoadBalancer
    groups: Sequence[elbv2.ApplicationTargetGroup]

    def requests(self, period: cdk.Duration) -> cloudwatch.Metric:
        """Requests in the period."""
        return self.alb.metrics.request_count(period=period, statistic="Sum")

    def latency_s(self, statistic: str, period: cdk.Duration) -> cloudwatch.Metric:
        """Seconds from request to response, measured by the load balancer."""
        return self.alb.metrics.target_response_time(period=period, statistic=statistic)

    def p99_ms(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """99th percentile in milliseconds; 0 in a period of at most ALARM_MIN_REQUESTS requests."""
        return cloudwatch.MathExpression(
            expression=f"IF(n > {settings.ALARM_MIN_REQUESTS}, 1000 * p99, 0)",
            using_metrics={"n": self.requests(period), "p99": self.latency_s("p99", period)},
            label="p99 (ms)",
            period=period,
        )

    def error_frac(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Share of 5xx responses, from the tasks or from the load balancer itself."""
        return cloudwatch.MathExpression(
            expression=(
                f"IF(FILL(n, 0) + FILL(elb, 0) > {settings.ALARM_MIN_REQUESTS}, "
                "(FILL(target, 0) + FILL(elb, 0)) / (FILL(n, 0) + FILL(elb, 0)), 0)"
            ),
            using_metrics={
                "n": self.requests(period),  # without those for which no target was found
                "target": self.alb.metrics.http_code_target(
                    elbv2.HttpCodeTarget.TARGET_5XX_COUNT, period=period, statistic="Sum"
                ),
                "elb": self.alb.metrics.http_code_elb(
                    elbv2.HttpCodeElb.ELB_5XX_COUNT, period=period, statistic="Sum"
                ),
            },
            label="5xx share",
            period=period,
        )

    def unhealthy_hosts(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Tasks that fail their health check, in both target groups."""
        return _sum_of_two(
            "unhealthy tasks",
            [
                g.metrics.unhealthy_host_count(period=period, statistic="Maximum")
                for g in self.groups
            ],
        )

    def healthy_hosts(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Tasks that pass their health check, in both target groups; no data if none is left."""
        return _sum_of_two(
            "healthy tasks",
            [g.metrics.healthy_host_count(period=period, statistic="Minimum") for g in self.groups],
        )

    def reject_frac(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Share of crops that the model rejected."""
        enough = f"accepted + rejected > {settings.ALARM_MIN_REQUESTS}"
        return cloudwatch.MathExpression(
            expression=f"IF({enough}, rejected / (accepted + rejected), 0)",
            using_metrics={
                "accepted": ours("Accepted", "Sum", period),
                "rejected": ours("Rejected", "Sum", period),
            },
            label="reject share",
            period=period,
        )

    def version_difference(self, version: str, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Share of rejects of ``version`` minus that of all other versions.

        0 while only one version serves, or one of the two has few crops.
        """
        n = "(FILL(a, 0) + FILL(r, 0))"
        old_n = f"(FILL(all_a, 0) + FILL(all_r, 0) - {n})"
        few = settings.ALARM_MIN_CROPS
        difference = f"FILL(r, 0) / {n} - (FILL(all_r, 0) - FILL(r, 0)) / {old_n}"
        return cloudwatch.MathExpression(
            expression=f"IF({n} >= {few} AND {old_n} >= {few}, {difference}, 0)",
            using_metrics={
                "a": ours("Accepted", "Sum", period, version),
                "r": ours("Rejected", "Sum", period, version),
                "all_a": ours("Accepted", "Sum", period),
                "all_r": ours("Rejected", "Sum", period),
            },
            label="reject share above the other version's",
            period=period,
        )

    def shed_frac(self, period: cdk.Duration) -> cloudwatch.MathExpression:
        """Share of requests shed because the queue was full."""
        return cloudwatch.MathExpression(
            expression=f"IF(asked > {settings.ALARM_MIN_REQUESTS}, FILL(shed, 0) / asked, 0)",
            using_metrics={
                "asked": ours("Requests", "Sum", period),
                "shed": ours("Shed", "Sum", period),
            },
            label="shed share",
            period=period,
        )


def _sum_of_two(label: str, metrics: Sequence[cloudwatch.Metric]) -> cloudwatch.MathExpression:
    blue, green = metrics
    return cloudwatch.MathExpression(
        expression="FILL(blue, 0) + FILL(green, 0)",
        using_metrics={"blue": blue, "green": green},
        label=label,
        period=blue.period,
    )

"""Alarms, dashboard and budget.

The alarms that also roll a deployment back are in ``service_stack.py``. An alarm pages where reads
fail or soon will; all others are tickets.
"""

from __future__ import annotations

import math
from functools import partial

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from constructs import Construct

from infra import api_keys, capacity, golden_reads, settings
from infra.alarm import LESS, MISSING_IS_BAD, alarm
from infra.cloudwatch_metrics import ours
from infra.dashboard import dashboard
from infra.foundation_stack import Foundation
from infra.mlops_stack import MlOps
from infra.service_stack import Service
from infra.settings import Environment

_BudgetNotice = budgets.CfnBudget.NotificationWithSubscribersProperty
_MINUTE = cdk.Duration.minutes(1)


class Watch(cdk.Stack):
    """Dashboard, alarms and budget of one environment."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        foundation: Foundation,
        service: Service,
        mlops: MlOps,
        plan: capacity.Plan,
    ) -> None:
        super().__init__(
            scope,
            "watch",
            stack_name=f"digitline-{environment.name}-watch",
            description=f"Digitline {environment.name}: dashboard, alarms, budget",
            env=cdk.Environment(region=environment.region),
        )
        self.environment_settings = environment
        self.foundation = foundation
        self.service = service
        self.mlops = mlops
        self.plan = plan
        self._page = partial(alarm, self, environment, foundation.page)
        self._ticket = partial(alarm, self, environment, foundation.ticket)
        self._outage_alarms()
        if environment.has_comforts:
            self._task_count_alarms()
        self._service_alarms()
        self._job_alarms()
        self._failed_deployments()
        self._critical_findings()
        self._budget()
        if environment.has_comforts:
            dashboard(self, environment, service, plan)

    def _outage_alarms(self) -> None:
        """A metric without data is an outage here: nothing runs, or nothing is registered."""
        # with one zone lost this many hold the load
        azs = self.environment_settings.num_azs
        enough = math.ceil(self.plan.min_tasks * (azs - 1) / azs)
        self._page(
            "healthy-hosts",
            f"The load balancer has fewer than {enough} healthy tasks",
            self.service.traffic.healthy_hosts(_MINUTE),
            enough,
            periods=3,
            comparison=LESS,
            missing=MISSING_IS_BAD,
        )

        self._page(
            "synthetic-read",
            "A golden crop that is sent from outside is not read, or is misread",
            golden_reads.successes(self.service.synthetic_read),
            1,
            periods=3,
            comparison=LESS,
            missing=MISSING_IS_BAD,
        )

    def _task_count_alarms(self) -> None:
        """What Container Insights counts, which an environment without comforts does not have."""
        self._page(
            "running-tasks",
            f"Fewer than {self.plan.min_tasks} tasks run, the minimum",
            self.service.insight("RunningTaskCount", _MINUTE, statistic="Maximum"),
            self.plan.min_tasks,
            periods=3,
            comparison=LESS,
            missing=MISSING_IS_BAD,
        )
        self._page(
            "at-maximum",
            "Autoscaling runs the maximum number of tasks: more load will be shed",
            self.service.insight("DesiredTaskCount", _MINUTE),
            self.plan.max_tasks - 0.5,
            periods=5,
        )
        self._ticket(
            "stuck-deployment",
            f"A deployment is still in progress after {settings.STUCK_DEPLOYMENT_MIN} minutes",
            self.service.insight("DeploymentCount", cdk.Duration.minutes(5), statistic="Minimum"),
            1,
            periods=settings.STUCK_DEPLOYMENT_MIN // 5,
        )

    def _service_alarms(self) -> None:
        self._page(
            "shed",
            "The service sheds load: more requests arrive than the tasks can queue",
            self.service.traffic.shed_frac(_MINUTE),
            settings.ALARM_SHED_FRAC,
            periods=3,
        )
        self._ticket(
            "capture",
            "The shipper is behind: when the spool is full, the service answers 503",
            ours("CaptureBacklogBytes", "Maximum", _MINUTE),
            settings.ALARM_BACKLOG_BYTES,
            periods=5,
        )

        self._ticket(
            "keys-stale",
            f"A task read the API keys over {api_keys.DEAD_WITHIN_S} s ago: it takes revoked ones",
            ours("KeysAgeSeconds", "Maximum", _MINUTE),
            api_keys.DEAD_WITHIN_S,
            periods=3,
        )
        self._ticket(
            "site-on-hold",
            "A site's reads stopped looking like its own: they are not accepted until it recovers",
            ours("SiteTrips", "Sum", _MINUTE),
            0,
            periods=1,
        )

    def _job_alarms(self) -> None:
        six_hours = cdk.Duration.hours(6)
        self._ticket(
            "drift-silent",
            f"No drift report was written for {settings.DRIFT_SILENCE_H} hours",
            # A job that did not run writes no metric. Periods in which nothing was served do not
            # count, so that a new environment has as long for its first report.
            cloudwatch.MathExpression(
                expression="IF(asked >= 0, FILL(reports, 0), 1)",
                using_metrics={
                    "asked": ours("Requests", "Sum", six_hours),
                    "reports": ours("DriftReportCompleted", "Sum", six_hours),
                },
                label="drift reports",
                period=six_hours,
            ),
            1,
            periods=settings.DRIFT_SILENCE_H // 6,
            comparison=LESS,
        )
        self._ticket(
            "drift",
            "The drift report has severity 2 (act)",
            ours("DriftSeverity", "Maximum", six_hours),
            1,
            periods=1,
        )
        if self.mlops.retrain is not None:
            self._ticket(
                "retrain",
                "A retraining run failed",
                self.mlops.retrain.machine.metric_failed(period=six_hours, statistic="Sum"),
                0,
                periods=1,
            )
        self._ticket(
            "dead-letters",
            "A scheduled job or a release could not start",
            self.mlops.dead_letters.metric_approximate_number_of_messages_visible(
                period=cdk.Duration.minutes(5), statistic="Maximum"
            ),
            0,
            periods=1,
        )
        if self.mlops.database is not None:  # stopped most of the month: no data is fine
            self._ticket(
                "database-space",
                "MLflow's database has less than 10 % of its storage left",
                self.mlops.database.metric_free_storage_space(
                    period=cdk.Duration.minutes(5), statistic="Minimum"
                ),
                settings.DATABASE_GIB * 2**30 / 10,
                periods=3,
                comparison=LESS,
            )

    def _failed_deployments(self) -> None:
        """Notify operators when ECS reports a failed or rolled back deployment."""
        events.Rule(
            self,
            "DeploymentFailed",
            description="A deployment of the service failed or was rolled back",
            event_pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Deployment State Change"],
                detail={"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
                resources=[self.service.service.service_arn],
            ),
            targets=[event_targets.SnsTopic(self.foundation.ticket)],
        )

    def _critical_findings(self) -> None:
        """Notify operators of a critical finding in an image; the weekly rebuild is scanned too."""
        images = (
            self.foundation.service_images,
            self.foundation.jobs_images,
            self.foundation.mlflow_images,
        )
        events.Rule(
            self,
            "CriticalFinding",
            description="The registry found a critical vulnerability in an image",
            event_pattern=events.EventPattern(
                source=["aws.ecr"],
                detail_type=["ECR Image Scan"],
                detail={
                    "scan-status": ["COMPLETE"],
                    "repository-name": [one.repository_name for one in images],
                    "finding-severity-counts": {"CRITICAL": [{"exists": True}]},
                },
            ),
            targets=[event_targets.SnsTopic(self.foundation.ticket)],
        )

    def _budget(self) -> None:
        def notify(
            kind: str, percent: float
        ) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
            return budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[
                    budgets.CfnBudget.SubscriberProperty(
                        address=self.foundation.ticket.topic_arn, subscription_type="SNS"
                    )
                ],
            )

        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=f"digitline-{self.environment_settings.name}",
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(
                    amount=self.environment_settings.monthly_budget_usd, unit="USD"
                ),
            ),
            notifications_with_subscribers=[notify("ACTUAL", 80), notify("FORECASTED", 100)],
        )

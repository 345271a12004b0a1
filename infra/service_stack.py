"""The service: Fargate tasks behind a load balancer, deployed by canary.

This module holds the ECS service and the alarms that roll a deployment back; the other parts are in
``load_balancer.py``, ``firewall.py`` and ``service_task.py``. Knows nothing about the number of
tasks (``autoscaling_stack.py``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import capacity, fargate_task, golden_reads, load_balancer, settings
from infra.acknowledge import acknowledge
from infra.alarm import alarm
from infra.cloudwatch_metrics import TrafficMetrics
from infra.firewall import firewall, raise_on
from infra.foundation_stack import Foundation
from infra.service_task import task_definition
from infra.settings import Environment


class Service(cdk.Stack):
    """Load balancer, tasks, canary and the alarms that roll it back."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        foundation: Foundation,
        plan: capacity.Plan,
        *,
        is_first: bool,
    ) -> None:
        super().__init__(
            scope,
            "service",
            stack_name=f"digitline-{environment.name}-service",
            description=f"Digitline {environment.name}: the service behind its load balancer",
            env=cdk.Environment(region=environment.region),
        )
        self.environment_settings = environment
        self._is_first = is_first
        self.foundation = foundation
        self.cluster = fargate_task.cluster(
            self, foundation.vpc, has_insights=environment.has_comforts
        )
        alb_group, self.tasks_group = load_balancer.security_groups(self, foundation)
        self.alb = load_balancer.load_balancer(
            self, foundation, alb_group, is_protected=environment.keeps_data and not is_first
        )
        self.blue = load_balancer.target_group(self, "Blue", foundation)
        self.green = load_balancer.target_group(self, "Green", foundation)
        self.rule, self.test_rule = load_balancer.listener_rule(
            self, environment, self.alb, self.blue, self.green
        )
        self.synthetic_read = golden_reads.watcher(self, environment, foundation)
        self.traffic = TrafficMetrics(alb=self.alb, groups=(self.blue, self.green))
        self._protect(plan)
        self.rollback_alarms = self._rollback_alarms()
        self.task = task_definition(self, environment, foundation)
        self.service = self._service()
        cdk.CfnOutput(self, "PeakRps", value=f"{environment.peak_rps:g}")
        cdk.CfnOutput(self, "Address", value=self.alb.load_balancer_dns_name)
        cdk.CfnOutput(self, "ClusterName", value=self.cluster.cluster_name)
        cdk.CfnOutput(self, "ServiceName", value=self.service.service_name)

    def insight(
        self, name: str, period: cdk.Duration, statistic: str = "Average"
    ) -> cloudwatch.Metric:
        """One of Container Insights' metrics of this service."""
        return cloudwatch.Metric(
            namespace="ECS/ContainerInsights",
            metric_name=name,
            dimensions_map={
                "ClusterName": self.cluster.cluster_name,
                "ServiceName": self.service.service_name,
            },
            statistic=statistic,
            period=period,
        )

    def _protect(self, plan: capacity.Plan) -> None:
        """The firewall, and the alarm that puts it in front of the load balancer."""
        acl = firewall(self, self.environment_settings, plan)
        flood = alarm(
            self,
            self.environment_settings,
            self.foundation.page,
            "flood",
            "More requests than twice the planned peak: the firewall goes up",
            self.traffic.requests(cdk.Duration.seconds(settings.WAF_WINDOW_S)),
            plan.waf_limit,
            periods=1,
        )
        raise_on(self, flood, acl, self.alb, self.foundation)

    def _rollback_alarms(self) -> list[cloudwatch.Alarm]:
        """Alarms that tell operators, and roll back a deployment until its bake time ends."""
        environment, traffic = self.environment_settings, self.traffic
        topics = self.foundation.page, self.foundation.ticket
        page, ticket = (
            partial(alarm, self, environment, t, periods=3, datapoints=2) for t in topics
        )
        one_minute = cdk.Duration.minutes(1)
        new = fargate_task.image_tag(self, environment, "service-image-tag")
        return [
            page(
                "p99",
                "The 99th percentile of response times is above the objective",
                traffic.p99_ms(one_minute),
                settings.P99_MS,
            ),
            page(
                "errors",
                "The share of 5xx responses is above ten times the objective",
                traffic.error_frac(one_minute),
                settings.ALARM_ERROR_FRAC,
            ),
            ticket(
                "unhealthy",
                "A task fails its health check",
                traffic.unhealthy_hosts(one_minute),
                0,
            ),
            page(
                "rejects",
                f"The model rejects more than {100 * settings.ALARM_REJECT_FRAC:g} % of crops",
                traffic.reject_frac(one_minute),
                settings.ALARM_REJECT_FRAC,
            ),
            ticket(
                "version-difference",
                f"Version {new} rejects a larger share of crops than the version before it",
                traffic.version_difference(new, one_minute),
                settings.ALARM_VERSION_DIFFERENCE,
            ),
            self._start_alarm(),
        ]

    def _start_alarm(self) -> cloudwatch.Alarm:
        """ECS reports that tasks keep failing to start: a bad image or secret.

        A queue keeps the events, which have ECS's reason, and the alarm tells people, once. The
        rule names the cluster, not the service, so that the alarm exists before the service.
        """
        kept = sqs.Queue(
            self,
            "StartEvents",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        acknowledge(kept, "AwsSolutions-SQS3", "nobody consumes it, so no message fails")
        acknowledge(kept, "CKV_AWS_27", "encrypted with SQS's own key: events of ECS, no mail")
        rule = events.Rule(
            self,
            "StartImpaired",
            description="ECS cannot start tasks of the service",
            event_pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Service Action"],
                detail={
                    "eventName": ["SERVICE_TASK_START_IMPAIRED"],
                    "clusterArn": [self.cluster.cluster_arn],
                },
            ),
            targets=[event_targets.SqsQueue(kept)],
        )
        return alarm(
            self,
            self.environment_settings,
            self.foundation.page,
            "task-start-impaired",
            "ECS cannot start the service's tasks",
            cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="TriggeredRules",
                dimensions_map={"RuleName": rule.rule_name},
                statistic="Sum",
                period=cdk.Duration.minutes(1),
            ),
            0,
            periods=1,
        )

    def _service(self) -> ecs.FargateService:
        service = ecs.FargateService(
            self,
            "Service",
            cluster=self.cluster,
            task_definition=self.task,
            # no desired_count: autoscaling sets it, and a deployment would reset it
            vpc_subnets=self.foundation.task_subnets,
            security_groups=[self.tasks_group],
            assign_public_ip=not self.environment_settings.is_isolated,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            min_healthy_percent=100,
            max_healthy_percent=200,
            health_check_grace_period=cdk.Duration.seconds(settings.START_GRACE_S),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            **self._strategy(),
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[alarm.alarm_name for alarm in self.rollback_alarms],
                behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM,
            ),
        )
        target = service.load_balancer_target(
            container_name="server",
            container_port=settings.SERVICE_PORT,
            alternate_target=None if self._is_first else self._alternate(),
        )
        self.blue.add_target(target)
        resource = service.node.default_child
        assert isinstance(resource, ecs.CfnService)
        acknowledge(service, "W3005", "CDK adds the explicit dependency on the listener rule")
        resource.monitoring = ecs.CfnService.MonitoringConfigurationProperty(
            metric_configurations=[
                ecs.CfnService.MetricConfigurationProperty(
                    metric_names=["CPUUtilization"],
                    resolution_seconds=settings.CPU_METRIC_RESOLUTION_S,
                )
            ]
        )
        return service

    def _strategy(self) -> dict[str, Any]:  # jsii properties have no TypedDict
        """Canary; the first deployment rolls, because there is no version to go back to.

        Its circuit breaker ends a creation whose tasks cannot start, within minutes instead of
        CloudFormation's three hours. ECS allows the breaker with rolling deployments only.
        """
        if self._is_first:
            return {
                "deployment_strategy": ecs.DeploymentStrategy.ROLLING,
                "circuit_breaker": ecs.DeploymentCircuitBreaker(rollback=True),
            }
        return {
            "deployment_strategy": ecs.DeploymentStrategy.CANARY,
            "canary_configuration": ecs.TrafficShiftConfig(
                step_percent=settings.CANARY_PERCENT,
                step_bake_time=cdk.Duration.minutes(settings.CANARY_MIN),
            ),
            "lifecycle_hooks": [
                golden_reads.approval(self, self.environment_settings, self.foundation)
            ],
            "bake_time": cdk.Duration.minutes(settings.BAKE_MIN),
        }

    def _alternate(self) -> ecs.AlternateTarget:
        """The second target group, and the rule whose weights ECS shifts."""
        return ecs.AlternateTarget(
            "Alternate",
            alternate_target_group=self.green,
            production_listener=ecs.ListenerRuleConfiguration.application_listener_rule(self.rule),
            test_listener=ecs.ListenerRuleConfiguration.application_listener_rule(self.test_rule),
            role=self._traffic_role(),
        )

    def _traffic_role(self) -> iam.Role:
        """The role with which ECS shifts traffic between the target groups."""
        policy = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
        role = iam.Role(
            self,
            "TrafficRole",
            assumed_by=iam.ServicePrincipal("ecs.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_managed_policy_arn(self, "TrafficPolicy", policy)
            ],
        )
        acknowledge(
            role,
            f"AwsSolutions-IAM4[Policy::{policy}]",
            "AWS's managed policy for this role",
        )
        return role

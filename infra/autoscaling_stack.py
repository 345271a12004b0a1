"""The number of tasks: a scheduled minimum for truck hours, and three scaling policies.

The numbers come from ``capacity.py``. Policies are CloudFormation resources because the L2
constructs support neither metric math nor ECS's 20-second metrics in target tracking.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

from infra import capacity, settings
from infra.acknowledge import acknowledge
from infra.service_stack import Service
from infra.settings import Environment

_DIMENSION = "ecs:service:DesiredCount"
_Policy = scaling.CfnScalingPolicy


class Autoscaling(cdk.Stack):
    """The scalable target, its schedule and its policies."""

    def __init__(
        self, scope: Construct, environment: Environment, service: Service, plan: capacity.Plan
    ) -> None:
        super().__init__(
            scope,
            "autoscaling",
            stack_name=f"digitline-{environment.name}-autoscaling",
            description=f"Digitline {environment.name}: {plan.explain()}",
            env=cdk.Environment(region=environment.region),
        )
        self.service = service
        self.plan = plan
        self.target = self._target()
        self._track_requests()
        self._track_cpu()
        self._step_on_bursts()
        cdk.CfnOutput(self, "Formula", value=plan.explain())
        for name, value in (
            ("MinTasks", plan.min_tasks),
            ("TruckMinTasks", plan.truck_min_tasks),
            ("MaxTasks", plan.max_tasks),
            ("TargetRequestsPerMinutePerTask", plan.target_per_min),
        ):
            cdk.CfnOutput(self, name, value=str(value))

    def _target(self) -> scaling.ScalableTarget:
        cluster, service = self.service.cluster.cluster_name, self.service.service.service_name
        target = scaling.ScalableTarget(
            self,
            "Tasks",
            service_namespace=scaling.ServiceNamespace.ECS,
            scalable_dimension=_DIMENSION,
            resource_id=f"service/{cluster}/{service}",
            min_capacity=self.plan.min_tasks,
            max_capacity=self.plan.max_tasks,
        )
        hours = settings.TRUCK_HOURS
        # each scheduled action sets both limits; otherwise an old maximum would stay
        target.scale_on_schedule(
            "BeforeTrucks",
            schedule=_weekly(hours.days, hours.first_hour * 60 - hours.lead_min),
            time_zone=cdk.TimeZone.of(hours.timezone),
            min_capacity=self.plan.truck_min_tasks,
            max_capacity=self.plan.max_tasks,
        )
        target.scale_on_schedule(
            "AfterTrucks",
            schedule=_weekly(hours.days, hours.last_hour * 60),
            time_zone=cdk.TimeZone.of(hours.timezone),
            min_capacity=self.plan.min_tasks,
            max_capacity=self.plan.max_tasks,
        )
        return target

    def _track_requests(self) -> None:
        """Requests per minute and running task, over both target groups.

        The predefined ALBRequestCountPerTarget names one target group and reads 0 when a release
        moves the traffic to the other.
        """
        blue, green = (_group_dimensions(self.service.alb, g) for g in self._groups())
        running = [
            _Policy.TargetTrackingMetricDimensionProperty(
                name="ClusterName", value=self.service.cluster.cluster_name
            ),
            _Policy.TargetTrackingMetricDimensionProperty(
                name="ServiceName", value=self.service.service.service_name
            ),
        ]
        self._policy(
            "Requests",
            customized_metric_specification=_Policy.CustomizedMetricSpecificationProperty(
                metrics=[
                    _query("blue", "AWS/ApplicationELB", "RequestCount", "Sum", blue),
                    _query("green", "AWS/ApplicationELB", "RequestCount", "Sum", green),
                    _query(
                        "tasks", "ECS/ContainerInsights", "RunningTaskCount", "Average", running
                    ),
                    _Policy.TargetTrackingMetricDataQueryProperty(
                        id="per_task",
                        expression="(FILL(blue, 0) + FILL(green, 0)) / tasks",
                        label="requests per minute and task",
                        return_data=True,
                    ),
                ]
            ),
            target_value=self.plan.target_per_min,
        )

    def _track_cpu(self) -> None:
        self._policy(
            "Cpu",
            predefined_metric_specification=_Policy.PredefinedMetricSpecificationProperty(
                predefined_metric_type="ECSServiceAverageCPUUtilizationHighResolution"
            ),
            target_value=settings.CPU_TARGET_PERCENT,
        )

    def _policy(self, name: str, **configuration: object) -> None:
        _Policy(
            self,
            name,
            policy_name=f"{self.stack_name}-{name.lower()}",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self.target.scalable_target_id,
            target_tracking_scaling_policy_configuration=(
                _Policy.TargetTrackingScalingPolicyConfigurationProperty(
                    scale_out_cooldown=settings.SCALE_OUT_COOLDOWN_S,
                    scale_in_cooldown=settings.SCALE_IN_COOLDOWN_S,
                    **configuration,  # type: ignore[arg-type]  # jsii properties have no TypedDict
                )
            ),
        )

    def _step_on_bursts(self) -> None:
        """After one 20-second datapoint above the threshold, add tasks by how far it is above.

        Target tracking waits for three datapoints, and the load balancer's counts come by the
        minute and see one request where a bundle holds 64 crops.
        """
        alarm = cloudwatch.Alarm(
            self,
            "BurstAlarm",
            alarm_name=f"{self.stack_name}-burst",
            alarm_description="Adds tasks: the tasks are busier than the burst threshold",
            metric=cloudwatch.Metric(
                namespace="AWS/ECS",
                metric_name="CPUUtilization",
                dimensions_map={
                    "ClusterName": self.service.cluster.cluster_name,
                    "ServiceName": self.service.service.service_name,
                },
                statistic="Average",
            ),
            threshold=settings.BURST_CPU_PERCENT,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        step = _Policy(
            self,
            "Burst",
            policy_name=f"{self.stack_name}-burst",
            policy_type="StepScaling",
            scaling_target_id=self.target.scalable_target_id,
            step_scaling_policy_configuration=_Policy.StepScalingPolicyConfigurationProperty(
                adjustment_type="PercentChangeInCapacity",
                metric_aggregation_type="Average",
                min_adjustment_magnitude=2,
                cooldown=settings.SCALE_OUT_COOLDOWN_S,
                step_adjustments=[
                    # bounds are relative to the alarm's threshold
                    _Policy.StepAdjustmentProperty(
                        metric_interval_lower_bound=low,
                        metric_interval_upper_bound=high,
                        scaling_adjustment=percent,
                    )
                    for low, high, percent in settings.BURST_STEPS
                ],
            ),
        )
        resource = alarm.node.default_child
        assert isinstance(resource, cloudwatch.CfnAlarm)
        resource.alarm_actions = [step.ref]
        resource.period = settings.CPU_METRIC_RESOLUTION_S  # the L2 construct refuses 20 s
        acknowledge(alarm, "E3615", "PutMetricAlarm allows 10, 20 and 30 s; cfn-lint omits 20")

    def _groups(self) -> tuple[elbv2.ApplicationTargetGroup, elbv2.ApplicationTargetGroup]:
        return self.service.blue, self.service.green


def _weekly(days: str, minute_of_day: int) -> scaling.Schedule:
    hour, minute = divmod(minute_of_day, 60)
    return scaling.Schedule.cron(week_day=days, hour=str(hour), minute=str(minute))


def _group_dimensions(
    alb: elbv2.ApplicationLoadBalancer, group: elbv2.ApplicationTargetGroup
) -> list[scaling.CfnScalingPolicy.TargetTrackingMetricDimensionProperty]:
    return [
        _Policy.TargetTrackingMetricDimensionProperty(
            name="LoadBalancer", value=alb.load_balancer_full_name
        ),
        _Policy.TargetTrackingMetricDimensionProperty(
            name="TargetGroup", value=group.target_group_full_name
        ),
    ]


def _query(
    name: str,
    namespace: str,
    metric: str,
    statistic: str,
    dimensions: list[scaling.CfnScalingPolicy.TargetTrackingMetricDimensionProperty],
) -> scaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty:
    return _Policy.TargetTrackingMetricDataQueryProperty(
        id=name,
        metric_stat=_Policy.TargetTrackingMetricStatProperty(
            metric=_Policy.TargetTrackingMetricProperty(
                namespace=namespace, metric_name=metric, dimensions=dimensions
            ),
            stat=statistic,
        ),
        return_data=False,
    )

"""The number of tasks: a scheduled minimum for truck hours, and two scaling policies on CPU.

CPU is what runs out first, and it counts work: requests differ up to 64-fold in the crops that they
hold. The numbers come from ``capacity.py``. The policies are CloudFormation resources because the
L2 constructs do not support ECS's 20-second metrics.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
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
        self._track_cpu()
        self._step_on_bursts()
        cdk.CfnOutput(self, "Formula", value=plan.explain())
        for name, value in (
            ("MinTasks", plan.min_tasks),
            ("TruckMinTasks", plan.truck_min_tasks),
            ("MaxTasks", plan.max_tasks),
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

    def _track_cpu(self) -> None:
        _Policy(
            self,
            "Cpu",
            policy_name=f"{self.stack_name}-cpu",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self.target.scalable_target_id,
            target_tracking_scaling_policy_configuration=(
                _Policy.TargetTrackingScalingPolicyConfigurationProperty(
                    predefined_metric_specification=_Policy.PredefinedMetricSpecificationProperty(
                        predefined_metric_type="ECSServiceAverageCPUUtilizationHighResolution"
                    ),
                    target_value=settings.CPU_TARGET_PERCENT,
                    scale_out_cooldown=settings.SCALE_OUT_COOLDOWN_S,
                    scale_in_cooldown=settings.SCALE_IN_COOLDOWN_S,
                )
            ),
        )

    def _step_on_bursts(self) -> None:
        """After one 20-second datapoint above the threshold, add tasks by how far it is above.

        Target tracking waits for three datapoints.
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


def _weekly(days: str, minute_of_day: int) -> scaling.Schedule:
    hour, minute = divmod(minute_of_day, 60)
    return scaling.Schedule.cron(week_day=days, hour=str(hour), minute=str(minute))

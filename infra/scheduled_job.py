"""A command that runs on a schedule in its own Fargate task and publishes success or failure.

EventBridge Scheduler -> Step Functions -> ECS RunTask (waits for the exit code)
    |                        |-- retried, then: failure notice
    |                        `-- success notice
    `-- could not start: dead letters, which raise an alarm
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as sfn_tasks
from constructs import Construct

from infra import fargate_task, grants, settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.settings import TaskSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The command, its schedule, size and permissions."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    objects: tuple[grants.ObjectGrant, ...]
    size: TaskSize
    timeout_min: int
    cron: str
    secrets: Mapping[str, ecs.Secret] = field(default_factory=dict)
    alerts: bool = False  # may the task publish to the topic of tickets?


class ScheduledJob(Construct):
    """The task, the state machine around it and its schedule."""

    def __init__(
        self,
        scope: Construct,
        job: Job,
        *,
        foundation: Foundation,
        image: ecs.ContainerImage,
        cluster: ecs.Cluster,
        group: ec2.SecurityGroup,
        dead_letters: sqs.Queue,
    ) -> None:
        super().__init__(scope, job.name)
        self.job = job
        self._foundation = foundation
        self.task = self._task_definition(image)
        self.machine = self._state_machine(cluster, group)
        self._schedule(dead_letters)

    def _task_definition(self, image: ecs.ContainerImage) -> ecs.FargateTaskDefinition:
        name = self.job.name.lower()
        task = fargate_task.task(
            self,
            "Task",
            family=f"{cdk.Stack.of(self).stack_name}-{name}",
            size=self.job.size,
            volume="work",
        )
        fargate_task.container(
            task,
            name,
            image=image,
            command=self.job.command,
            environment={**self.job.environment, "TMPDIR": settings.WRITABLE},
            secrets=self.job.secrets,
            log_group=self._foundation.log_group(self, "Logs"),
            volume="work",
        )
        for grant in self.job.objects:
            grants.objects(task.task_role, grant)
        if self.job.alerts:
            task.task_role.add_to_principal_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"], resources=[self._foundation.ticket.topic_arn]
                )
            )
        return task

    def _state_machine(self, cluster: ecs.Cluster, group: ec2.SecurityGroup) -> sfn.StateMachine:
        failed = self._notice("Failed", "failed").next(sfn.Fail(self, "Failure"))
        succeeded = self._notice("Succeeded", "succeeded").next(sfn.Succeed(self, "Success"))
        run = self._run(cluster, group)
        run.add_catch(failed, errors=["States.ALL"], result_path="$.error")
        machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=f"{cdk.Stack.of(self).stack_name}-{self.job.name.lower()}",
            definition_body=sfn.DefinitionBody.from_chainable(run.next(succeeded)),
            timeout=cdk.Duration.minutes((settings.JOB_ATTEMPTS + 1) * self.job.timeout_min + 30),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=self._foundation.log_group(self, "MachineLogs"),
                level=sfn.LogLevel.ALL,
            ),
        )
        self._grant_run(machine.role, cluster)
        acknowledge(machine, "W3005", "CDK adds the explicit dependency on the role's policy")
        return machine

    def _run(self, cluster: ecs.Cluster, group: ec2.SecurityGroup) -> sfn.CustomState:
        """Run the task, wait for its exit code, and retry if it is not 0.

        Tags are not propagated: a RunTask with tags needs ``ecs:TagResource``, and an environment
        has an account of its own, so that its bill needs no tags.
        """
        is_isolated = self._foundation.environment_settings.is_isolated
        subnets = cluster.vpc.select_subnets(subnet_type=self._foundation.task_subnets.subnet_type)
        run = sfn.CustomState(
            self,
            "Run",
            state_json={
                "Type": "Task",
                "Resource": "arn:aws:states:::ecs:runTask.sync",
                "TimeoutSeconds": 60 * self.job.timeout_min,
                "ResultPath": "$.task",
                "Parameters": {
                    "Cluster": cluster.cluster_arn,
                    "TaskDefinition": self.task.task_definition_arn,
                    "LaunchType": "FARGATE",
                    "NetworkConfiguration": {
                        "AwsvpcConfiguration": {
                            "AssignPublicIp": "DISABLED" if is_isolated else "ENABLED",
                            "SecurityGroups": [group.security_group_id],
                            "Subnets": subnets.subnet_ids,
                        }
                    },
                },
            },
        )
        run.add_retry(
            max_attempts=settings.JOB_ATTEMPTS,
            interval=cdk.Duration.minutes(2),
            backoff_rate=3,
        )
        return run

    def _grant_run(self, role: iam.IRole, cluster: ecs.Cluster) -> None:
        """Exactly the permissions that ``runTask.sync`` needs."""
        stack = cdk.Stack.of(self)
        rule = stack.format_arn(
            service="events",
            resource="rule",
            resource_name="StepFunctionsGetEventsForECSTaskRule",
        )
        in_cluster = {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}}
        roles = [self.task.task_role.role_arn, self.task.obtain_execution_role().role_arn]
        for actions, resources, conditions in (
            (["ecs:RunTask"], [self.task.task_definition_arn], in_cluster),
            (["ecs:StopTask", "ecs:DescribeTasks"], ["*"], in_cluster),
            (["events:PutTargets", "events:PutRule", "events:DescribeRule"], [rule], None),
            (
                ["iam:PassRole"],
                roles,
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
        ):
            role.add_to_principal_policy(
                iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)
            )
        grants.key_use(role, self._foundation.key.key_arn)
        reason = (
            "a task's id is unknown before it starts (the cluster is a condition); X-Ray and log "
            "delivery have no resource in IAM"
        )
        grants.accept_any_resource(role, reason)
        acknowledge(role.node.find_child("DefaultPolicy"), "CKV_AWS_111", reason)

    def _notice(self, ending: str, verb: str) -> sfn_tasks.SnsPublish:
        """One JSON message with the same fields for success and failure."""
        topic = self._foundation.notices if verb == "succeeded" else self._foundation.ticket
        detail = {} if verb == "succeeded" else {"error": sfn.JsonPath.object_at("$.error")}
        return sfn_tasks.SnsPublish(
            self,
            f"Notice{ending}",
            topic=topic,
            subject=f"Digitline: {self.job.name.lower()} {verb}",
            message=sfn.TaskInput.from_object(
                {
                    "job": self.job.name.lower(),
                    "result": verb,
                    "execution": sfn.JsonPath.string_at("$$.Execution.Name"),
                    "started": sfn.JsonPath.string_at("$$.Execution.StartTime"),
                    **detail,
                }
            ),
            result_path=sfn.JsonPath.DISCARD,
        )

    def _schedule(self, dead_letters: sqs.Queue) -> None:
        scheduler.Schedule(
            self,
            "Schedule",
            schedule_name=f"{cdk.Stack.of(self).stack_name}-{self.job.name.lower()}",
            description=" ".join(self.job.command),
            schedule=scheduler.ScheduleExpression.expression(
                self.job.cron, cdk.TimeZone.of(settings.JOB_TIMEZONE)
            ),
            key=self._foundation.key,
            target=targets.StepFunctionsStartExecution(
                self.machine,
                dead_letter_queue=dead_letters,
                retry_attempts=settings.SCHEDULE_RETRIES,
                max_event_age=cdk.Duration.hours(settings.SCHEDULE_MAX_AGE_H),
            ),
        )

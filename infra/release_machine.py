"""The release of a pushed champion, through the same canary as every release.

ECR: service image tagged champion-* was pushed
    -> check that the jobs' image with that tag exists; it holds the same champion
    -> remember the tags that are released now
    -> service: write its tag to SSM, update its stack with its own template, wait for the canary
    -> jobs: the same, only after the service's release succeeded
    -> notice; if one was rolled back: restore its tag, open a ticket, fail
    -> dead letters if the machine could not start

CloudFormation reads the tag when an update starts, so the service's tag is written before its
canary and taken back when the canary fails. No one edits a task definition by hand, so tasks and
templates cannot differ. The jobs are released too because they compare candidates and captures with
the champion in their own image.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as sfn_tasks
from constructs import Construct

from infra import grants
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.service_stack import Service
from infra.settings import Environment

_TAG = "$.detail.image-tag"  # in ECR's event


class Release(Construct):
    """The rule for the push event, and the state machine that it starts."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        foundation: Foundation,
        service: Service,
        dead_letters: sqs.Queue,
    ) -> None:
        super().__init__(scope, name)
        self._environment = environment
        self._foundation = foundation
        self._stack = cdk.Stack.of(self)
        self._stacks = {"service": service.stack_name, "jobs": self._stack.stack_name}
        self._executor = self._stack.format_arn(
            service="iam",
            region="",
            resource="role",
            resource_name=f"cdk-hnb659fds-cfn-exec-role-{self._stack.account}-{self._stack.region}",
        )
        self.machine = self._state_machine()
        self._grant_updates()
        self._start_on_push(dead_letters)

    def _state_machine(self) -> sfn.StateMachine:
        failed = self._failed()
        first, last = self._find_jobs_image(), self._released()
        reads = [self._read_tag(image) for image in self._stacks]
        for step in (first, *reads):
            step.add_catch(failed, errors=["States.ALL"], result_path="$.error")
        following: sfn.IChainable = last
        for image in reversed(self._stacks):
            following = self._release(image, following, failed)
        for step, after in zip((first, *reads), (*reads, following), strict=True):
            step.next(after)
        machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=f"{self._stack.stack_name}-release",
            definition_body=sfn.DefinitionBody.from_chainable(first),
            timeout=cdk.Duration.hours(8),  # two updates; CloudFormation ends each within three
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=self._foundation.log_group(self, "Logs"), level=sfn.LogLevel.ALL
            ),
        )
        acknowledge(machine, "W3005", "CDK adds the explicit dependency on the role's policy")
        return machine

    def _release(
        self, image: str, following: sfn.IChainable, failed: sfn.IChainable
    ) -> sfn.IChainable:
        """Write the tag, update the stack and wait for its end; otherwise restore the tag."""
        name = image.capitalize()
        restore = self._write_tag(f"Restore{name}Tag", image, f"$.released.{image}.tag")
        restore.add_catch(failed, errors=["States.ALL"], result_path="$.not_restored")
        restore.next(failed)
        write = self._write_tag(f"Write{name}Tag", image, _TAG)
        update, status = self._update(image), self._status(image)
        for step in (write, update, status):
            step.add_retry(max_attempts=3)
            step.add_catch(restore, errors=["States.ALL"], result_path="$.error")
        wait = sfn.Wait(self, f"WaitFor{name}", time=sfn.WaitTime.duration(cdk.Duration.minutes(1)))
        at = "$.stack.status"
        ended = (
            sfn.Choice(self, f"{name}Ended")
            .when(sfn.Condition.string_equals(at, "UPDATE_IN_PROGRESS"), wait)
            .when(sfn.Condition.string_matches(at, "UPDATE_COMPLETE*"), following)
            .otherwise(restore)
        )
        write.next(update).next(wait).next(status).next(ended)
        return write

    def _find_jobs_image(self) -> sfn_tasks.CallAwsService:
        """Fails if there is none: a task whose shipper has no image cannot start."""
        images = self._foundation.jobs_images
        return sfn_tasks.CallAwsService(
            self,
            "FindJobsImage",
            service="ecr",
            action="describeImages",
            parameters={
                "RepositoryName": images.repository_name,
                "ImageIds": [{"ImageTag": sfn.JsonPath.string_at(_TAG)}],
            },
            iam_resources=[images.repository_arn],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _read_tag(self, image: str) -> sfn_tasks.CallAwsService:
        parameter = self._environment.parameter(f"{image}-image-tag")
        return sfn_tasks.CallAwsService(
            self,
            f"Read{image.capitalize()}Tag",
            service="ssm",
            action="getParameter",
            parameters={"Name": parameter},
            iam_resources=[self._parameter_arn(parameter)],
            result_selector={"tag": sfn.JsonPath.string_at("$.Parameter.Value")},
            result_path=f"$.released.{image}",
        )

    def _write_tag(self, name: str, image: str, tag: str) -> sfn_tasks.CallAwsService:
        parameter = self._environment.parameter(f"{image}-image-tag")
        return sfn_tasks.CallAwsService(
            self,
            name,
            service="ssm",
            action="putParameter",
            parameters={
                "Name": parameter,
                "Value": sfn.JsonPath.string_at(tag),
                "Type": "String",
                "Overwrite": True,
            },
            iam_resources=[self._parameter_arn(parameter)],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _update(self, image: str) -> sfn_tasks.CallAwsService:
        return sfn_tasks.CallAwsService(
            self,
            f"Update{image.capitalize()}",
            service="cloudformation",
            action="updateStack",
            parameters={
                "StackName": self._stacks[image],
                "UsePreviousTemplate": True,
                "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
                "RoleARN": self._executor,
            },
            iam_resources=[self._stack_arn(image)],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _status(self, image: str) -> sfn_tasks.CallAwsService:
        """A rolled back canary ends the stack's update in a rollback, too."""
        return sfn_tasks.CallAwsService(
            self,
            f"Read{image.capitalize()}Status",
            service="cloudformation",
            action="describeStacks",
            parameters={"StackName": self._stacks[image]},
            iam_resources=[self._stack_arn(image)],
            result_selector={"status": sfn.JsonPath.string_at("$.Stacks[0].StackStatus")},
            result_path="$.stack",
        )

    def _stack_arn(self, image: str) -> str:
        return self._stack.format_arn(
            service="cloudformation",
            resource="stack",
            resource_name=f"{self._stacks[image]}/*",
        )

    def _released(self) -> sfn_tasks.SnsPublish:
        return sfn_tasks.SnsPublish(
            self,
            "NoticeReleased",
            topic=self._foundation.notices,
            subject="Digitline: released",
            message=sfn.TaskInput.from_object(
                {"job": "release", "image": sfn.JsonPath.string_at(_TAG)}
            ),
            result_path=sfn.JsonPath.DISCARD,
        )

    def _failed(self) -> sfn.Chain:
        """The message holds the image, the tags before it, and the error or the stack's status."""
        notice = sfn_tasks.SnsPublish(
            self,
            "NoticeNotReleased",
            topic=self._foundation.ticket,
            subject="Digitline: not released, the image before it serves",
            message=sfn.TaskInput.from_json_path_at("$"),
            result_path=sfn.JsonPath.DISCARD,
        )
        return notice.next(sfn.Fail(self, "NotReleased"))

    def _grant_updates(self) -> None:
        """Let the machine pass the CDK's role to CloudFormation and read the SSM parameters."""
        for statement in (
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[self._executor],
                conditions={
                    "StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}
                },
            ),
            # CloudFormation reads parameters with the caller's permissions
            iam.PolicyStatement(
                actions=["ssm:GetParameters"],
                resources=[
                    self._parameter_arn(self._environment.parameter("*")),
                    self._parameter_arn("/cdk-bootstrap/hnb659fds/version"),  # in every template
                ],
            ),
        ):
            self.machine.add_to_role_policy(statement)
        role = self.machine.role
        grants.key_use(role, self._foundation.key.key_arn)
        grants.accept_any_resource(role, "X-Ray and log delivery have no resource in IAM")
        account = f"{self._stack.region}:<AWS::AccountId>"
        reasons = {
            f"arn:aws:ssm:{account}:parameter/digitline/{self._environment.name}/*": (
                "this environment's parameters"
            )
        }
        for stack in self._stacks.values():
            reasons[f"arn:aws:cloudformation:{account}:stack/{stack}/*"] = (
                "one stack by its name; its id is not known"
            )
        for arn, reason in reasons.items():
            acknowledge(role, f"AwsSolutions-IAM5[Resource::{arn}]", reason)
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            "CKV_AWS_108",
            "it reads image tags; X-Ray and log delivery, which have no resource, read no data",
        )

    def _parameter_arn(self, parameter: str) -> str:
        return self._stack.format_arn(
            service="ssm", resource="parameter", resource_name=parameter.removeprefix("/")
        )

    def _start_on_push(self, dead_letters: sqs.Queue) -> None:
        events.Rule(
            self,
            "Pushed",
            description="Starts a release when an image tagged champion-* is pushed",
            event_pattern=events.EventPattern(
                source=["aws.ecr"],
                detail_type=["ECR Image Action"],
                detail={
                    "action-type": ["PUSH"],
                    "result": ["SUCCESS"],
                    "repository-name": [self._foundation.service_images.repository_name],
                    "image-tag": [{"prefix": "champion-"}],
                },
            ),
            targets=[event_targets.SfnStateMachine(self.machine, dead_letter_queue=dead_letters)],
        )

"""The release of a pushed champion, through the same canary as every release.

ECR: service image tagged champion-* was pushed
    -> check that the jobs' image with that tag exists; it holds the same champion
    -> write both tags to SSM
    -> update the stacks of the service and of the jobs with their own templates
    -> notice; on failure: alert; if the machine could not start: dead letters

No one edits a task definition by hand, so tasks and templates cannot differ. The jobs are released
too because they compare candidates and captures with the champion in their own image.
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
        self._stacks = {"Service": service.stack_name, "Jobs": self._stack.stack_name}
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
        steps = [
            self._find_jobs_image(),
            *(self._write_tag(image) for image in ("service", "jobs")),
            *(self._update(what, stack) for what, stack in self._stacks.items()),
        ]
        for step in steps:
            step.add_catch(failed, errors=["States.ALL"], result_path="$.error")
        for step, following in zip(steps, [*steps[1:], self._started()], strict=True):
            step.next(following)
        machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=f"{self._stack.stack_name}-release",
            definition_body=sfn.DefinitionBody.from_chainable(steps[0]),
            timeout=cdk.Duration.minutes(10),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=self._foundation.log_group(self, "Logs"), level=sfn.LogLevel.ALL
            ),
        )
        acknowledge(machine, "W3005", "CDK adds the explicit dependency on the role's policy")
        return machine

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

    def _write_tag(self, image: str) -> sfn_tasks.CallAwsService:
        parameter = self._environment.parameter(f"{image}-image-tag")
        return sfn_tasks.CallAwsService(
            self,
            f"Remember{image.capitalize()}Tag",
            service="ssm",
            action="putParameter",
            parameters={
                "Name": parameter,
                "Value": sfn.JsonPath.string_at(_TAG),
                "Type": "String",
                "Overwrite": True,
            },
            iam_resources=[self._parameter_arn(parameter)],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _update(self, what: str, stack: str) -> sfn_tasks.CallAwsService:
        return sfn_tasks.CallAwsService(
            self,
            f"Update{what}",
            service="cloudformation",
            action="updateStack",
            parameters={
                "StackName": stack,
                "UsePreviousTemplate": True,
                "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
                "RoleARN": self._executor,
            },
            iam_resources=[
                self._stack.format_arn(
                    service="cloudformation", resource="stack", resource_name=f"{stack}/*"
                )
            ],
            result_path=sfn.JsonPath.DISCARD,
        )

    def _started(self) -> sfn_tasks.SnsPublish:
        return sfn_tasks.SnsPublish(
            self,
            "NoticeReleasing",
            topic=self._foundation.notices,
            subject="Digitline: release started",
            message=sfn.TaskInput.from_object(
                {"job": "release", "image": sfn.JsonPath.string_at(_TAG)}
            ),
            result_path=sfn.JsonPath.DISCARD,
        )

    def _failed(self) -> sfn.Chain:
        notice = sfn_tasks.SnsPublish(
            self,
            "NoticeNotReleased",
            topic=self._foundation.alerts,
            subject="Digitline: release could not start",
            message=sfn.TaskInput.from_object(
                {"job": "release", "error": sfn.JsonPath.object_at("$.error")}
            ),
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

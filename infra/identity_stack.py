"""The role that CI deploys with: GitHub Actions assumes it with a short-lived token, not a key."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra import grants
from infra.foundation_stack import Foundation
from infra.settings import Environment

_ISSUER = "token.actions.githubusercontent.com"


class Identity(cdk.Stack):
    """GitHub as identity provider, and the one role that its deployment job may assume."""

    def __init__(self, scope: Construct, environment: Environment, foundation: Foundation) -> None:
        super().__init__(
            scope,
            "identity",
            stack_name=f"digitline-{environment.name}-identity",
            description=f"Digitline {environment.name}: the role that CI deploys with",
            env=cdk.Environment(region=environment.region),
        )
        provider = iam.CfnOIDCProvider(
            self, "GitHub", url=f"https://{_ISSUER}", client_id_list=["sts.amazonaws.com"]
        )
        repository = ssm.StringParameter.value_for_string_parameter(
            self, environment.parameter("github-repository")
        )
        role = iam.Role(
            self,
            "Deployer",
            role_name=f"digitline-{environment.name}-deployer",
            description="GitHub Actions: pushes images, deploys through the CDK's roles",
            max_session_duration=cdk.Duration.hours(4),  # a release, until its canary has ended
            assumed_by=iam.WebIdentityPrincipal(
                provider.attr_arn,
                conditions={
                    "StringEquals": {
                        f"{_ISSUER}:aud": "sts.amazonaws.com",
                        # GitHub issues the token only after the environment's reviewers approved
                        f"{_ISSUER}:sub": f"repo:{repository}:environment:{environment.name}",
                    }
                },
            ),
        )
        self._grant(role, environment, foundation)
        cdk.CfnOutput(self, "DeployerRole", value=role.role_arn)

    def _grant(self, role: iam.Role, environment: Environment, foundation: Foundation) -> None:
        """Push images, read their scans, assume the CDK's roles, write tags, list releases."""
        for images in (foundation.service_images, foundation.jobs_images, foundation.mlflow_images):
            images.grant_pull_push(role)
        cdk_roles = [
            self.format_arn(
                service="iam",
                region="",
                resource="role",
                resource_name=f"cdk-hnb659fds-{part}-role-{self.account}-{self.region}",
            )
            for part in ("deploy", "file-publishing", "lookup")
        ]
        tags = [
            self.format_arn(
                service="ssm",
                resource="parameter",
                resource_name=environment.parameter(f"{image}-image-tag")[1:],
            )
            for image in ("service", "jobs", "mlflow")
        ]
        machine = self.format_arn(
            service="states",
            resource="stateMachine",
            resource_name=f"digitline-{environment.name}-mlops-release",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        for name, actions, resources in (
            ("DeployByCdk", ["sts:AssumeRole"], cdk_roles),
            ("NameImages", ["ssm:GetParameter", "ssm:PutParameter"], tags),
            ("WaitForRelease", ["states:ListExecutions"], [machine]),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=name, actions=actions, resources=resources))
        for images in (foundation.service_images, foundation.jobs_images):
            images.grant(role, "ecr:DescribeImageScanFindings")
        grants.accept_any_resource(role, "ecr:GetAuthorizationToken has no resource in IAM")

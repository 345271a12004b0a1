"""The CDK app: three environments, each one call of :class:`Environment`.

cdk deploy 'prod/*'          deploys production (docs/deploy.md)
python -m infra synth        writes the templates without the CDK's command line
"""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from infra import capacity, settings
from infra.autoscaling_stack import Autoscaling
from infra.foundation_stack import Foundation
from infra.identity_stack import Identity
from infra.mlops_stack import MlOps
from infra.service_stack import Service
from infra.settings import Environment, TaskSize
from infra.watch_stack import Watch

STAGING = Environment(
    name="staging",
    region="eu-central-1",
    cidr="10.20.0.0/16",
    planned_rps=settings.PLANNED_RPS / 10,
    peak_rps=settings.PEAK_RPS / 10,
    num_endpoint_azs=1,
    keeps_data=False,
    monthly_budget_usd=250,
)
PROD = Environment(
    name="prod",
    region="eu-central-1",
    cidr="10.10.0.0/16",
    planned_rps=settings.PLANNED_RPS,
    peak_rps=settings.PEAK_RPS,
    num_endpoint_azs=1,
    keeps_data=True,
    monthly_budget_usd=300,
)
# one office, with one truck at a time: 100 USD a month (docs/aws.md says what it does without)
LEAN = Environment(
    name="lean",
    region="eu-central-1",
    cidr="10.30.0.0/16",
    planned_rps=12.7,  # 11 million reads a month
    peak_rps=settings.PEAK_RPS / 3,
    num_endpoint_azs=0,
    num_azs=2,
    task=TaskSize(cpu_units=512, memory_mib=1024),
    keeps_data=True,
    has_comforts=False,
    monthly_budget_usd=120,
)
ENVIRONMENTS = (STAGING, PROD, LEAN)


class Digitline(cdk.Stage):
    """All stacks of one environment; each depends only on stacks above it."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        measured: capacity.Measured,
        *,
        is_first: bool,
    ) -> None:
        super().__init__(scope, environment.name)
        plan = capacity.plan(environment, measured)
        self.foundation = Foundation(self, environment)
        self.service = Service(self, environment, self.foundation, plan, is_first=is_first)
        self.autoscaling = Autoscaling(self, environment, self.service, plan)
        self.mlops = MlOps(self, environment, self.foundation, self.service, is_first=is_first)
        self.watch = Watch(self, environment, self.foundation, self.service, self.mlops, plan)
        self.identity = Identity(self, environment, self.foundation)
        cdk.Tags.of(self).add("project", "digitline")
        cdk.Tags.of(self).add("environment", environment.name)


def build(outdir: str | None = None, *, check: bool = True, is_first: bool = False) -> cdk.App:
    """The app with every environment.

    Args:
        outdir: where templates are written; the CDK's default if None.
        check: run cdk-nag: ``synth`` fails on a finding that is not acknowledged.
        is_first: for the first deployment (``cdk -c first=yes``): rolling, with a circuit breaker.
    """
    app = cdk.App(
        outdir=outdir,
        analytics_reporting=False,
        context={
            "@aws-cdk/core:defaultCrossStackReferences": "strong",
            "@aws-cdk/core:validateAgainstDefaultRules": True,
            "@aws-cdk/aws-iam:minimizePolicies": True,
            "@aws-cdk/aws-ecs:arnFormatIncludesClusterName": True,
            "@aws-cdk/core:enablePartitionLiterals": True,
            "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
            "@aws-cdk/aws-s3:createDefaultLoggingPolicy": True,
            "@aws-cdk/aws-ec2:restrictDefaultSecurityGroup": False,
        },
    )
    measured = capacity.read_measured()
    is_first = is_first or app.node.try_get_context("first") == "yes"
    for environment in ENVIRONMENTS:
        Digitline(app, environment, measured, is_first=is_first)
    if check:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


if __name__ == "__main__":
    build().synth()

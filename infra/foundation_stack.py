"""Network and data: the resources that all other stacks use and that outlive a release.

A VPC whose tasks have no route to the internet, image repositories, buckets, topics and the API
keys. Knows nothing about services or jobs.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra import settings
from infra.acknowledge import acknowledge
from infra.data_buckets import DataBucket, data_bucket, log_bucket
from infra.settings import Environment

# The AWS services that tasks call. S3 has a gateway endpoint, which is free; metrics are log lines.
INTERFACE_ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Sns": ec2.InterfaceVpcEndpointAwsService.SNS,
    "Exec": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,  # operators reach MLflow by ECS Exec
}


def removal_policy(environment: Environment) -> cdk.RemovalPolicy:
    """Whether data survives its stack.

    What a failed first deployment created goes with it; otherwise its name would block the second.
    """
    if environment.keeps_data:
        return cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    return cdk.RemovalPolicy.DESTROY


class Foundation(cdk.Stack):
    """Network and data of one environment."""

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(
            scope,
            "foundation",
            stack_name=f"digitline-{environment.name}-foundation",
            description=f"Digitline {environment.name}: network and data",
            env=cdk.Environment(region=environment.region),
            termination_protection=environment.keeps_data,
        )
        self.environment_settings = environment
        self.key = self._key()
        self.vpc = self._vpc()
        self.task_subnets = ec2.SubnetSelection(
            subnet_type=(
                ec2.SubnetType.PRIVATE_ISOLATED
                if environment.is_isolated
                else ec2.SubnetType.PUBLIC
            )
        )
        if environment.is_isolated:
            self._endpoints()
        self.log_bucket = log_bucket(self, self._removal_policy)
        self.training = self._bucket("training")
        self.captures = self._bucket(
            "captures",
            expire_days=settings.CAPTURE_EXPIRE_DAYS,
            expire_below="captures/records/",
            restore_days=settings.CAPTURE_RESTORE_DAYS,
        )
        self.reports = self._bucket("reports", expire_days=settings.REPORT_DAYS)
        self.artifacts = self._bucket("artifacts")
        self.service_images = self._repository("service")
        self.jobs_images = self._repository("jobs")
        self.mlflow_images = self._repository("mlflow")
        self.page = self._topic("Page", "page-email", "reads fail, or soon will: act now")
        self.ticket = self._topic("Ticket", "ticket-email", "act in working hours")
        self.notices = self._topic("Notices", "ticket-email", "a job or a release succeeded")
        self.api_keys = self._api_keys()
        self.golden_key = self._golden_key()
        for name, bucket in (
            ("TrainingBucket", self.training),
            ("CapturesBucket", self.captures),
            ("ReportsBucket", self.reports),
        ):
            cdk.CfnOutput(self, name, value=bucket.name)
        for topic in (self.page, self.ticket, self.notices):
            cdk.CfnOutput(self, f"{topic.node.id}Topic", value=topic.topic_arn)
        cdk.CfnOutput(self, "ApiKeysSecret", value=self.api_keys.secret_arn)

    def log_group(
        self, scope: Construct, name: str, log_group_name: str | None = None
    ) -> logs.LogGroup:
        """An encrypted log group in ``scope`` with a retention of ``LOG_DAYS``."""
        return logs.LogGroup(
            scope,
            name,
            log_group_name=log_group_name,
            encryption_key=self.key,
            retention=logs.RetentionDays.THREE_MONTHS,
            removal_policy=self._removal_policy,
        )

    @property
    def _removal_policy(self) -> cdk.RemovalPolicy:
        return removal_policy(self.environment_settings)

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description=f"Digitline {self.environment_settings.name} data at rest",
            enable_key_rotation=True,
            removal_policy=self._removal_policy,
        )
        # these services publish to the encrypted topics; the topics' policies limit who may
        for service in ("cloudwatch", "budgets", "events"):
            key.grant(
                iam.ServicePrincipal(f"{service}.amazonaws.com"),
                "kms:Decrypt",
                "kms:GenerateDataKey*",
            )
        key.grant_encrypt_decrypt(
            iam.ServicePrincipal(
                f"logs.{self.region}.amazonaws.com",
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": self.format_arn(
                            service="logs", resource="*"
                        )
                    }
                },
            )
        )
        acknowledge(
            key,
            "CKV_AWS_33",
            "the wildcard is the account's own root, as in CloudFormation's default key policy",
        )
        return key

    def _vpc(self) -> ec2.Vpc:
        settings_ = self.environment_settings
        public = ec2.SubnetConfiguration(
            name="public",
            subnet_type=ec2.SubnetType.PUBLIC,
            cidr_mask=24,
            map_public_ip_on_launch=False,
        )
        isolated = ec2.SubnetConfiguration(
            name="tasks", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=20
        )
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(settings_.cidr),
            availability_zones=[
                cdk.Fn.select(i, cdk.Fn.get_azs(self.region)) for i in range(settings_.num_azs)
            ],
            nat_gateways=0,
            subnet_configuration=[public, isolated][: 2 if settings_.is_isolated else 1],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
            },
        )
        vpc.add_flow_log(
            "Rejected",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                self.log_group(self, "FlowLogs")
            ),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        return vpc

    def _endpoints(self) -> None:
        """Interface endpoints in one security group that accepts HTTPS from the VPC."""
        group = ec2.SecurityGroup(
            self,
            "EndpointsGroup",
            vpc=self.vpc,
            description="HTTPS from the VPC to AWS service endpoints",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(
            ec2.Peer.ipv4(self.environment_settings.cidr),
            ec2.Port.tcp(settings.HTTPS_PORT),
            "tasks",
        )
        subnets = self.vpc.isolated_subnets[: self.environment_settings.num_endpoint_azs]
        for name, service in INTERFACE_ENDPOINTS.items():
            self.vpc.add_interface_endpoint(
                name,
                service=service,
                subnets=ec2.SubnetSelection(subnets=subnets),
                security_groups=[group],
                open=False,
            )

    def _bucket(
        self,
        name: str,
        expire_days: int | None = None,
        expire_below: str | None = None,
        restore_days: int = settings.NONCURRENT_DAYS,
    ) -> DataBucket:
        return data_bucket(
            self,
            self.environment_settings,
            name,
            key=self.key,
            logs=self.log_bucket,
            removal_policy=self._removal_policy,
            expire_days=expire_days,
            expire_below=expire_below,
            restore_days=restore_days,
        )

    def _repository(self, name: str) -> ecr.Repository:
        return ecr.Repository(
            self,
            f"{name.capitalize()}Images",
            repository_name=f"digitline-{self.environment_settings.name}/{name}",
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            image_scan_on_push=True,
            encryption=ecr.RepositoryEncryption.KMS,
            encryption_key=self.key,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=settings.NUM_IMAGES_KEPT)],
            removal_policy=self._removal_policy,
            empty_on_delete=not self.environment_settings.keeps_data,
        )

    def _topic(self, name: str, address: str, meaning: str) -> sns.Topic:
        """A topic whose messages go to the e-mail address in an SSM parameter."""
        topic = sns.Topic(
            self,
            name,
            topic_name=f"digitline-{self.environment_settings.name}-{name.lower()}",
            display_name=f"Digitline {self.environment_settings.name}: {meaning}",
            master_key=self.key,
            enforce_ssl=True,
        )
        email = ssm.StringParameter.value_for_string_parameter(
            self, self.environment_settings.parameter(address)
        )
        topic.add_subscription(subscriptions.EmailSubscription(email))
        ours = {"StringEquals": {"aws:SourceAccount": self.account}}
        for service in ("cloudwatch", "budgets", "events"):
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                    actions=["sns:Publish"],
                    resources=[topic.topic_arn],
                    conditions=None if service == "events" else ours,  # rules send no account
                )
            )
        return topic

    def _api_keys(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "ApiKeys",
            secret_name=f"digitline/{self.environment_settings.name}/api-keys",
            description="JSON of the scanners' API keys (hashed), which tasks read every 20 s",
            encryption_key=self.key,
            # a key file without keys, so that the service starts before the first one is added
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template='{"keys": []}',  # noqa: S106  # no secret
                generate_string_key="unused",
            ),
            removal_policy=self._removal_policy,
        )
        acknowledge(
            secret,
            "AwsSolutions-SMG4",
            "scanner vendors hold the keys: an operator rotates them one by one, with two valid "
            "at a time (docs/deploy.md)",
        )
        return secret

    def _golden_key(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "GoldenKey",
            secret_name=f"digitline/{self.environment_settings.name}/golden-read-key",
            description="API key with which golden crops are read from outside",
            encryption_key=self.key,
            removal_policy=self._removal_policy,
        )
        acknowledge(
            secret,
            "AwsSolutions-SMG4",
            "an API key like a scanner's: an operator rotates it (docs/deploy.md)",
        )
        return secret

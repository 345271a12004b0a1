"""The MLflow registry, the scheduled jobs, and the release of a promoted champion.

The parts are in ``mlflow_server.py``, ``mlops_jobs.py``, ``scheduled_job.py`` and
``release_machine.py``.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_servicediscovery as discovery
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import fargate_task, mlflow_hours, mlflow_server, mlops_jobs, settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation, removal_policy
from infra.release_machine import Release
from infra.scheduled_job import Job, ScheduledJob
from infra.service_stack import Service
from infra.settings import Environment


class MlOps(cdk.Stack):
    """MLflow, its database, the scheduled jobs and the release machine."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        foundation: Foundation,
        service: Service,
        *,
        is_first: bool,
    ) -> None:
        super().__init__(
            scope,
            "mlops",
            stack_name=f"digitline-{environment.name}-mlops",
            description=f"Digitline {environment.name}: registry, retraining, drift, promotion",
            env=cdk.Environment(region=environment.region),
        )
        self.environment_settings = environment
        self.foundation = foundation
        self.key = self._key() if environment.has_comforts else foundation.key
        self.cluster = self._cluster()
        self.jobs_group = self._group("JobsGroup", "Training and drift tasks")
        self.dead_letters = self._dead_letters()
        self.database: rds.DatabaseInstance | None = None
        self.retrain: ScheduledJob | None = None
        if environment.has_comforts:
            self._registry(is_first=is_first)
        self._schedule(mlops_jobs.compact(foundation))
        self._schedule(mlops_jobs.drift(foundation))
        Release(
            self,
            "Release",
            environment=environment,
            foundation=foundation,
            service=service,
            dead_letters=self.dead_letters,
        )

    def _registry(self, *, is_first: bool) -> None:
        """MLflow, its database, the hours in which both run, and the retraining that needs them."""
        environment, foundation = self.environment_settings, self.foundation
        mlflow_group, database_group = self._registry_groups()
        admin = mlflow_server.admin_secret(self, self.key)
        self.database = mlflow_server.database(
            self, environment, foundation, database_group, self.key, is_first=is_first
        )
        host = f"mlflow.{environment.name}.digitline.internal"
        server = mlflow_server.server(
            self,
            environment,
            foundation,
            cluster=self.cluster,
            exec_logs=self.exec_logs_id,
            group=mlflow_group,
            host=host,
            store=self.database,
            admin=admin,
        )
        mlflow_hours.schedule(self, self.database, server)
        tracking_uri = f"http://{host}:{settings.MLFLOW_PORT}"
        self.retrain = self._schedule(mlops_jobs.retrain(foundation, tracking_uri, admin))
        cdk.CfnOutput(self, "MlflowUri", value=tracking_uri)
        cdk.CfnOutput(self, "MlflowAdminSecret", value=admin.secret_arn)
        cdk.CfnOutput(self, "MlflowCluster", value=self.cluster.cluster_name)

    def _cluster(self) -> ecs.Cluster:
        if not self.environment_settings.has_comforts:
            return fargate_task.cluster(self, self.foundation.vpc, has_insights=False)
        exec_logs = self.foundation.log_group(self, "ExecLogs")
        exec_resource = exec_logs.node.default_child
        assert isinstance(exec_resource, cdk.CfnResource)
        self.exec_logs_id = self.get_logical_id(exec_resource)
        return fargate_task.cluster(
            self,
            self.foundation.vpc,
            has_insights=False,
            execute_command_configuration=ecs.ExecuteCommandConfiguration(
                logging=ecs.ExecuteCommandLogging.OVERRIDE,
                log_configuration=ecs.ExecuteCommandLogConfiguration(
                    cloud_watch_log_group=exec_logs,
                    cloud_watch_encryption_enabled=True,
                ),
            ),
            default_cloud_map_namespace=ecs.CloudMapNamespaceOptions(
                name=f"{self.environment_settings.name}.digitline.internal",
                type=discovery.NamespaceType.DNS_PRIVATE,
                vpc=self.foundation.vpc,
            ),
        )

    def _key(self) -> kms.Key:
        """A separate key: grants on these secrets must not edit foundation's key policy."""
        environment = self.environment_settings
        key = kms.Key(
            self,
            "Key",
            description=f"Digitline {environment.name} registry: database and its secrets",
            enable_key_rotation=True,
            removal_policy=removal_policy(environment),
        )
        key.grant(  # EventBridge writes undeliverable events to the dead letters
            iam.ServicePrincipal("events.amazonaws.com"), "kms:Decrypt", "kms:GenerateDataKey*"
        )
        return key

    def _registry_groups(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
        jobs = self.jobs_group
        mlflow = self._group("MlflowGroup", "MLflow server")
        database = ec2.SecurityGroup(
            self,
            "DatabaseGroup",
            vpc=self.foundation.vpc,
            description="PostgreSQL of MLflow",
            allow_all_outbound=False,
        )
        mlflow.add_ingress_rule(jobs, ec2.Port.tcp(settings.MLFLOW_PORT), "jobs")
        jobs.add_egress_rule(mlflow, ec2.Port.tcp(settings.MLFLOW_PORT), "MLflow")
        database.add_ingress_rule(mlflow, ec2.Port.tcp(settings.POSTGRES_PORT), "MLflow")
        mlflow.add_egress_rule(database, ec2.Port.tcp(settings.POSTGRES_PORT), "PostgreSQL")
        return mlflow, database

    def _group(self, name: str, description: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            name,
            vpc=self.foundation.vpc,
            description=description,
            allow_all_outbound=False,
        )
        group.add_egress_rule(
            ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "AWS endpoints"
        )
        return group

    def _dead_letters(self) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=self.key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        acknowledge(queue, "AwsSolutions-SQS3", "this is the dead-letter queue")
        return queue

    def _schedule(self, job: Job) -> ScheduledJob:
        return ScheduledJob(
            self,
            job,
            foundation=self.foundation,
            image=fargate_task.image(
                self, self.environment_settings, self.foundation.jobs_images, "jobs-image-tag"
            ),
            cluster=self.cluster,
            group=self.jobs_group,
            dead_letters=self.dead_letters,
        )

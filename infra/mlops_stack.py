"""Between releases: the MLflow registry, monthly retraining, daily drift.

And what makes a promoted champion a release (``release.py``).
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as discovery
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import fargate_task, grants, settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.release_machine import Release
from infra.scheduled_job import Job, ScheduledJob
from infra.service_stack import Service
from infra.settings import Environment

MLFLOW_DATABASE = "mlflow"
MLFLOW_ADMIN = "admin"


class MlOps(cdk.Stack):
    """MLflow, its database, the two scheduled jobs and the promotion path."""

    def __init__(
        self, scope: Construct, environment: Environment, foundation: Foundation, service: Service
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
        exec_logs = foundation.log_group(self, "ExecLogs")
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=foundation.vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,
            execute_command_configuration=ecs.ExecuteCommandConfiguration(
                logging=ecs.ExecuteCommandLogging.OVERRIDE,
                log_configuration=ecs.ExecuteCommandLogConfiguration(
                    cloud_watch_log_group=exec_logs,
                    cloud_watch_encryption_enabled=True,
                ),
            ),
            default_cloud_map_namespace=ecs.CloudMapNamespaceOptions(
                name=f"{environment.name}.digitline.internal",
                type=discovery.NamespaceType.DNS_PRIVATE,
                vpc=foundation.vpc,
            ),
        )
        exec_resource = exec_logs.node.default_child
        assert isinstance(exec_resource, cdk.CfnResource)
        self._exec_logs = self.get_logical_id(exec_resource)
        self.host = f"mlflow.{environment.name}.digitline.internal"
        self.jobs_group, self.mlflow_group, self.database_group = self._security_groups()
        # a key of its own: grants on its secrets must not reach back into foundation
        self.key = kms.Key(
            self,
            "Key",
            description=f"Digitline {environment.name} registry: database and its secrets",
            enable_key_rotation=True,
            removal_policy=(
                cdk.RemovalPolicy.RETAIN if environment.keeps_data else cdk.RemovalPolicy.DESTROY
            ),
        )
        self.key.grant(  # an event that found no state machine goes to the dead letters
            iam.ServicePrincipal("events.amazonaws.com"), "kms:Decrypt", "kms:GenerateDataKey*"
        )
        self.admin = self._admin_secret()
        self.database = self._database()
        self._mlflow()
        self.dead_letters = self._dead_letters()
        self.retrain = self._retrain()
        self.compact = self._compact()
        self.drift = self._drift()
        self.release = Release(
            self,
            "Release",
            environment=environment,
            foundation=foundation,
            service=service,
            dead_letters=self.dead_letters,
        )
        cdk.CfnOutput(self, "MlflowUri", value=f"http://{self.host}:{settings.MLFLOW_PORT}")
        cdk.CfnOutput(self, "MlflowAdminSecret", value=self.admin.secret_arn)
        cdk.CfnOutput(self, "MlflowCluster", value=self.cluster.cluster_name)

    # --- who may talk to whom -------------------------------------------------------------------
    def _security_groups(
        self,
    ) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup, ec2.SecurityGroup]:
        jobs = self._group("JobsGroup", "Training and drift tasks")
        mlflow = self._group("MlflowGroup", "MLflow server")
        database = self._group("DatabaseGroup", "PostgreSQL of MLflow")
        for client in (jobs, mlflow):
            client.add_egress_rule(
                ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "AWS endpoints"
            )
        mlflow.add_ingress_rule(jobs, ec2.Port.tcp(settings.MLFLOW_PORT), "jobs")
        jobs.add_egress_rule(mlflow, ec2.Port.tcp(settings.MLFLOW_PORT), "MLflow")
        database.add_ingress_rule(mlflow, ec2.Port.tcp(settings.POSTGRES_PORT), "MLflow")
        mlflow.add_egress_rule(database, ec2.Port.tcp(settings.POSTGRES_PORT), "PostgreSQL")
        return jobs, mlflow, database

    def _group(self, name: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            name,
            vpc=self.foundation.vpc,
            description=description,
            allow_all_outbound=False,
        )

    # --- MLflow ---------------------------------------------------------------------------------
    def _admin_secret(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "MlflowAdmin",
            description="MLflow's administrator: the jobs and, rarely, a person",
            encryption_key=self.key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=f'{{"username": "{MLFLOW_ADMIN}"}}',
                generate_string_key="password",
                exclude_punctuation=True,
                password_length=40,
            ),
        )
        acknowledge(
            secret,
            "AwsSolutions-SMG4",
            "MLflow keeps the password's hash in its own database: rotation is the command in "
            "docs/deploy.md, not a Lambda that would need a way into the VPC",
        )
        return secret

    def _database(self) -> rds.DatabaseInstance:
        keeps = self.environment_settings.keeps_data
        database = rds.DatabaseInstance(
            self,
            "Database",
            engine=rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17_9),
            instance_type=ec2.InstanceType(settings.DATABASE_CLASS),
            vpc=self.foundation.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[self.database_group],
            database_name=MLFLOW_DATABASE,
            credentials=rds.Credentials.from_generated_secret(
                MLFLOW_DATABASE, encryption_key=self.key, exclude_characters="%@:/?#[] '\""
            ),
            allocated_storage=settings.DATABASE_GIB,
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            storage_encryption_key=self.key,
            backup_retention=cdk.Duration.days(settings.DATABASE_BACKUP_DAYS),
            copy_tags_to_snapshot=True,
            auto_minor_version_upgrade=True,
            publicly_accessible=False,
            iam_authentication=True,
            cloudwatch_logs_exports=["postgresql"],
            enable_performance_insights=True,
            performance_insight_encryption_key=self.key,
            parameters={"rds.force_ssl": "1", "log_min_duration_statement": "1000"},
            deletion_protection=keeps,
            removal_policy=cdk.RemovalPolicy.SNAPSHOT if keeps else cdk.RemovalPolicy.DESTROY,
        )
        one_az = "no read waits for MLflow: an hour's restore from backup is cheaper than a standby"
        acknowledge(database, "AwsSolutions-RDS3", one_az)
        acknowledge(database, "CKV_AWS_157", one_az)
        acknowledge(
            database, "AwsSolutions-RDS11", "the group admits one client; the port is no secret"
        )
        acknowledge(
            database,
            "CKV_AWS_118",
            "enhanced monitoring needs an agent's role; metrics suffice here",
        )
        acknowledge(
            database,
            "AwsSolutions-SMG4",
            "reachable by one task only; rotation is a command in docs/deploy.md",
        )
        if not keeps:
            acknowledge(database, "AwsSolutions-RDS10", "an environment torn down in one command")
            acknowledge(database, "CKV_AWS_293", "an environment torn down in one command")
        return database

    def _mlflow(self) -> ecs.FargateService:
        assert self.database.secret is not None
        task = fargate_task.task(
            self,
            "MlflowTask",
            family=f"{self.stack_name}-mlflow",
            size=settings.MLFLOW_TASK,
            volume="work",
        )
        port = settings.MLFLOW_PORT
        server = fargate_task.container(
            task,
            "mlflow",
            image=self._image(self.foundation.mlflow_images, "mlflow-image-tag"),
            environment={
                "MLFLOW_PORT": str(port),
                "MLFLOW_WORKERS": str(settings.MLFLOW_WORKERS),
                "MLFLOW_ALLOWED_HOSTS": f"{self.host}:{port},localhost:{port}",
                "MLFLOW_ARTIFACTS": self.foundation.artifacts.url("mlflow"),
                "DATABASE_HOST": self.database.instance_endpoint.hostname,
                "DATABASE_NAME": MLFLOW_DATABASE,
            },
            secrets={
                "DATABASE_USER": ecs.Secret.from_secrets_manager(self.database.secret, "username"),
                "DATABASE_PASSWORD": ecs.Secret.from_secrets_manager(
                    self.database.secret, "password"
                ),
                "MLFLOW_ADMIN_USER": ecs.Secret.from_secrets_manager(self.admin, "username"),
                "MLFLOW_ADMIN_PASSWORD": ecs.Secret.from_secrets_manager(self.admin, "password"),
            },
            port=port,
            health_check=ecs.HealthCheck(
                command=fargate_task.probe(port, "/health"),
                interval=cdk.Duration.seconds(30),
                timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
                start_period=cdk.Duration.seconds(120),  # migrations of an empty database
            ),
            log_group=self.foundation.log_group(self, "MlflowLogs"),
            volume="work",
        )
        for folder in settings.EXEC_AGENT_FOLDERS:
            volume = folder.strip("/").replace("/", "-")
            task.add_volume(name=volume)
            server.add_mount_points(
                ecs.MountPoint(source_volume=volume, container_path=folder, read_only=False)
            )
        grants.objects(
            task.task_role,
            self.foundation.artifacts,
            "mlflow",
            grants.READ + grants.WRITE + grants.DELETE,
            "MLflow proxies its artifacts, and deletes them when a run is deleted",
        )
        grants.nothing_to_name(task.task_role, "ECS Exec's channels know no resources")
        streams = f"arn:aws:logs:{self.region}:<AWS::AccountId>:log-group:<{self._exec_logs}>:*"
        acknowledge(
            task,
            f"AwsSolutions-IAM5[Resource::{streams}]",
            "the streams of one log group: what people type in ECS Exec",
        )
        service = ecs.FargateService(
            self,
            "Mlflow",
            cluster=self.cluster,
            task_definition=task,
            desired_count=1,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[self.mlflow_group],
            assign_public_ip=False,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            enable_execute_command=True,  # the way in for a person: docs/deploy.md
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            cloud_map_options=ecs.CloudMapOptions(
                name="mlflow",
                dns_record_type=discovery.DnsRecordType.A,
                dns_ttl=cdk.Duration.seconds(10),
            ),
        )
        acknowledge(
            task.task_role.node.find_child("DefaultPolicy"),
            "CKV_AWS_111",
            "ECS Exec's channels (ssmmessages) know no resources",
        )
        return service

    def _image(self, repository: ecr.IRepository, fact: str) -> ecs.ContainerImage:
        return fargate_task.image(self, self.environment_settings, repository, fact)

    # --- jobs -----------------------------------------------------------------------------------
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

    def _retrain(self) -> ScheduledJob:
        """Fit on what grew, judge, register, tell; promotion stays a person's decision."""
        foundation = self.foundation
        alerts = foundation.alerts.topic_arn
        job = self._job(
            Job(
                name="Retrain",
                command=(
                    *("python", "-m", "training", "retrain", "--until", "gate"),
                    *("--work", f"{settings.WRITABLE}/train"),
                ),
                environment={
                    "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
                    "DIGITS_REPORTS": foundation.reports.url("drift"),
                    "DIGITS_ALERTS": f"log: sns:{alerts}",
                    "DIGITS_DATA_CACHE": f"{settings.WRITABLE}/mnist",
                    "DIGITS_DATA_LOCATION": foundation.training.url("mnist"),
                    "MLFLOW_TRACKING_URI": f"http://{self.host}:{settings.MLFLOW_PORT}",
                },
                secrets={
                    "MLFLOW_TRACKING_USERNAME": ecs.Secret.from_secrets_manager(
                        self.admin, "username"
                    ),
                    "MLFLOW_TRACKING_PASSWORD": ecs.Secret.from_secrets_manager(
                        self.admin, "password"
                    ),
                },
                size=settings.RETRAIN_TASK,
                timeout_min=settings.RETRAIN_TIMEOUT_MIN,
                cron=settings.RETRAIN_CRON,
            )
        )
        role = job.task.task_role
        for bucket, prefix, actions, reason in (
            (foundation.training, "mnist", grants.READ, "what training reads"),
            (foundation.captures, "captures", grants.READ, "labelled captures join the training"),
            (
                foundation.reports,
                "drift",
                grants.READ + grants.WRITE + grants.DELETE,
                "the outcome waits in the outbox until every sink took it",
            ),
        ):
            grants.objects(role, bucket, prefix, actions, reason)
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["sns:Publish"], resources=[alerts])
        )
        return job

    def _compact(self) -> ScheduledJob:
        """One file for each day and site, so that a report opens dozens and not thousands."""
        captures = self.foundation.captures
        job = self._job(
            Job(
                name="Compact",
                command=("python", "-m", "monitoring", "compact"),
                environment={"DIGITS_CAPTURE_STORE": captures.url("captures")},
                secrets={},
                size=settings.COMPACT_TASK,
                timeout_min=settings.COMPACT_TIMEOUT_MIN,
                cron=settings.COMPACT_CRON,
            )
        )
        grants.objects(
            job.task.task_role,
            captures,
            "captures",
            grants.READ + grants.WRITE + grants.DELETE,
            "compaction replaces many small files by one, and expiry deletes old ones",
        )
        return job

    def _drift(self) -> ScheduledJob:
        foundation = self.foundation
        job = self._job(
            Job(
                name="Drift",
                command=("python", "-m", "monitoring", "report"),
                environment={
                    "DIGITS_CAPTURE_STORE": foundation.captures.url("captures"),
                    "DIGITS_REPORTS": foundation.reports.url("drift"),
                    "DIGITS_ALERTS": f"log: sns:{foundation.alerts.topic_arn}",
                    "DIGITS_EMF": "on",
                },
                secrets={},
                size=settings.DRIFT_TASK,
                timeout_min=settings.DRIFT_TIMEOUT_MIN,
                cron=settings.DRIFT_CRON,
            )
        )
        role = job.task.task_role
        grants.objects(
            role, foundation.captures, "captures", grants.READ, "what the drift report reads"
        )
        grants.objects(
            role,
            foundation.reports,
            "drift",
            grants.READ + grants.WRITE + grants.DELETE,
            "reports and their index; delivered alerts are deleted",
        )
        role.add_to_principal_policy(
            iam.PolicyStatement(actions=["sns:Publish"], resources=[foundation.alerts.topic_arn])
        )
        return job

    def _job(self, job: Job) -> ScheduledJob:
        return ScheduledJob(
            self,
            job,
            foundation=self.foundation,
            image=self._image(self.foundation.jobs_images, "jobs-image-tag"),
            cluster=self.cluster,
            group=self.jobs_group,
            dead_letters=self.dead_letters,
        )

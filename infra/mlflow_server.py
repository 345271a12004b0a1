"""The MLflow server: its administrator, its database and its one task.

``mlflow/start.py`` is the container's entry point.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_servicediscovery as discovery
from constructs import Construct

from infra import fargate_task, grants, settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.settings import Environment

MLFLOW_DATABASE = "mlflow"
MLFLOW_ADMIN = "admin"


def admin_secret(scope: Construct, key: kms.Key) -> secretsmanager.Secret:
    """The administrator's name and generated password."""
    secret = secretsmanager.Secret(
        scope,
        "MlflowAdmin",
        description="MLflow's administrator account, used by the jobs and by operators",
        encryption_key=key,
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
        "MLflow stores the password's hash in its own database: an operator rotates it "
        "(docs/deploy.md); a Lambda would need network access to the VPC",
    )
    return secret


def database(
    scope: Construct,
    environment: Environment,
    foundation: Foundation,
    group: ec2.SecurityGroup,
    key: kms.Key,
    *,
    is_first: bool,
) -> rds.DatabaseInstance:
    """PostgreSQL: private, encrypted, TLS only, backed up.

    Its name is fixed, so that its log group can be created before it, with a retention. The first
    deployment does not protect it from deletion: that would block the rollback of a failed one.
    """
    keeps = environment.keeps_data
    is_protected = keeps and not is_first
    name = f"digitline-{environment.name}-mlflow"
    logs = foundation.log_group(scope, "DatabaseLogs", f"/aws/rds/instance/{name}/postgresql")
    instance = rds.DatabaseInstance(
        scope,
        "Database",
        instance_identifier=name,
        engine=rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17_9),
        instance_type=ec2.InstanceType(settings.DATABASE_CLASS),
        vpc=foundation.vpc,
        vpc_subnets=foundation.task_subnets,
        security_groups=[group],
        database_name=MLFLOW_DATABASE,
        credentials=rds.Credentials.from_generated_secret(
            MLFLOW_DATABASE, encryption_key=key, exclude_characters="%@:/?#[] '\""
        ),
        allocated_storage=settings.DATABASE_GIB,
        storage_type=rds.StorageType.GP3,
        storage_encrypted=True,
        storage_encryption_key=key,
        backup_retention=cdk.Duration.days(settings.DATABASE_BACKUP_DAYS),
        copy_tags_to_snapshot=True,
        auto_minor_version_upgrade=True,
        publicly_accessible=False,
        cloudwatch_logs_exports=["postgresql"],
        enable_performance_insights=True,
        performance_insight_encryption_key=key,
        parameters={"rds.force_ssl": "1", "log_min_duration_statement": "1000"},
        deletion_protection=is_protected,
        removal_policy=cdk.RemovalPolicy.SNAPSHOT if keeps else cdk.RemovalPolicy.DESTROY,
    )
    instance.node.add_dependency(logs)  # RDS would create one that keeps its logs for ever
    _acknowledge_database(instance, is_protected=is_protected)
    return instance


def _acknowledge_database(instance: rds.DatabaseInstance, *, is_protected: bool) -> None:
    one_az = "no request depends on MLflow: an hour's restore from backup is cheaper than a standby"
    acknowledge(instance, "AwsSolutions-RDS3", one_az)
    acknowledge(instance, "CKV_AWS_157", one_az)
    acknowledge(
        instance,
        "AwsSolutions-RDS11",
        "one client may connect; the default port adds no risk",
    )
    acknowledge(
        instance,
        "CKV_AWS_118",
        "enhanced monitoring needs a role of its own; CloudWatch's metrics suffice",
    )
    acknowledge(instance, "CKV_AWS_161", "nothing signs in by IAM: MLflow uses the password")
    acknowledge(
        instance,
        "AwsSolutions-SMG4",
        "only one task can reach it; an operator rotates it (docs/deploy.md)",
    )
    if not is_protected:
        reason = "deleted with its environment, or by a failed creation"
        acknowledge(instance, "AwsSolutions-RDS10", reason)
        acknowledge(instance, "CKV_AWS_293", reason)


def server(
    scope: cdk.Stack,
    environment: Environment,
    foundation: Foundation,
    *,
    cluster: ecs.Cluster,
    exec_logs: str,
    group: ec2.SecurityGroup,
    host: str,
    store: rds.DatabaseInstance,
    admin: secretsmanager.Secret,
) -> ecs.FargateService:
    """One task under the name ``host``; operators reach it through ECS Exec.

    Args:
        scope: the stack.
        environment: its settings.
        foundation: where artifacts, images and logs are.
        cluster: with the namespace of ``host``.
        exec_logs: logical id of the log group for ECS Exec sessions.
        group: of the server.
        host: its name in the VPC.
        store: the database.
        admin: secret of the administrator.
    """
    task = _task_definition(scope, environment, foundation, host, store, admin)
    service = ecs.FargateService(
        scope,
        "Mlflow",
        cluster=cluster,
        task_definition=task,
        # no desired_count: mlflow_hours.py sets it, and a deployment would reset it
        vpc_subnets=foundation.task_subnets,
        security_groups=[group],
        assign_public_ip=not environment.is_isolated,
        min_healthy_percent=100,
        max_healthy_percent=200,
        circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
        enable_execute_command=True,  # operators' access: docs/deploy.md
        propagate_tags=ecs.PropagatedTagSource.SERVICE,
        cloud_map_options=ecs.CloudMapOptions(
            name="mlflow",
            dns_record_type=discovery.DnsRecordType.A,
            dns_ttl=cdk.Duration.seconds(10),
        ),
    )
    _accept_exec_permissions(task, exec_logs)
    return service


def _task_definition(
    scope: cdk.Stack,
    environment: Environment,
    foundation: Foundation,
    host: str,
    store: rds.DatabaseInstance,
    admin: secretsmanager.Secret,
) -> ecs.FargateTaskDefinition:
    assert store.secret is not None
    task = fargate_task.task(
        scope,
        "MlflowTask",
        family=f"{scope.stack_name}-mlflow",
        size=settings.MLFLOW_TASK,
        volume="work",
    )
    port = settings.MLFLOW_PORT
    server = fargate_task.container(
        task,
        "mlflow",
        image=fargate_task.image(scope, environment, foundation.mlflow_images, "mlflow-image-tag"),
        environment={
            "MLFLOW_PORT": str(port),
            "MLFLOW_WORKERS": str(settings.MLFLOW_WORKERS),
            "MLFLOW_ALLOWED_HOSTS": f"{host}:{port},localhost:{port}",
            "MLFLOW_ARTIFACTS": foundation.artifacts.url("mlflow"),
            "DATABASE_HOST": store.instance_endpoint.hostname,
            "DATABASE_NAME": MLFLOW_DATABASE,
        },
        secrets={
            "DATABASE_USER": ecs.Secret.from_secrets_manager(store.secret, "username"),
            "DATABASE_PASSWORD": ecs.Secret.from_secrets_manager(store.secret, "password"),
            "MLFLOW_ADMIN_USER": ecs.Secret.from_secrets_manager(admin, "username"),
            "MLFLOW_ADMIN_PASSWORD": ecs.Secret.from_secrets_manager(admin, "password"),
        },
        port=port,
        health_check=ecs.HealthCheck(
            command=fargate_task.probe(port, "/health"),
            interval=cdk.Duration.seconds(30),
            timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
            start_period=cdk.Duration.seconds(120),  # migrations of an empty database
        ),
        log_group=foundation.log_group(scope, "MlflowLogs"),
        volume="work",
    )
    _give_exec_folders(task, server)
    grants.objects(
        task.task_role,
        grants.ObjectGrant(
            foundation.artifacts,
            "mlflow",
            grants.READ + grants.WRITE + grants.DELETE,
            "MLflow proxies its artifacts, and deletes them when a run is deleted",
        ),
    )
    return task


def _give_exec_folders(task: ecs.FargateTaskDefinition, server: ecs.ContainerDefinition) -> None:
    for folder in settings.EXEC_AGENT_FOLDERS:
        volume = folder.strip("/").replace("/", "-")
        task.add_volume(name=volume)
        server.add_mount_points(
            ecs.MountPoint(source_volume=volume, container_path=folder, read_only=False)
        )


def _accept_exec_permissions(task: ecs.FargateTaskDefinition, exec_logs: str) -> None:
    grants.accept_any_resource(task.task_role, "ECS Exec's channels have no resource in IAM")
    streams = f"arn:aws:logs:{cdk.Stack.of(task).region}:<AWS::AccountId>:log-group:<{exec_logs}>:*"
    acknowledge(
        task,
        f"AwsSolutions-IAM5[Resource::{streams}]",
        "the streams of the log group for ECS Exec sessions",
    )
    acknowledge(
        task.task_role.node.find_child("DefaultPolicy"),
        "CKV_AWS_111",
        "ECS Exec's channels (ssmmessages) have no resource in IAM",
    )
